"""`minimize`, `get_gradients`, `get_updates`: from a loss to a step, and what may fail between."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from snapshots import snapshot

from adamax import Adamax, IndexedSlices, Variable

Array = Any


def pair() -> tuple[Variable, Variable]:
    return Variable(np.array([1.0, 2.0]), name="a"), Variable(np.array([3.0]), name="b")


def loss_of(a: Variable, b: Variable) -> Callable[[], Array]:
    return lambda: np.sum(a.value * a.value) + np.sum(3 * b.value)


NESTED: dict[str, Callable[[Variable, Variable], Any]] = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "lists in a tuple": lambda a, b: ([a], [[b]]),
    "dict in sorted order": lambda a, b: {"w2": b, "w1": a},
    "callable": lambda a, b: lambda: [a, b],
}


@pytest.mark.parametrize("form", NESTED)
def test_variables_are_nested_in_any_way(form: str) -> None:
    """All three methods take variables nested in any way, and list gradients in flat order."""
    a, b = pair()
    optimizer = Adamax(0.5, epsilon=0.0)
    variables = NESTED[form](a, b)
    first, second = optimizer.get_gradients(loss_of(a, b), variables)
    np.testing.assert_array_equal(np.asarray(first), [2.0, 4.0])
    np.testing.assert_array_equal(np.asarray(second), [3.0])
    assert optimizer.minimize(loss_of(a, b), variables) is optimizer.iterations
    (count,) = optimizer.get_updates(loss_of(a, b), variables)
    assert count is optimizer.iterations
    assert count == 2
    assert [x.name for x in optimizer.weights[1:3]] == ["Adamax/a/m", "Adamax/b/m"]


def test_a_single_variable_will_do() -> None:
    """A variable alone stands for a list of one."""
    a, _ = pair()
    optimizer = Adamax(0.5, epsilon=0.0)
    optimizer.minimize(lambda: np.sum(a.value), a)
    np.testing.assert_allclose(a.value, [0.5, 1.5], rtol=1e-15)
    assert len(optimizer.get_gradients(lambda: np.sum(a.value), a)) == 1


def test_get_gradients_changes_nothing() -> None:
    """Asking for gradients makes no slots, counts no step and moves nothing."""
    a, b = pair()
    optimizer = Adamax(clipnorm=1.0)
    before = snapshot(optimizer, a, b)
    optimizer.get_gradients(loss_of(a, b), [a, b])
    assert snapshot(optimizer, a, b) == before
    assert optimizer.get_gradients(lambda: (0.0, []), []) == []


def test_get_gradients_are_those_of_the_slots() -> None:
    """Gradients come in the dtype of the slots, rows as rows, and are arrays of their own."""
    x, table = Variable(np.ones(2, np.float16)), Variable(np.ones((3, 2)))
    given = np.full((1, 2), 2.0)
    rows = IndexedSlices(given, np.array([1]))
    dense, sparse = Adamax().get_gradients(lambda: (0.0, [np.ones(2), rows]), [x, table])
    assert not isinstance(dense, IndexedSlices)
    assert dense.dtype == np.float32
    assert isinstance(sparse, IndexedSlices)
    np.testing.assert_array_equal(sparse.indices, [1])
    (of_itself,) = Adamax().get_gradients(lambda: (0.0, [table.value]), [table])
    assert not np.shares_memory(np.asarray(of_itself), table.value)


@pytest.mark.parametrize("method", ["get_gradients", "get_updates"])
def test_every_gradient_must_exist(method: str) -> None:
    """Where gradients are returned, a missing one is an error with its variable's name."""
    a, b = pair()
    optimizer = Adamax()
    before = snapshot(optimizer, a, b)
    with pytest.raises(ValueError, match="Variable b has `None` for gradient"):
        getattr(optimizer, method)(lambda: np.sum(a.value), [a, b])
    with pytest.raises(ValueError, match="Variable 1 has `None` for gradient"):
        getattr(optimizer, method)(lambda: (0.0, [np.ones(2), None]), [a, np.ones(1)])
    assert snapshot(optimizer, a, b) == before


@pytest.mark.parametrize("method", ["minimize", "get_gradients", "get_updates"])
def test_variables_must_be_given(method: str) -> None:
    """None in the place of the variables is an error; so is a loss that is no function."""
    a, _ = pair()
    optimizer = Adamax()
    with pytest.raises(ValueError, match="var_list must be variables"):
        getattr(optimizer, method)(lambda: np.sum(a.value), None)
    with pytest.raises(TypeError, match="loss must be a callable"):
        getattr(optimizer, method)(np.sum(a.value), [a])
    with pytest.raises(TypeError, match="missing"):
        getattr(optimizer, method)(lambda: np.sum(a.value))
    assert optimizer.get_slot_names() == []


FAILURES: dict[str, tuple[Any, type[Exception], str]] = {
    "loss raises": (lambda: 1 / 0, ZeroDivisionError, "division"),
    "too few gradients": (lambda: (0.0, [np.ones(2)]), ValueError, "sequence of 2, got 1"),
    "gradient of another shape": (
        lambda: (0.0, [np.ones(2), np.ones(2)]),
        ValueError,
        "the gradient of b must have the shape",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_losses_that_fail_change_nothing(failure: str) -> None:
    """Whatever goes wrong between the loss and the step, all is as it was."""
    loss, error, message = FAILURES[failure]
    a, b = pair()
    optimizer = Adamax()
    optimizer.minimize(loss_of(a, b), [a, b])
    before = snapshot(optimizer, a, b)
    with pytest.raises(error, match=message):
        optimizer.minimize(loss, [a, b])
    assert snapshot(optimizer, a, b) == before


@pytest.mark.parametrize("sparse", [False, True])
def test_no_step_is_taken_inside_a_loss(sparse: bool) -> None:
    """A step inside a loss that is being differentiated is refused, and nothing has changed."""
    x, optimizer = Variable(np.ones((3, 1))), Adamax()
    optimizer.build([x])
    before = snapshot(optimizer, x)
    gradient = IndexedSlices(np.ones((1, 1)), np.array([1])) if sparse else np.ones((3, 1))

    def loss() -> Array:
        optimizer.apply_gradients([(gradient, x)])
        return np.sum(x.value)

    with pytest.raises((RuntimeError, TypeError)):
        optimizer.minimize(loss, [x])
    assert snapshot(optimizer, x) == before


def test_a_variable_listed_twice_takes_both_steps() -> None:
    """It has the whole gradient twice, one step after the other with the same t."""
    a, _ = pair()
    twice, optimizer, one = Variable(a), Adamax(0.1, epsilon=0.0), Adamax(0.1, epsilon=0.0)
    optimizer.minimize(lambda: np.sum(3 * twice.value), [twice, twice])
    one.apply_gradients([(np.full(2, 3.0), a), (np.full(2, 3.0), a)])
    np.testing.assert_array_equal(twice.value, a.value)


def test_names_of_operations_have_no_effect() -> None:
    """`name` is taken by minimize and apply_gradients, as in the reference."""
    a, b = pair()
    optimizer = Adamax()
    optimizer.minimize(loss_of(a, b), [a, b], None, "step")
    optimizer.apply_gradients([(np.ones(2), a)], name="step")
    assert optimizer.iterations == 2
    with pytest.raises(TypeError, match="name"):
        optimizer.get_updates(loss_of(a, b), [a, b], name="step")  # type: ignore[call-arg]


def test_raw_arrays_are_minimised_with_given_gradients() -> None:
    """A loss that returns (value, gradients) may be one of raw arrays, weighed by grad_loss."""
    w, optimizer = np.ones(2), Adamax(0.5, epsilon=0.0)
    optimizer.minimize(lambda: (0.0, [np.array([1.0, -2.0])]), [w], grad_loss=-2.0)
    np.testing.assert_allclose(w, [1.5, 0.5], rtol=1e-15)
    np.testing.assert_array_equal(optimizer.get_slot(w, "v").value, [2, 4])
