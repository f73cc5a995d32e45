"""Every backend takes any rule as an argument, and takes its step bit for bit."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest
from rule_cases import CASES, MORE_SCALARS, MORE_STATE, Case

from adamax import IndexedSlices, Variable
from adamax.rule import ADAMAX, Rule, advanced, coefficients, with_scalars
from adamax.sparse import step_rows
from adamax.variants import EPSILON_INSIDE, SHARED_SCALE, linked
from adamax_adapters.backends.contract import Target

Array = Any


class Way(NamedTuple):
    """A backend, and how its library makes an array of NumPy's."""

    backend: Any
    of: Callable[[Array], Array]


def on_torch(x: Array) -> Array:
    """Return a tensor of the same memory."""
    return import_module("torch").from_numpy(x)


WAYS = [
    ("numpy", "standard"),
    ("numpy", "numpy"),
    ("numpy", "numba"),
    ("torch", "standard"),
    ("torch", "numpy"),
    ("torch", "numba"),
    ("torch", "torch"),
]


@pytest.fixture(params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> Way:
    """Every library and backend that is installed."""
    library, backend = request.param
    pytest.importorskip(library)
    module = pytest.importorskip(f"adamax_adapters.backends.{backend}")
    return Way(module, on_torch if library == "torch" else np.asarray)


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_dtype = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def wide(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def parts(rng: Any, shapes: Sequence[tuple[int, ...]], dtype: str) -> list[Array]:
    """Return arrays side by side in one buffer, as slots are; all positive, as u is."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    buffer = abs(rng.standard_normal(sum(sizes))).astype(dtype) + np.asarray(0.01, dtype)
    ends = np.cumsum(sizes)
    return [x.reshape(shape) for x, shape in zip(np.split(buffer, ends[:-1]), shapes, strict=True)]


def started(rule: Rule, shapes: Sequence[tuple[int, ...]], dtype: str) -> list[list[Array]]:
    """Return for each shape a parameter and its state, and a gradient, with what is not finite."""
    rng = np.random.default_rng(3)
    params = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    states = [parts(rng, shapes, wide(dtype)) for _ in rule.state]
    return [[p, *state] for p, *state in zip(params, *states, strict=True)]


def gradient(shape: tuple[int, ...], dtype: str, t: int) -> Array:
    g = np.asarray(np.random.default_rng(t).standard_normal(shape), wide(dtype))
    if g.size > 5:
        g.reshape(-1)[:5] = [0.0, -0.0, np.nan, np.inf, -np.inf]
    return g


def targets_on(way: Way, arrays: Sequence[Sequence[Array]]) -> list[Target]:
    return [tuple(Variable(way.of(x)) for x in of_one) for of_one in arrays]


def assert_same(target: Target, expected: Sequence[Array]) -> None:
    """All bits are those expected; NaN is NaN."""
    for variable, wanted in zip(target, expected, strict=True):
        got = variable.numpy()
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
        known = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(wanted)[known])


SHAPES = [(30, 20), (), (7,), (0, 3), (20_000,), (4, 5)]


@each_dtype
@each_case
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_dense_steps_are_those_of_the_rule(way: Way, case: Case, dtype: str) -> None:
    """Small arrays that are gathered, a large one, 16 bits: three steps, all bits equal."""
    arrays = started(case.rule, SHAPES, dtype)
    arrays[0] = [np.asfortranarray(x) for x in arrays[0]]
    expected = [[x.copy() for x in of_one] for of_one in arrays]
    targets = targets_on(way, arrays)
    prepare = way.backend.dense(targets, case.rule)
    for t in (1, 2, 3):
        gradients = [gradient(shape, dtype, t) for shape in SHAPES]
        prepare([way.of(g.copy()) for g in gradients], case.at(t))()
        expected = [
            list(advanced(case.rule, p, g, state, case.at(t), np))
            for (p, *state), g in zip(expected, gradients, strict=True)
        ]
    for target, wanted in zip(targets, expected, strict=True):
        assert_same(target, wanted)


@each_dtype
@each_case
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_row_steps_are_those_of_the_rule(way: Way, case: Case, dtype: str) -> None:
    """Listed rows, once or several times, take the step of the rule; the others keep all bits."""
    (arrays,) = started(case.rule, [(9, 4)], dtype)
    expected = [x.copy() for x in arrays]
    (target,) = targets_on(way, [arrays])
    for t in (1, 2):
        indices = np.array([7, 2, 7, 0, 2, 7][: 6 - t])
        values = gradient((6 - t, 4), dtype, t)
        slices = IndexedSlices(way.of(values.copy()), way.of(indices))
        way.backend.rows(target, slices, case.at(t), case.rule)()
        p, *state = expected
        given = IndexedSlices(values, indices)
        expected = list(step_rows(p, given, state, case.at(t), rule=case.rule, xp=np))
    assert_same(target, expected)


@each_dtype
@pytest.mark.parametrize("name", ["flag 0", "flag 1"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nothing_changes_where_the_flag_is_0(way: Way, name: str, dtype: str) -> None:
    """NaN and infinity anywhere, and the bits in a NaN, stay; where it is 1, they do not."""
    case = CASES[name]
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1.0] * 2, dtype)
    odd[:1].view(f"uint{8 * odd.itemsize}")[...] |= 5  # in the payload
    state = [odd[::-1].astype(wide(dtype)) for _ in case.rule.state]
    before = [x.tobytes() for x in (odd, *state)]
    (target,) = targets_on(way, [[odd, *state]])
    for value in (np.nan, np.inf, 1.0):
        g = np.full(10, value, wide(dtype))
        way.backend.dense([target], case.rule)([way.of(g)], case.at(1))()
        slices = IndexedSlices(way.of(g[:1]), way.of(np.array([4])))
        way.backend.rows(target, slices, case.at(1), case.rule)()
    after = [variable.numpy().tobytes() for variable in target]
    assert (after == before) == (name == "flag 0")


def test_torch_decides_on_the_device() -> None:
    """A flag may be a tensor, which nobody reads: its steps are those of the number."""
    torch = pytest.importorskip("torch")
    backend = pytest.importorskip("adamax_adapters.backends.torch")
    rule = linked(ADAMAX, flag=0.0)
    for flag in (0.0, 1.0):
        targets = [
            tuple(Variable(torch.ones(3)) for _ in range(3)),
            tuple(Variable(torch.ones(3)) for _ in range(3)),
        ]
        for target, given in zip(targets, (flag, torch.tensor(flag)), strict=True):
            c = with_scalars(CASES["default"].at(1), flag=given)
            backend.dense([target], rule)([torch.full((3,), 0.5)], c)()
        for one, other in zip(*targets, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        assert bool((targets[0][0].value == 1).all()) == (flag == 0)


def test_bfloat16_is_stepped_in_the_dtype_of_the_state() -> None:
    """Parameters that NumPy cannot see take any rule's steps in float32, rounded at the end."""
    torch = pytest.importorskip("torch")
    backend = pytest.importorskip("adamax_adapters.backends.torch")
    for case in CASES.values():
        p = torch.randn(50, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
        start = [p.float().numpy(), *started(case.rule, [(50,)], "float32")[0][1:]]
        target = tuple(Variable(x) for x in (p, *map(torch.from_numpy, start[1:])))
        grad = gradient((50,), "float32", 1)
        with np.errstate(all="ignore"):
            new, *_ = advanced(case.rule, start[0], grad, start[1:], case.at(1), np)
        backend.dense([target], case.rule)([torch.from_numpy(grad)], case.at(1))()
        expected = torch.from_numpy(np.asarray(new)).to(torch.bfloat16).float().numpy()
        np.testing.assert_array_equal(target[0].value.float().numpy(), expected)


@each_dtype
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_scale_of_1_is_no_scale(way: Way, dtype: str) -> None:
    """With a scale of 1 the shared scale is the default rule, bit by bit."""
    found = []
    for rule, scalars in ((ADAMAX, {}), (SHARED_SCALE, {"scale": 1.0, "unscale": 1.0})):
        arrays = started(rule, [(200,)], dtype)
        (target,) = targets_on(way, arrays)
        for t in range(1, 5):
            c = with_scalars(CASES["default"].at(t), **scalars)
            way.backend.dense([target], rule)([way.of(gradient((200,), dtype, t))], c)()
        found.append([variable.numpy() for variable in target])
    assert_same(target, found[0])


@pytest.mark.parametrize("rule", [MORE_SCALARS, MORE_STATE], ids=["scalar", "state"])
def test_a_rule_of_ones_own(way: Way, rule: Rule) -> None:
    """One more scalar or one more state array, and no backend knows of it."""
    c = with_scalars(coefficients(1, learning_rate=1, beta_1=0, beta_2=0, epsilon=0), share=0.25)
    p, *state = np.zeros((1 + len(rule.state), 2), "float32")
    (target,) = targets_on(way, [[p, *state]])
    way.backend.dense([target], rule)([way.of(np.asarray([4.0, -8.0], "float32"))], c)()
    moved = [-0.25, 0.25] if rule is MORE_SCALARS else [-1.0, 1.0]
    expected = {"p": moved, "m": [4.0, -8.0], "u": [4.0, 8.0], "mean": [-1.0, 1.0]}
    for name, variable in zip(("p", *rule.state), target, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected[name])


def of_the_way(found: Array, expected: Array) -> float:
    """Return the largest difference, of the largest way that an element has gone from 0."""
    found, expected = (np.asarray(x, np.float64) for x in (found, expected))
    return float(np.max(abs(found - expected)) / np.max(abs(expected)))


def steps_of(rule: Rule, way: Way, gradients: Sequence[Array], **scalars: float) -> Array:
    """Return where steps lead to from 0."""
    (target,) = targets_on(way, [list(np.zeros((1 + len(rule.state), 200), gradients[0].dtype))])
    prepare = way.backend.dense([target], rule)
    for t, g in enumerate(gradients, start=1):
        c = coefficients(t, learning_rate=0.01, beta_1=0.9, beta_2=0.99, epsilon=1e-3)
        prepare([way.of(g.copy())], with_scalars(c, **scalars))()
    return target[0].numpy()


def fifty_gradients(dtype: str) -> list[Array]:
    rng = np.random.default_rng(1)
    return [
        (rng.standard_normal(200) * 10.0 ** rng.integers(-4, 1)).astype(dtype) for _ in range(50)
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("l2", "factor"), [(0.0, 1.0), (0.3, 1.0), (0.0, -1.0), (0.3, -1.0)])
def test_steps_of_torch(way: Way, l2: float, factor: float, dtype: str) -> None:
    """Epsilon inside, L2 and ascent are torch's: 50 steps end two roundings apart at most."""
    torch = pytest.importorskip("torch")
    gradients = fifty_gradients(dtype)
    p = torch.zeros(200, dtype=getattr(torch, dtype), requires_grad=True)
    options = {"weight_decay": l2, "maximize": factor < 0}
    reference = torch.optim.Adamax([p], lr=0.01, betas=(0.9, 0.99), eps=1e-3, **options)
    for g in gradients:
        p.grad = torch.from_numpy(g.copy())
        reference.step()
    rule = linked(EPSILON_INSIDE, l2=l2, factor=factor)
    found = steps_of(rule, way, gradients, l2=l2, factor=factor)
    # torch divides m * step_size by u, so that an element is off by a rounding of a step.
    assert of_the_way(found, p.detach().numpy()) <= 2 * np.finfo(dtype).eps


def test_steps_of_optax(way: Way) -> None:
    """Epsilon inside and decoupled decay are those of `optax.adamaxw`, in float64."""
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    gradients = fifty_gradients("float64")
    with jax.enable_x64(True):
        p = jax.numpy.zeros(200)
        reference = optax.adamaxw(0.01, b1=0.9, b2=0.99, eps=1e-3, weight_decay=0.5)
        state = reference.init(p)
        for g in gradients:
            updates, state = reference.update(jax.numpy.asarray(g), state, p)
            p = optax.apply_updates(p, updates)
        expected = np.asarray(p)
    keep = 1 - 0.01 * 0.5
    found = steps_of(linked(EPSILON_INSIDE, keep=keep), way, gradients, keep=keep)
    assert of_the_way(found, expected) <= 1e-15
