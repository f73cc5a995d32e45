"""`init` and `update`: the pure form, over arrays nested in any way."""

import math
import types
from collections import ChainMap, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libraries import Library, compiled_too
from reference_model import NumpyAdamax

from adamax import IndexedSlices, State, Variable, init, nesting, update

Array = Any

pytestmark = pytest.mark.feature("functional")

HYPER: dict[str, Any] = {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}


class Layer(NamedTuple):
    weight: Any
    bias: Any


class Frozen(Mapping[str, Any]):
    """A mapping that cannot be changed, and is made of another."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = dict(content)

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def flat(tree: Any) -> list[Any]:
    """Return the leaves of `tree`, in the order of the keys' text."""
    if isinstance(tree, Mapping):
        return [leaf for key in sorted(tree, key=str) for leaf in flat(tree[key])]
    if isinstance(tree, (list, tuple, deque, UserList)):
        return [leaf for child in tree for leaf in flat(child)]
    return [tree]


@compiled_too
def test_many_steps_follow_the_reference_model(library: Library) -> None:
    """50 steps of dense, sparse and missing gradients go where the float64 model goes."""
    rng = np.random.default_rng(1)
    starts = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=()), "table": np.ones((5, 2))}
    starts = {key: library.rounded(x).astype(float) for key, x in starts.items()}
    model = NumpyAdamax([*starts.values()], **HYPER)
    params = {key: library.asarray(x) for key, x in starts.items()}
    state, step = init(params), library.compiled(partial(update, **HYPER))
    for t in range(50):
        a, b, values = (library.rounded(rng.normal(size=s)) for s in [(3, 4), (), (4, 2)])
        indices = rng.integers(0, 5, size=4)
        model.step([None if t % 3 == 1 else a, b, (values.astype(float), indices)])
        grads = {
            "a": None if t % 3 == 1 else library.asarray(a),
            "b": library.asarray(b),
            "table": IndexedSlices(library.asarray(values), library.asarray(indices, "int32")),
        }
        params, state = library.computed(step(params, grads, state))
    assert state.step == 50
    # Every step rounds the parameter once, to the nearest of its dtype.
    for found, expected in zip(params.values(), model.x, strict=True):
        library.assert_close(found, expected, roundings=100, scale=np.abs(expected).max())
    rough = 1e-12 if library.wide == "float64" else 1e-4
    for slots, numbers in ((state.m, model.m), (state.u, model.v)):
        for found, expected in zip(slots.values(), numbers, strict=True):
            np.testing.assert_allclose(
                library.read(found, library.wide), expected, rtol=rough, atol=rough
            )


def test_state_before_the_first_step(library: Library) -> None:
    """`init` gives zeros, shaped as the parameters, where they are, of 32 bits at least."""
    state = init({"w": library.asarray(np.ones((2, 3))), "b": [library.asarray(1)]})
    assert state.step == 0
    for slots in (state.m, state.u):
        np.testing.assert_array_equal(library.read(slots["w"], library.wide), np.zeros((2, 3)))
        np.testing.assert_array_equal(library.read(slots["b"][0], library.wide), 0)


def test_moments_share_no_memory() -> None:
    """m and u are two arrays from the start: who writes to one, or donates it, keeps the other."""
    state = init([np.ones(2)])
    assert state.m[0] is not state.u[0]
    assert not np.shares_memory(state.m[0], state.u[0])


@compiled_too
def test_nothing_is_written_to(library: Library) -> None:
    """A step leaves parameters, gradients and state as they are."""
    params = {"w": library.asarray([1, 2]), "rows": library.asarray([[1], [2]])}
    grads = {
        "w": library.asarray([3, 4]),
        "rows": IndexedSlices(library.asarray([[5]]), library.asarray([1], "int32")),
    }
    state = init(params)
    library.compiled(partial(update, **HYPER))(params, grads, state)
    np.testing.assert_array_equal(library.read(params["w"]), [1, 2])
    np.testing.assert_array_equal(library.read(params["rows"]), [[1], [2]])
    np.testing.assert_array_equal(library.read(grads["w"]), [3, 4])
    assert state.step == 0
    for array in flat([state.m, state.u]):
        assert not library.read(array, library.wide).any()
    assert list(params) == list(grads) == ["w", "rows"]


@pytest.mark.parametrize(
    "nest",
    [
        pytest.param(lambda a, b: [a, b], id="list"),
        pytest.param(lambda a, b: (a, b), id="tuple"),
        pytest.param(Layer, id="namedtuple"),
        pytest.param(lambda a, b: deque([a, b]), id="deque"),
        pytest.param(lambda a, b: UserList([a, b]), id="UserList"),
        pytest.param(lambda a, b: {"a": a, "b": b}, id="dict"),
        pytest.param(lambda a, b: {"b": b, "a": a}, id="dict-unsorted"),
        pytest.param(lambda a, b: {2: a, 10: b, "x": [a, (b,)]}, id="mixed-keys"),
        pytest.param(lambda a, b: OrderedDict(b=b, a=a), id="OrderedDict"),
        pytest.param(lambda a, b: defaultdict(list, a=a, b=b), id="defaultdict"),
        pytest.param(lambda a, b: UserDict({"a": a, "b": b}), id="UserDict"),
        pytest.param(lambda a, b: ChainMap({"a": a}, {"b": b}), id="ChainMap"),
        pytest.param(lambda a, b: types.MappingProxyType({"b": b, "a": a}), id="mappingproxy"),
        pytest.param(lambda a, b: Frozen({"b": b, "a": a}), id="frozen"),
        pytest.param(lambda a, b: {"a": [Layer(a, b), {"x": (a,)}], "b": []}, id="nested"),
        pytest.param(lambda a, b: a, id="array"),
        pytest.param(lambda a, b: [], id="empty"),
    ],
)
def test_nesting_is_kept(nest: Callable[[Any, Any], Any]) -> None:
    """Parameters come back in the containers they came in, every leaf after its own gradient."""
    params = nest(np.array([1.0, 2.0]), np.array([3.0]))
    grads = nest(np.array([1.0, -1.0]), np.array([-1.0]))
    state = init(params)
    found, state = update(params, grads, state, learning_rate=0.5, epsilon=0.0)
    for tree in (found, state.m, state.u):
        assert type(tree) is type(params)
        if isinstance(params, Mapping):
            assert list(tree) == list(params)
    # Without epsilon the first step is the learning rate, against the sign of the gradient.
    for new, old, grad in zip(flat(found), flat(params), flat(grads), strict=True):
        np.testing.assert_allclose(new, old - 0.5 * np.sign(grad), rtol=1e-15)
    for m, u, grad in zip(flat(state.m), flat(state.u), flat(grads), strict=True):
        np.testing.assert_allclose(m, 0.1 * grad, rtol=1e-15)
        np.testing.assert_array_equal(u, np.abs(grad))


def test_leaves_come_in_the_order_of_their_keys() -> None:
    """However dictionaries are filled, their leaves come sorted by key, each with its path."""
    tree = {"b": 1, "a": [2, {"y": 3, "x": 4}], 7: (5,)}
    assert list(nesting.flatten(tree, "p")) == [
        ("p[7][0]", 5),
        ("p['a'][0]", 2),
        ("p['a'][1]['x']", 4),
        ("p['a'][1]['y']", 3),
        ("p['b']", 1),
    ]


def test_factory_of_a_default_dictionary_is_kept() -> None:
    """A default dictionary comes back with its factory, and the given one has no new keys."""
    params: defaultdict[str, Any] = defaultdict(list, w=np.ones(1))
    found, _ = update(params, {"w": np.ones(1)}, init(params))
    assert found.default_factory is list
    assert list(params) == ["w"]


def test_gradients_may_be_nested_in_other_containers() -> None:
    """What counts is keys and lengths: a tuple of gradients serves a list of parameters."""
    params: dict[str, Any] = {"w": [np.ones(2), np.ones(1)], "b": np.ones(1)}
    grads: dict[str, Any] = OrderedDict(b=np.ones(1), w=(np.ones(2), None))
    found, state = update(params, grads, init(params), learning_rate=0.5, epsilon=0.0)
    assert found["w"][1] is params["w"][1]
    np.testing.assert_array_equal(state.u["w"][1], [0.0])
    np.testing.assert_allclose(found["b"], [0.5])
    np.testing.assert_allclose(found["w"][0], [0.5, 0.5])


def test_missing_gradients_leave_all_as_it_is() -> None:
    """Without any gradient only the step counter moves on."""
    params = [np.ones(2), np.ones(1)]
    found, state = update(params, [None, None], init(params))
    assert found[0] is params[0]
    assert found[1] is params[1]
    assert not np.concatenate(state.m + state.u).any()
    assert state.step == 1


def test_numbers_and_lists_are_gradients(library: Library) -> None:
    """A gradient may be a number or a list, which becomes an array in the dtype of the step."""
    params = [library.asarray(1), library.asarray([1, 2])]
    _, state = update(params, [2, [1e-8, 5]], init(params))
    np.testing.assert_array_equal(library.read(state.u[0], library.wide), 2)
    # In 16 bits 1e-8 is 0.
    expected = np.array([1e-8, 5]).astype(library.wide)
    np.testing.assert_array_equal(library.read(state.u[1], library.wide), expected.astype(float))


def test_wide_gradients_of_narrow_parameters() -> None:
    """A float32 gradient of a float16 parameter is not squeezed through 16 bits."""
    param = np.ones(2, np.float16)
    _, state = update(param, np.array([1e-8, 1e6], np.float32), init(param))
    np.testing.assert_array_equal(state.u, np.array([1e-8, 1e6], np.float32))


def test_lists_of_rows(library: Library) -> None:
    """A sparse gradient may be given in lists, and may list no rows."""
    param = library.asarray([[1, 2], [3, 4]])
    none: IndexedSlices = IndexedSlices(library.asarray(np.zeros((0, 2))), [])
    found, state = update(param, none, init(param))
    np.testing.assert_array_equal(library.read(found), [[1, 2], [3, 4]])
    found, state = update(param, IndexedSlices([[1.0, 1.0]], [1]), state, **HYPER)
    np.testing.assert_array_equal(library.read(state.u, library.wide), [[0, 0], [1, 1]])


def test_array_may_be_the_learning_rate(library: Library) -> None:
    """A 0-d array as learning rate is the number it holds."""
    param = library.asarray([1, 2])
    grad, rate = library.asarray([1, -1]), library.asarray(0.25)
    found, _ = update(param, grad, init(param), learning_rate=rate)
    expected, _ = update(param, grad, init(param), learning_rate=0.25)
    np.testing.assert_array_equal(library.read(found), library.read(expected))


def test_variable_may_be_the_learning_rate(library: Library) -> None:
    """So is the number in a variable, and it promotes nothing."""
    param, grad = library.asarray([1, 2]), library.asarray([1, -1])
    found, _ = update(param, grad, init(param), learning_rate=Variable(np.array(0.25)))
    expected, _ = update(param, grad, init(param), learning_rate=0.25)
    np.testing.assert_array_equal(library.read(found), library.read(expected))


def test_callable_may_be_the_learning_rate() -> None:
    """A schedule, or any function of the number of steps before, is called at every step."""
    asked: list[Any] = []

    def halving(step: int) -> float:
        asked.append(step)
        return math.ldexp(0.5, -step)

    (w, state), (v, other) = [(np.ones(2), init(np.ones(2))) for _ in range(2)]
    for t in range(3):
        w, state = update(w, P, state, learning_rate=halving)
        v, other = update(v, P, other, learning_rate=0.5 * 0.5**t)
    assert asked == [0, 1, 2]
    np.testing.assert_array_equal(w, v)


@pytest.mark.parametrize("value", [-0.1, np.inf, None, "0.1", [0.1]])
def test_what_a_callable_returns_is_checked(value: Any) -> None:
    """A learning rate from a function is checked as one that is given."""
    with pytest.raises((TypeError, ValueError), match=r"Expected learning_rate\(state\.step\) "):
        update(P, P, init(P), learning_rate=lambda step: value)


def test_one_learning_rate_for_all_elements(library: Library) -> None:
    """An array of several learning rates is refused, and is not broadcast."""
    param = library.asarray([1, 2])
    with pytest.raises(TypeError, match="Expected learning_rate to be a number"):
        update(param, param, init(param), learning_rate=library.asarray([0.1, 0.2]))


def test_step_number_may_be_an_array(library: Library) -> None:
    """With the step number in a 0-d array, as under a trace, the same steps are taken."""
    param = library.asarray([1, 2])
    counted = init(param)._replace(step=library.asarray(0, "int32"))
    plain, found, expected = init(param), param, param
    for _ in range(3):
        found, counted = update(found, library.asarray([1, -3]), counted, **HYPER)
        expected, plain = update(expected, library.asarray([1, -3]), plain, **HYPER)
    assert int(counted.step) == 3
    tolerance = 1e-6 if "float16" not in library.dtype else 1e-2
    np.testing.assert_allclose(library.read(found), library.read(expected), rtol=tolerance)


def test_numpy_step_number_counts_as_pythons() -> None:
    """A step number from a file, a NumPy integer, gives the same bits as an int."""
    param = np.array([1.0, 2.0], np.float32)
    grad = np.array([0.3, -7], np.float32)
    found, state = update(param, grad, init(param)._replace(step=np.int64(6)), **HYPER)
    expected, _ = update(param, grad, init(param)._replace(step=6), **HYPER)
    np.testing.assert_array_equal(found, expected)
    assert state.step == 7


def test_jit_compiles_once() -> None:
    """Under `jax.jit` the step number is traced: later steps do not compile again."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    traces = []

    def step(params: Any, grads: Any, state: State, rate: Any) -> Any:
        traces.append(state.step)
        return update(params, grads, state, learning_rate=rate, beta_1=0.8, beta_2=0.95)

    compiled = jax.jit(step)
    start, table = np.array([1.0, 2.0], np.float32), np.ones((3, 1), np.float32)
    params = {"w": jax.numpy.asarray(start), "table": jax.numpy.asarray(table)}
    state, model = init(params), NumpyAdamax([start, table], 0.01, 0.8, 0.95)
    rows = (jax.numpy.ones((2, 1)), jax.numpy.asarray([2, 2]))
    for _ in range(5):
        grads = {"w": jax.numpy.asarray([0.5, -3.0]), "table": IndexedSlices(*rows)}
        params, state = compiled(params, grads, state, 0.01)
        model.step([[0.5, -3.0], ([[1.0], [1.0]], [2, 2])])
    # The first step number was a Python int, which JAX traces as a weakly typed array.
    assert len(traces) <= 2
    assert int(state.step) == 5
    np.testing.assert_allclose(params["w"], model.x[0], rtol=1e-5)
    np.testing.assert_allclose(params["table"], model.x[1], rtol=1e-5)


P = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"w": [P, [1.0, 2.0]]}, TypeError, r"received float, for params\['w'\]\[1\]\[0\]"),
        ((P, "w"), TypeError, r"received str, for params\[1\]"),
        (1.0, TypeError, "received float, for params"),
        ({3: np.arange(2)}, ValueError, r"Invalid type int64 for params\[3\]: expected one of"),
        ([np.arange(1)], ValueError, r"for params\[0\].* integers cannot be trained; convert it"),
        (np.array([1j]), ValueError, "Invalid type complex128 for params: .* float64; convert it"),
        (np.array([True]), ValueError, "Invalid type bool for params"),
        (iter([P]), TypeError, "received list_iterator, for params"),
        (IndexedSlices(P, P), TypeError, "received IndexedSlices, for params"),
    ],
)
def test_parameters_are_checked(params: Any, error: type[Exception], message: str) -> None:
    """What cannot be a parameter is told with its path."""
    with pytest.raises(error, match=message):
        init(params)


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"w": [P, P]}, r"the keys \['b', 'w'\], received the keys \['w'\], for grads$"),
        ({"w": [P, P], "b": P, "c": P}, r"received the keys \['b', 'c', 'w'\], for grads$"),
        ([P, P], r"Expected the keys \['b', 'w'\], received a sequence of 2, for grads$"),
        (None, r"Expected the keys \['b', 'w'\], received NoneType, for grads$"),
        ({"w": [P], "b": P}, r"a sequence of 2, received a sequence of 1, for grads\['w'\]$"),
        ({"w": P, "b": P}, r"Expected a sequence of 2, received ndarray, for grads\['w'\]$"),
        ({"w": {"x": P}, "b": P}, r"sequence of 2, received the keys \['x'\], for grads\['w'\]$"),
        ({"w": None, "b": P}, r"Expected a sequence of 2, received NoneType, for grads\['w'\]$"),
        ({"w": "ab", "b": P}, r"Expected a sequence of 2, received str, for grads\['w'\]$"),
        ({"w": IndexedSlices(P, P), "b": P}, r"2, received IndexedSlices, for grads\['w'\]$"),
        ({"w": [P, P[:1]], "b": P}, r"shape \(2,\), received .*, for params\['w'\]\[1\]"),
    ],
)
def test_gradients_are_nested_as_parameters(grads: Any, message: str) -> None:
    """A difference in nesting or shape is told with its path."""
    params = {"w": [P, P], "b": P}
    with pytest.raises(ValueError, match=message):
        update(params, grads, init(params))


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (State(0, [P, P], [P, P]), ValueError, r"received a sequence of 2, for state\.m$"),
        (State(0, {"b": P, "w": P}, {"b": P}), ValueError, r"\['b'\], for state\.u$"),
        (
            State(0, {"b": P, "w": P[:1]}, {"b": P, "w": P}),
            ValueError,
            r"shape \(2,\) and dtype float64, received \(1,\) and float64",
        ),
        (
            State(0, {"b": P, "w": P.astype(np.float16)}, {"b": P, "w": P}),
            ValueError,
            r"dtype float64, received \(2,\) and float16",
        ),
        (
            State(0, {"b": P, "w": None}, {"b": P, "w": P}),
            TypeError,
            r"received NoneType, for the state of params\['w'\]",
        ),
        (
            State(-1, {"b": P, "w": P}, {"b": P, "w": P}),
            ValueError,
            "Expected t >= 1, received: 0; was the step counter set below 0",
        ),
    ],
)
def test_state_is_checked(state: State, error: type[Exception], message: str) -> None:
    """A state of other parameters, or one that lost digits, is refused."""
    params = {"b": P, "w": P}
    with pytest.raises(error, match=message):
        update(params, params, state)


def test_arguments_in_another_order() -> None:
    """A state passed as parameters or gradients is told with the signature; others are not.

    What is shaped alike, as gradients and parameters are, cannot be told apart.
    """
    params, state = {"w": P}, init({"w": P})
    orders: list[Any] = [(params, state, params), (state, params, params), (state, state, params)]
    for order in orders:
        with pytest.raises(
            TypeError, match=r"received dict, .* in another order\? the signature is"
        ):
            update(*order)
    others: list[Any] = [None, (0, params, params), params]
    for other in others:
        with pytest.raises(TypeError, match=r"for state: the signature is update\(params, grads"):
            update(params, params, other)
    found, _ = update(params, params, types.SimpleNamespace(**state._asdict()))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["w"], update(params, params, state)[0]["w"])


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("learning_rate", -0.1, ValueError, r"Expected learning_rate >= 0, received: -0\.1"),
        ("learning_rate", None, ValueError, "Expected learning_rate to be a number, received: Non"),
        ("learning_rate", np.array([0.1]), TypeError, "Expected learning_rate to be a number"),
        ("beta_1", 1.0, ValueError, r"Expected beta_1 in \[0, 1\), received: 1\.0"),
        ("beta_1", np.nan, ValueError, "Expected beta_1 to be a finite number, received: nan"),
        ("beta_2", -0.1, ValueError, r"Expected beta_2 in \[0, 1\), received: -0\.1"),
        ("beta_2", "0.9", TypeError, "Expected beta_2 to be a number, received: '0.9' of type str"),
        ("epsilon", -1e-9, ValueError, "Expected epsilon >= 0, received: -1e-09"),
        ("epsilon", np.inf, ValueError, "Expected epsilon to be a finite number, received: inf"),
    ],
)
def test_hyperparameters_are_checked(
    name: str, value: Any, error: type[Exception], message: str
) -> None:
    """A hyperparameter out of its range is an error that names it."""
    with pytest.raises(error, match=message):
        update(P, P, init(P), **{name: value})


leaves = st.integers(1, 3).map(lambda n: np.arange(1.0, n + 1))
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
        | st.builds(Layer, inner, inner)
    ),
    max_leaves=8,
)


def structure(tree: Any) -> Any:
    """Return `tree` with shapes in place of its arrays."""
    if isinstance(tree, dict):
        return {key: structure(child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [type(tree).__name__, *map(structure, tree)]
    return tree.shape


@given(trees)
def test_any_nesting_is_kept(params: Any) -> None:
    """However lists, tuples and dictionaries nest, each leaf takes the step it takes alone."""
    found, state = update(params, params, init(params), **HYPER)
    assert structure(found) == structure(state.m) == structure(state.u) == structure(params)
    for new, old in zip(flat(found), flat(params), strict=True):
        alone, _ = update(old, old, init(old), **HYPER)
        np.testing.assert_array_equal(new, alone)
