"""Rules on the backends for devices, JAX and CUDA: the bits of plain array calls, on NumPy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from any_cupy import FAKE, in_place
from cuda_emulator import needs_gxx
from hypothesis import given
from hypothesis import strategies as st

from adamax import IndexedSlices, Variable
from adamax.rule import ADAMAX, Rule, advanced, coefficients, with_scalars
from adamax.sparse import sum_duplicates
from adamax.variants import EPSILON_INSIDE, LINKS, SHARED_SCALE, linked
from adamax_adapters.backends import backend_for

SCALARS = {
    "factor": 0.3,
    "flag": 1.0,
    "keep": 0.99,
    "l2": 0.07,
    "pull": 0.125,
    "scale": 1.7,
    "unscale": 0.6,
}
C = with_scalars(
    coefficients(3, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-3), **SCALARS
)


def pulled(p: Any, g: Any, m: Any, u: Any, c: Any, xp: Any) -> Any:
    """Advance by the default rule towards 0, by one more coefficient."""
    p, m, u = ADAMAX.formula(p, g, m, u, c, xp)
    return p - p * c.pull, m, u


def remembering(p: Any, g: Any, m: Any, u: Any, before: Any, c: Any, xp: Any) -> Any:
    """Advance by the mean of this gradient and the one before, which is kept."""
    return *ADAMAX.formula(p, (g + before) * c.factor, m, u, c, xp), g


RULES = {
    "default": ADAMAX,
    "epsilon inside": EPSILON_INSIDE,
    "shared scale": SHARED_SCALE,
    **{name: link(ADAMAX) for name, (link, _) in LINKS.items()},
    "chain": linked(EPSILON_INSIDE, **{name: SCALARS[name] for name in ("keep", "l2", "factor")}),
    "flagged chain": linked(SHARED_SCALE, keep=0.9, l2=0.1, factor=0.5, flag=None),
    "fifth coefficient": Rule(pulled, (*ADAMAX.scalars, "pull"), ADAMAX.state),
    "third state": Rule(remembering, (*ADAMAX.scalars, "factor"), ("m", "u", "before")),
}
DTYPES = ("float16", "bfloat16", "float32", "float64")
each_way = pytest.mark.parametrize("way", [pytest.param("cupy", marks=needs_gxx), "jax"])


@contextmanager
def arrays_of(way: str, wide: bool = False) -> Iterator[Callable[[Any], Any]]:
    """Yield what makes arrays of a library, of NumPy's."""
    if way == "cupy":
        with in_place(FAKE) as cupy:
            yield cupy.asarray
    else:
        jax = pytest.importorskip("jax")
        with jax.enable_x64(wide):
            yield lambda x: jax.numpy.asarray(x)


def dtype_of(name: str) -> Any:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def made(rule: Rule, dtype: str, shape: tuple[int, ...], seed: int) -> list[Any]:
    """Return p, g and the state as NumPy arrays."""
    rng = np.random.default_rng(seed)
    compute = "float64" if dtype == "float64" else "float32"
    p, g, *state = rng.standard_normal((2 + len(rule.state), *shape))
    return [p.astype(dtype_of(dtype)), g.astype(compute), *(abs(x).astype(compute) for x in state)]


def same_bits(got: Any, wanted: Any) -> None:
    for x, y in zip(got, wanted, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_array_equal(x.view(f"u{x.itemsize}"), y.view(f"u{y.itemsize}"))


def variables(arrays: Any, asarray: Callable[[Any], Any]) -> tuple[Variable, ...]:
    return tuple(Variable.of_array(asarray(x.copy()), "x") for x in arrays)


@each_way
@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_the_bits_of_plain_array_calls(way: str, name: str) -> None:
    """Parameters of all dtypes in one step, and in the next, are where the rule puts them."""
    rule = RULES[name]
    wanted = [made(rule, dtype, (5, 3), 0) for dtype in DTYPES]
    with arrays_of(way, wide=True) as asarray:
        targets = [variables((p, *state), asarray) for p, _, *state in wanted]
        prepare = backend_for(targets[0][0].held, "x", way).dense(targets, rule)
        for seed in (1, 2):
            gradients = [made(rule, dtype, (5, 3), seed)[1] for dtype in DTYPES]
            prepare([asarray(g) for g in gradients], C)()
            for arrays, g, target in zip(wanted, gradients, targets, strict=True):
                p, _, *state = arrays
                arrays[0], *arrays[2:] = advanced(rule, p, g, state, C, np)
                same_bits([x.numpy() for x in target], [arrays[0], *arrays[2:]])


@each_way
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_rows_have_the_bits_of_plain_array_calls(way: str, name: str, dtype: str) -> None:
    """Rows that are listed several times take one step by their sum; the others stay."""
    rule = RULES[name]
    p, g, *state = made(rule, dtype, (5, 3), 0)
    indices = np.array([4, 1, 4, 0, 4])
    with arrays_of(way) as asarray:
        table = variables((p, *state), asarray)
        slices = IndexedSlices(asarray(g), asarray(indices))
        backend_for(table[0].held, "x", way).rows(table, slices, C, rule)()
        sums, rows, _ = sum_duplicates(IndexedSlices(g, indices), np)
        new = advanced(rule, p[rows], sums, [x[rows] for x in state], C, np)
        for x, row in zip((p, *state), new, strict=True):
            x[rows] = row
        same_bits([x.numpy() for x in table], (p, *state))


@each_way
@pytest.mark.parametrize("kind", [float, np.float32, np.bool_])
def test_nothing_changes_where_the_flag_is_0(way: str, kind: Any) -> None:
    """No bit, whatever the gradient is, of a flag that the host knows or that is on the device."""
    rule = RULES["flagged chain"]
    bad = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    p, _, *state = made(rule, "float32", (4,), 0)
    p[1] = np.nan
    with arrays_of(way) as asarray:
        target = variables((p, *state), asarray)
        backend = backend_for(target[0].held, "x", way)
        for value in (0, 1):
            flag = kind(value) if kind is float else asarray(np.asarray(kind(value)))
            c = C._replace(flag=flag)
            with np.errstate(all="ignore"):
                backend.dense([target], rule)([asarray(bad)], c)()
                slices = IndexedSlices(asarray(bad[:1]), asarray(np.array([3])))
                backend.rows(target, slices, c, rule)()
            if value == 0:
                same_bits([x.numpy() for x in target], (p, *state))
        assert np.isnan(target[1].numpy()[[0, 3]]).all()


@each_way
def test_scalars_may_be_on_the_device(way: str) -> None:
    """A 0-d array of another dtype does not promote what it meets; a kernel reads it there."""
    rule = RULES["flagged chain"]
    p, g, *state = made(rule, "float32", (4,), 0)
    with arrays_of(way) as asarray:
        target = variables((p, *state), asarray)
        given = {name: np.asarray(getattr(C, name), np.float16) for name in ("factor", "step_size")}
        backend = backend_for(target[0].held, "x", way)
        c = C._replace(**{name: asarray(x) for name, x in given.items()})
        backend.dense([target], rule)([asarray(g)], c)()
        wanted = advanced(rule, p, g, state, C._replace(**given), np)
        same_bits([x.numpy() for x in target], wanted)


@each_way
@given(
    p=st.lists(st.floats(-1e3, 1e3, width=32), min_size=7, max_size=7),
    name=st.sampled_from(sorted(RULES)),
    scalars=st.fixed_dictionaries({name: st.floats(0.25, 2.0) for name in SCALARS}),
)
def test_scalars_and_numbers_may_be_any(
    way: str, p: list[float], name: str, scalars: dict[str, float]
) -> None:
    """Whatever the scalars are, a step has the bits of plain array calls."""
    rule = RULES[name]
    _, g, *state = made(rule, "float32", (7,), 5)
    param = np.array(p, np.float32)
    c = C._replace(**scalars)
    with arrays_of(way) as asarray:
        target = variables((param, *state), asarray)
        backend_for(target[0].held, "x", way).dense([target], rule)([asarray(g)], c)()
        same_bits([x.numpy() for x in target], advanced(rule, param, g, state, c, np))
