"""Constraints of variables: the only code of the caller's that runs within a step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from libraries import Library
from snapshots import host, snapshot

from adamax import Adamax, Variable

Array = Any

pytestmark = pytest.mark.feature("dense")


def step(optimizer: Adamax, *variables: Variable) -> None:
    optimizer.apply_gradients([(np.ones(x.shape), x) for x in variables])


def test_a_constraint_sees_the_new_value_and_has_the_last_word(library: Library) -> None:
    """It is called once a step with the updated value; what it returns is the variable's value."""
    seen: list[Array] = []

    def halve(x: Array) -> Array:
        seen.append(x / 1)
        return x / 2

    x = Variable(library.asarray([1]), constraint=halve)
    optimizer = Adamax(0.5, epsilon=0.0)
    for _ in range(2):
        optimizer.apply_gradients([(library.asarray([1]), x)])
    for found, expected in zip(seen, ([0.5], [0.25 - 0.5]), strict=True):
        library.assert_close(found, expected, scale=1)
    library.assert_close(x.value, [-0.125], scale=1)


def test_slots_are_not_constrained(library: Library) -> None:
    """m and v are those of the gradients, whatever the constraint does."""
    ones = library.asarray([1, 1])
    free, held = Variable(ones), Variable(ones, constraint=library.xp.zeros_like)
    optimizer = Adamax()
    for _ in range(3):
        optimizer.apply_gradients([(ones, free), (ones, held)])
    for name in "mv":
        mine, others = (optimizer.get_slot(x, name).value for x in (held, free))
        expected = library.read(others, library.wide)
        library.assert_close(mine, expected, library.wide, roundings=0)
    library.assert_close(held.value, [0, 0], roundings=0)


def test_constraints_compute_in_the_variables_library(library: Library) -> None:
    """A constraint is given an array of the variable's library, dtype and device."""
    seen = []

    def keep(x: Array) -> Array:
        seen.append(library.read(x))
        return x

    x = Variable(library.asarray([1, 1]), constraint=keep)
    Adamax(0.5, epsilon=0.0).apply_gradients([(library.asarray([2, -2]), x)])
    np.testing.assert_array_equal(seen, [[0.5, 1.5]])


@pytest.mark.parametrize(
    "result",
    [[5.0, 5.0], np.full(2, 5), np.full(2, 5.0, np.float16), Variable(np.full(2, 5.0))],
    ids=["list", "int64", "float16", "Variable"],
)
def test_constraints_may_return_what_can_be_assigned(result: Any) -> None:
    """Lists, other dtypes and Variables are converted as by `assign`."""
    x = Variable(np.ones(2, np.float32), constraint=lambda x: result)
    step(Adamax(), x)
    np.testing.assert_array_equal(x.value, np.full(2, 5, np.float32))


def raising(x: Array) -> Array:
    raise ArithmeticError("never content")


def interrupted(x: Array) -> Array:
    raise KeyboardInterrupt


def ending(x: Array) -> Array:
    raise StopIteration


def writing_and_raising(x: Array) -> Array:
    x[...] = 7.0
    raise ArithmeticError("too late")


FAILURES: dict[str, tuple[Callable[[Array], Any], type[BaseException]]] = {
    "raises": (raising, ArithmeticError),
    "is interrupted": (interrupted, KeyboardInterrupt),
    "raises StopIteration": (ending, StopIteration),
    "writes and raises": (writing_and_raising, ArithmeticError),
    "changes the shape": (lambda x: x[:1], ValueError),
    "returns None": (lambda x: None, TypeError),
    "returns text": (lambda x: "x", TypeError),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("steps", [0, 1])
def test_whatever_a_constraint_raises_undoes_the_step(failure: str, steps: int) -> None:
    """Variables before and after it are as they were, bit for bit, and so are slots and count."""
    first, raw, last = Variable(np.ones(2)), np.ones(2), Variable(np.ones(2, np.float16))
    held, optimizer = Variable(np.ones(2)), Adamax(0.1)
    pairs: list[Any] = [(np.full(2, 0.3), x) for x in (first, raw, held, last)]
    for _ in range(steps):
        optimizer.apply_gradients(pairs)
    before = snapshot(optimizer, first, raw, held, last)
    variables: list[Variable] = [first, held, last]
    arrays = [x.value for x in variables]
    held.constraint, error = FAILURES[failure]
    with pytest.raises(error):
        optimizer.apply_gradients(pairs)
    assert snapshot(optimizer, first, raw, held, last) == before
    held.constraint = None
    assert optimizer.apply_gradients(pairs) == steps + 1
    for x, array in zip(variables, arrays, strict=True):
        assert x.value is array


def test_a_constraint_may_look_at_other_variables() -> None:
    """It finds those before it updated, those after it not yet, and the counter as it was."""
    optimizer, seen = Adamax(0.5, epsilon=0.0), []
    a, c = Variable(np.zeros(1)), Variable(np.zeros(1))

    def look(x: Array) -> Array:
        seen.append((a.value[0], c.value[0], int(optimizer.iterations)))
        return x

    b = Variable(np.zeros(1), constraint=look)
    step(optimizer, a, b, c)
    np.testing.assert_allclose(seen, [(-0.5, 0.0, 0)], rtol=1e-14)


def test_given_twice_it_is_constrained_twice() -> None:
    """Of a variable that is given twice, the second step starts from the constrained value."""
    x = Variable(np.array([1.0]), constraint=lambda x: np.round(x, 0))
    optimizer = Adamax(0.75, beta_1=0.0, epsilon=0.0)
    step(optimizer, x, x)
    assert host(x) == [-1.0]
