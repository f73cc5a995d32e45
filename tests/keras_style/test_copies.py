"""Copies of optimizers, by `copy.deepcopy` and `pickle`: alone, and with what they optimize."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from libraries import Library
from snapshots import snapshot

from adamax import Adamax, Variable

Array = Any

pytestmark = pytest.mark.feature("checkpoint")


def pickled(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": pickled,
    "pickle of a deepcopy": lambda x: pickled(copy.deepcopy(x)),
    "deepcopy of a deepcopy": lambda x: copy.deepcopy(copy.deepcopy(x)),
    "deepcopy of a pickle": lambda x: copy.deepcopy(pickled(x)),
}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def step(optimizer: Adamax, *variables: Any) -> None:
    optimizer.apply_gradients([(np.full(x.shape, 0.3), x) for x in variables])


@each_copy
def test_fresh_optimizers_are_copied(copied: Callable[[Any], Any]) -> None:
    """A copy of an optimizer without slots has its configuration and none either."""
    original = Adamax(0.42, clipnorm=1.0, name="mine")
    twin = copied(original)
    assert twin.get_config() == original.get_config()
    assert twin.get_slot_names() == []
    step(twin, Variable(np.ones(2)))
    assert original.iterations == 0


@each_copy
def test_copies_are_apart(copied: Callable[[Any], Any]) -> None:
    """Steps of a copy, and what is set on it, leave the original as it was."""
    original, w, raw = Adamax(), Variable(np.ones(2)), np.ones(2)
    step(original, w, raw)
    before = snapshot(original, w, raw)
    twin, its_w, its_raw = copied((original, w, raw))
    twin.learning_rate = 0.5
    twin.iterations.assign(40)
    step(twin, its_w, its_raw)
    assert snapshot(original, w, raw) == before
    assert len(twin.weights) == 5
    assert twin.get_slot(its_w, "m") is twin.weights[1]
    assert twin.get_slot(its_raw[:], "m") is twin.weights[2]


def test_a_deep_copy_answers_to_the_originals() -> None:
    """Copied alone, an optimizer goes on with the variables that it was used with.

    Two steps of a copy of a copy are the second and third of a run, and the original has taken one.
    """
    original, w, raw = Adamax(0.1), Variable(np.ones(2)), np.ones(2)
    step(original, w, raw)
    twin = copy.deepcopy(copy.deepcopy(original))
    model, x = Adamax(0.1), Variable(np.ones(2))
    for _ in range(3):
        step(model, x)
    step(twin, w, raw)
    step(twin, w, raw[:])
    assert len(twin.weights) == 5
    assert original.iterations == 1
    for found in (w.value, raw):
        np.testing.assert_array_equal(found, x.value)
    for slot in (twin.get_slot(w, "m"), twin.get_slot(raw, "m")):
        np.testing.assert_array_equal(slot.value, model.get_slot(x, "m").value)


@each_copy
def test_raw_arrays_that_are_not_copied_along_are_not_confused(
    copied: Callable[[Any], Any],
) -> None:
    """A new array finds no slots in a copy, and gets slots and a name of its own."""
    original, raw = Adamax(), np.ones(2)
    step(original, raw)
    twin, another = copied(original), np.ones(2)
    with pytest.raises(KeyError, match="a variable with slots, received this array"):
        twin.get_slot(another, "m")
    step(twin, another)
    assert [x.name for x in twin.weights[1:3]] == ["Adamax/array_0/m", "Adamax/array_1/m"]


class Model:
    """A model whose variable is constrained by a method: all of it in one ring of references."""

    def __init__(self) -> None:
        self.limit = 0.9
        self.w = Variable(np.ones(2), name="w", constraint=self.limited)
        self.optimizer = Adamax()

    def limited(self, x: Array) -> Array:
        return np.minimum(x, self.limit)


RINGS: dict[str, tuple[Callable[[Model], Any], Callable[[Any], Model]]] = {
    "model": (lambda model: model, lambda twin: twin),
    "variable": (lambda model: model.w, lambda twin: twin.constraint.__self__),
    "optimizer": (
        lambda model: model.optimizer,
        lambda twin: twin._slots.variables[0].constraint.__self__,
    ),
}


@each_copy
@pytest.mark.parametrize("begin", RINGS)
def test_rings_of_references_are_copied(copied: Callable[[Any], Any], begin: str) -> None:
    """Wherever a copy begins in the ring, it is whole, and steps with its own constraint."""
    model = Model()
    step(model.optimizer, model.w)
    part_of, model_of = RINGS[begin]
    twin = model_of(copied(part_of(model)))
    twin.limit = 0.5
    step(twin.optimizer, twin.w)
    np.testing.assert_array_equal(twin.w.value, [0.5, 0.5])
    np.testing.assert_array_equal(model.w.value, [0.9, 0.9])
    assert len(twin.optimizer.weights) == 3
    assert twin.optimizer.iterations == 2


@each_copy
def test_variables_known_by_their_array_are_copied(copied: Callable[[Any], Any]) -> None:
    """A Variable that was first given as its array is found as both in a copy."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    step(optimizer, w.value)
    step(optimizer, w)
    twin, its_w = copied((optimizer, w))
    step(twin, its_w)
    step(twin, its_w.value)
    assert len(twin.weights) == 3
    assert twin.iterations == 4


@each_copy
def test_empty_variables_are_copied(copied: Callable[[Any], Any]) -> None:
    """Variables without elements, known by identity, are found again in a copy."""
    optimizer, a, b = Adamax(), Variable(np.ones((0, 2))), Variable(np.ones((0, 2)))
    step(optimizer, a, b)
    twin, its_a, its_b = copied((optimizer, a, b))
    step(twin, its_a, its_b)
    assert len(twin.weights) == 5


@each_copy
def test_copies_in_every_library(library: Library, copied: Callable[[Any], Any]) -> None:
    """Where the library's arrays can be copied, so can its Variables with their optimizer."""
    w, optimizer = Variable(library.asarray(np.ones(2))), Adamax(0.1)
    gradient = library.asarray([0.5, -0.5])
    optimizer.apply_gradients([(gradient, w)])
    twin, its_w = copied((optimizer, w))
    for one, x in ((optimizer, w), (twin, its_w)):
        one.apply_gradients([(gradient, x)])
    np.testing.assert_array_equal(its_w.numpy(), w.numpy())
    for mine, theirs in zip(twin.get_weights(), optimizer.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_failing_step_of_a_copy_does_not_choose_its_variable() -> None:
    """Which of original and copy stands for the slots is settled by steps that succeed."""

    def refuse(x: Array) -> Array:
        raise ArithmeticError

    original, w = Adamax(), Variable(np.ones(2), name="w")
    step(original, w)
    twin = copy.deepcopy(original)
    (its_w,) = twin._slots.variables
    w.constraint = refuse
    with pytest.raises(ArithmeticError):
        step(twin, w)
    assert twin._slots.variables == [its_w]
    w.constraint = None
    step(twin, w)
    assert twin._slots.variables[0] is w
