"""`check_gradients`: what it accepts, what it finds, and what it leaves behind."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from losses import CASES

from adamax import IndexedSlices, Variable, check_gradients
from adamax_adapters.gradients import EngineName

Array = Any


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["tape", None])
def test_right_gradients_pass(name: str, engine: EngineName | None) -> None:
    """The engine's own gradients of every loss pass, and are checked in float64."""
    variables, loss = CASES[name](np.asarray, np.random.default_rng(5))
    before = [variable.value for variable in variables]
    check_gradients(loss, variables, engine=engine)
    for variable, value in zip(variables, before, strict=True):
        assert variable.value is value


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_variables_of_every_dtype_are_checked_in_float64(dtype: str) -> None:
    """A loss of narrow variables is held to the same tolerance, and keeps its dtype."""
    w, seen = Variable(np.linspace(0.5, 1.5, 3).astype(dtype)), set()

    def loss() -> Array:
        seen.add(w.dtype.name)
        return np.sum(np.exp(w) / w.value)

    check_gradients(loss, [w])
    assert seen == {"float64"}
    assert w.dtype == dtype


def test_check_needs_the_standard_only(standard_only: None) -> None:
    """Elements are moved in calls of the standard."""
    xp = array_api_strict
    w = Variable(xp.asarray(np.ones((2, 2)), dtype=xp.float32), name="w")
    scale = Variable(xp.asarray(3.0), name="scale")

    def loss() -> Array:
        now = w.__array_namespace__()
        return now.sum(w.value**2) * scale.value

    check_gradients(loss, {"a": [w], "b": scale})
    given = {"a": [2.0 * w], "b": xp.asarray(4.0)}
    with pytest.raises(
        AssertionError, match=r"Expected 6 .* gradient 2, for .*w.* at \(0, 0\) \(4 of 4"
    ):
        check_gradients(lambda: (loss(), given), {"a": [w], "b": scale})


def test_first_wrong_element_is_named() -> None:
    """The error holds variable, element, both numbers, and how many others are wrong."""
    a, b = Variable(np.ones(2), name="a"), Variable(np.full((2, 3), 2.0), name="table")
    wrong = np.full((2, 3), 4.0)
    wrong[1, 1:] = [7.0, 8.0]

    with pytest.raises(AssertionError) as info:
        check_gradients(lambda: (np.sum(a**2) + np.sum(b**2), [2 * a, wrong]), [a, b])
    assert str(info.value) == (
        "Expected 4 from central differences, received gradient 7, for table at (1, 1) "
        "(2 of 6 elements differ): does the loss use item(), or is it not differentiable at "
        "this point?"
    )


WRONG: dict[str, Callable[[Variable], Any]] = {
    "missing": lambda w: (np.sum(w**2), [None]),
    "one row of two": lambda w: (np.sum(w**2), [IndexedSlices(2 * w[:1], np.array([0]))]),
    "row twice": lambda w: (np.sum(w**2), [IndexedSlices(2 * w[[0, 1, 1]], np.array([0, 1, 1]))]),
    "nan": lambda w: (np.sum(w**2), [np.full(2, np.nan)]),
    "number taken out": lambda w: np.sum(w**2) * np.sum(w).item(),
    "slightly": lambda w: (np.sum(w**2), [2.00001 * w]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_gradients_are_found(kind: str) -> None:
    """What is missing, doubled, NaN or a little off is an error."""
    w = Variable(np.array([1.0, 2.0]), name="w")
    with pytest.raises(AssertionError, match="for w at"):
        check_gradients(lambda: WRONG[kind](w), [w])


def test_right_rows_pass() -> None:
    """Rows of a gradient that the loss gives are added up, and may be broadcast."""
    table, rows = Variable(np.ones((3, 2))), np.array([2, 0, 2])
    given = IndexedSlices(np.full((3, 1), 2.0), rows)
    check_gradients(lambda: (np.sum(table[rows] ** 2), [given]), [table])


def test_tolerance_is_relative_to_the_difference() -> None:
    """Large gradients may be off in proportion; the tolerance can be widened."""
    w = Variable(np.array([1e6]), name="w")
    check_gradients(lambda: np.sum(w**2), [w])
    off = Variable(np.array([1.0]))
    check_gradients(lambda: (np.sum(off**2), [2.01 * off]), [off], tolerance=0.02)
    with pytest.raises(AssertionError):
        check_gradients(lambda: (np.sum(off**2), [2.01 * off]), [off], tolerance=0.004)


def test_loss_of_several_elements_is_summed() -> None:
    """As in minimize, a loss that is no scalar is the sum of its elements, or a plain number."""
    w = Variable(np.array([1.0, 2.0]))
    check_gradients(lambda: w**2, [w])
    check_gradients(lambda: 3.0, [w])


def test_variables_come_back_whatever_the_loss_raises() -> None:
    """An interruption at any call leaves the very arrays that were there."""
    for stop in (1, 2, 3, 4):
        w = Variable(np.ones(2, np.float32))
        calls: list[int] = []
        before = w.value

        def loss(w: Variable = w, calls: list[int] = calls, stop: int = stop) -> Array:
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return np.sum(w.value**2)

        with pytest.raises(KeyboardInterrupt):
            check_gradients(loss, [w])
        assert w.value is before
        np.testing.assert_array_equal(w.value, [1.0, 1.0])


def test_random_losses_are_told() -> None:
    """A loss that draws random numbers has no differences; the error asks for that."""
    w, rng = Variable(np.ones(2)), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"the same loss on every call, .* does it draw"):
        check_gradients(lambda: np.sum(w.value * rng.normal(size=2)), [w])


def test_losses_that_are_not_finite_are_told() -> None:
    """There is nothing to compare with where the loss is NaN."""
    w = Variable(np.array([np.nan]))
    with pytest.raises(ValueError, match="Expected a finite loss, received nan"):
        check_gradients(lambda: np.sum(w.value), [w])


def test_variables_must_be_variables() -> None:
    """Arrays and whole numbers are refused before the loss is called."""
    with pytest.raises(TypeError, match=r"Expected Variables, received ndarray, .* wrap it"):
        check_gradients(lambda: 0.0, [np.ones(2)])
    n = Variable(np.array([1, 2]), name="n")
    with pytest.raises(ValueError, match="Invalid type int64 for n"):
        check_gradients(lambda: 0.0, [n])


def test_check_inside_a_loss_is_refused() -> None:
    """A loss that is being differentiated cannot be checked, and comes back whole."""
    w = Variable(np.ones(2, np.float32))
    before = w.value
    with pytest.raises(RuntimeError, match="inside a loss"):
        check_gradients(lambda: check_gradients(lambda: np.sum(w.value), [w]), [w])
    assert w.value is before
