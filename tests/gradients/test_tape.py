"""The tape and its tracers: what a loss may do, what is refused, and what is left behind."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, IndexedSlices, Variable
from adamax_adapters.gradients import value_and_gradients
from adamax_adapters.gradients.derivatives import RULES

Array = Any


def test_numpy_functions_take_variables_themselves() -> None:
    """np.sum(v) of a Variable is np.sum(v.value), in a loss and outside, keywords included."""
    w = Variable(np.array([1.0, 2.0]))
    weights: Any = Variable(np.array([3.0, 1.0]))
    assert np.sum(w) == 3.0
    assert np.concatenate([w, w]).shape == (4,)
    assert np.average(w, weights=weights) == 1.25
    _, (gradient,) = value_and_gradients(lambda: np.sum(np.concatenate([w, 2 * w]) ** 2), [w])
    np.testing.assert_allclose(gradient, 10 * w.value)
    np.add(w, 1.0, out=weights)
    np.testing.assert_array_equal(weights.value, [2.0, 3.0])


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "function": (lambda w: np.prod(w), "calls prod on"),
    "method": (lambda w: w.cumprod().sum(), "calls cumprod on"),
    "linalg": (lambda w: np.sum(np.linalg.inv(w)), "calls inv on"),
    "reduce": (lambda w: np.add.reduce(w).sum(), "calls add.reduce with no options"),
    "ufunc's where": (lambda w: np.exp(w, where=w > 0, out=np.ones((2, 2))).sum(), "calls exp"),
    "sum's where": (lambda w: np.sum(w, where=[True, False]), "calls sum in a way .*'where'"),
    "positions": (lambda w: np.sum(w, 0, None).sum(), "calls sum in a way .*positional"),
    "initial": (lambda w: np.max(w, initial=0.0), "calls max in a way .*'initial'"),
    "out": (lambda w: w.sum(0, out=np.zeros(2)).sum(), "calls sum in a way .*'out'"),
    "in place": (lambda w: np.sum(np.ones(2).__iadd__(w[0])), "calls add.__call__ with out"),
    "initial sum": (
        lambda w: np.cumulative_sum(w, axis=0, include_initial=True).sum(),
        "'include_initial'",
    ),
    "mode": (lambda w: np.take(w, [9], mode="clip").sum(), "calls take in a way .*'mode'"),
    "order": (lambda w: np.reshape(w, (4,), order="F").sum(), "calls reshape in a way .*order"),
    "order of ravel": (lambda w: w.ravel("F").sum(), "calls reshape in a way .*order"),
    "dot": (
        lambda w: np.dot(np.ones((2, 2, 2)), w).sum(),
        "vectors or matrices, received 3 axes",
    ),
    "condition": (lambda w: np.where(w, w, 0.0).sum(), "calls where with a variable in argument 0"),
    "keyword": (lambda w: np.stack(arrays=[w, w]).sum(), "calls stack on"),
    "conversion": (lambda w: np.sum(np.asarray(w)), "converts .* to a NumPy array"),
    "array of numbers": (lambda w: np.sum(np.array([w[0, 0], w[1, 1]])), "converts .* to a NumPy"),
    "complex": (lambda w: np.sum(np.abs(w * 1j)), "calls multiply, with a complex result"),
    "complex dtype": (lambda w: np.sum(np.abs(w.astype(complex))), "calls astype, with a complex"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_derivative_is_named(kind: str) -> None:
    """A call without a derivative rule is an error that names it, and nothing is changed."""
    loss, reason = REFUSED[kind]
    w, opt = Variable(np.eye(2)), Adamax()
    with pytest.raises(NotImplementedError, match=reason):
        opt.minimize(lambda: loss(w.value), [w])
    np.testing.assert_array_equal(w.value, np.eye(2))
    assert opt.iterations == 0


def test_refusal_says_what_to_do() -> None:
    """The error names the ways out."""
    w = Variable(np.ones(2))
    with pytest.raises(NotImplementedError) as info:
        value_and_gradients(lambda: np.prod(w), [w])
    for way in ("other array API functions", "another engine=", "return (value, gradients)"):
        assert way in str(info.value)


@pytest.mark.parametrize("name", ["real", "flat", "base", "no_such_name"])
def test_parts_of_an_array_do_not_leak(name: str) -> None:
    """An attribute that would be the array without its trace is not there."""
    w = Variable(np.ones(2))
    with pytest.raises(AttributeError, match=name):
        value_and_gradients(lambda: np.sum(getattr(w.value, name)), [w])


def test_tracers_describe_their_arrays() -> None:
    """In a loss a variable has the shape, dtype, length and device of its array."""
    w: Variable = Variable(np.ones((2, 3), np.float32))

    def loss() -> Array:
        x = w.value * 1
        assert (x.shape, x.ndim, x.size, len(x)) == ((2, 3), 2, 6, 2)
        assert (x.dtype, x.device) == (np.float32, "cpu")
        assert x.T.shape == x.mT.shape == (3, 2)
        assert np.shape(x) == (2, 3)
        assert "array(" in repr(x)
        assert f"{x[0, 0]:.2f}" == "1.00"
        assert x[0, 0].item() == 1.0
        assert x[0, 0]
        assert bool(x[0, 0] > 0)
        assert hash(x) == hash(x)
        return np.sum(x)

    value_and_gradients(loss, [w])


def test_numbers_taken_out_are_constants() -> None:
    """A number that item() takes out of a loss can be noted down, and is a constant."""
    w, noted = Variable(np.array([2.0, 3.0])), []

    def loss() -> Array:
        total = np.sum(w**2)
        noted.append(total.item())
        return total * w.value[0].item()

    _, (gradient,) = value_and_gradients(loss, [w])
    assert noted == [13.0]
    np.testing.assert_array_equal(gradient, [8.0, 12.0])


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_variables_of_whole_numbers_are_constants(dtype: str) -> None:
    """Indices and masks may be held in Variables, which are not differentiated."""
    rows, table = Variable(np.array([1, 0]).astype(dtype)), Variable(np.ones((2, 2)))
    _, gradients = value_and_gradients(lambda: np.sum(table[rows.value] * 2), [table, rows])
    assert gradients[1] is None
    assert gradients[0] is not None


def test_assignment_is_refused() -> None:
    """An assignment inside the loss is an error, whether to a variable or to what depends on it."""
    w = Variable(np.ones(3))

    def to_result() -> Array:
        y = w * 2
        y[0] = 5.0
        return np.sum(y)

    def to_variable() -> Array:
        w.value[0] = 5.0
        return np.sum(w.value)

    def by_assign() -> Array:
        w.assign(np.zeros(3))
        return np.sum(w.value)

    with pytest.raises(NotImplementedError, match="assigns to elements"):
        value_and_gradients(to_result, [w])
    for loss in (to_variable, by_assign):
        with pytest.raises(RuntimeError, match="inside a loss"):
            value_and_gradients(loss, [w])
    np.testing.assert_array_equal(w.value, np.ones(3))


WRITES: dict[str, Callable[[Any], Any]] = {
    "fill": lambda w: w.value.fill(5.0),
    "sort": lambda w: w.value.sort(),
    "out": lambda w: np.add(w, 1.0, out=w),
    "out of the value": lambda w: np.add(1.0, 1.0, out=w.value),
    "copyto": lambda w: np.copyto(w.value, 5.0),
    "put": lambda w: np.put(w.value, [0], 5.0),
}


@pytest.mark.parametrize("way", WRITES)
def test_variables_cannot_be_written_to(way: str) -> None:
    """NumPy's other ways to write into an array end at a variable, whatever the loss returns."""
    w = Variable(np.array([2.0, 1.0]))

    def loss() -> Any:
        WRITES[way](w)
        return 0.0, [np.zeros(2)]

    with pytest.raises(ValueError, match=r"read-only|not writeable"):
        value_and_gradients(loss, [w])
    np.testing.assert_array_equal(w.value, [2.0, 1.0])


def test_given_gradients_are_taken_as_they_are() -> None:
    """A loss that returns (value, gradients) may do anything, even what has no derivative."""
    w, table = Variable(np.array([1.0, -2.0])), Variable(np.ones((2, 1)))

    def loss() -> Any:
        y = w.value * 2
        y[y < 0] = 0.0
        rows = IndexedSlices(y[:1, None], np.array([0]))
        return np.prod(np.asarray(y)), {"w": [y, None], "table": rows}

    tree = {"w": [w, Variable(np.ones(1))], "table": table}
    value, (rows, gradient, none) = value_and_gradients(loss, tree)
    assert value == 0.0
    assert none is None
    assert type(gradient) is type(rows.values) is np.ndarray
    np.testing.assert_array_equal(gradient, [2.0, 0.0])
    np.testing.assert_array_equal(rows.values, [[2.0]])


def test_tracers_that_are_kept_are_constants() -> None:
    """What a loss keeps for its next call, such as a state, is a constant then, and readable."""
    w, kept = Variable(np.array([2.0, 3.0])), [np.ones(2)]

    def loss() -> Array:
        state = kept[0] * w
        kept[0] = state
        return np.sum(state)

    for factor in ([1.0, 1.0], [2.0, 3.0], [4.0, 9.0]):
        _, (gradient,) = value_and_gradients(loss, [w])
        np.testing.assert_array_equal(gradient, factor)
        assert np.sum(kept[0]) == np.sum(w.value * factor)
    with pytest.raises(ValueError, match="No gradients provided"):
        Adamax().minimize(lambda: np.sum(kept[0]), [w])


@pytest.mark.parametrize("outcome", ["returned", "raised", "refused"])
def test_nothing_is_held_on_to(outcome: str) -> None:
    """Arrays of a loss are freed as soon as it is done with, without garbage collection."""
    w: Variable = Variable(np.ones(1000))
    alive = []

    def loss() -> Array:
        hidden = np.tanh(w.value * 2.0)
        alive.append(weakref.ref(hidden.array))
        if outcome == "raised":
            raise KeyboardInterrupt
        return np.prod(hidden) if outcome == "refused" else np.sum(hidden * hidden)

    gc.disable()
    try:
        if outcome == "returned":
            value_and_gradients(loss, [w])
        else:
            with pytest.raises((KeyboardInterrupt, NotImplementedError)):
                value_and_gradients(loss, [w])
        assert alive[0]() is None
    finally:
        gc.enable()


def test_results_are_freed_on_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back, the tape lets go of a result before it comes to the next."""
    w = Variable(np.ones(10))
    alive: list[weakref.ref[Array]] = []
    counts: list[int] = []

    def watching(xp: Any, g: Array, y: Array, x: Array) -> Array:
        counts.append(sum(result() is not None for result in alive))
        return g * (1.0 - y * y)

    def loss() -> Array:
        x: Array = w.value
        for _ in range(5):
            x = np.tanh(x)
            alive.append(weakref.ref(x.array))
        return np.sum(x)

    monkeypatch.setitem(RULES, "tanh", (watching,))
    value_and_gradients(loss, [w])
    assert counts == [5, 4, 3, 2, 1]


def test_nested_call_is_an_error() -> None:
    """minimize inside a loss is refused, and the variables are as they were."""
    w, opt = Variable(np.ones(2)), Adamax()

    def loss() -> Array:
        opt.minimize(lambda: np.sum(w.value), [w])
        return np.sum(w.value)

    with pytest.raises(RuntimeError, match="inside a loss"):
        opt.minimize(loss, [w])
    np.testing.assert_array_equal(w.value, np.ones(2))
    opt.minimize(lambda: np.sum(w.value), [w])
    assert opt.iterations == 1


def test_variables_survive_any_exception() -> None:
    """Whatever the loss raises, the variable holds its array and can be used again."""
    w = Variable(np.ones(2))
    array = w.value

    def loss() -> Array:
        _ = w * 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        value_and_gradients(loss, [w])
    assert w.value is array


def test_threads_differentiate_side_by_side() -> None:
    """Two losses of one variable, differentiated at the same time, have their own gradients."""
    w, found, together = Variable(np.array([2.0])), {}, threading.Barrier(2)

    def differentiate(power: int) -> None:
        def loss() -> Array:
            x = w**power
            together.wait()
            return np.sum(x)

        found[power] = value_and_gradients(loss, [w])[1][0]

    threads = [threading.Thread(target=differentiate, args=(power,)) for power in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {power: float(g[0]) for power, g in found.items()} == {2: 4.0, 3: 12.0}
