"""A backend of the caller's own: an object with the two functions, given for a name."""

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, IndexedSlices, Variable
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax_adapters.backends import backend_for, standard
from adamax_adapters.backends.contract import Prepare, Target, Write

Array = Any


class Noting:
    """The plain backend, with a note of every variable that it is asked for."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.of_rows: list[str] = []

    def dense(self, targets: Sequence[Target], rule: Rule = ADAMAX) -> Prepare:
        self.prepared += [variable.name for variable, *_ in targets]
        return standard.dense(targets, rule)

    def rows(
        self, target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX
    ) -> Write:
        self.of_rows.append(target[0].name)
        return standard.rows(target, slices, c, rule)


def trained(backend: Any, steps: int = 3) -> tuple[Adamax, list[Variable]]:
    """Return an optimizer after some steps, and its variables: two arrays and a table."""
    variables = [Variable(np.ones(shape), name=name) for name, shape in (("a", 2), ("b", ()))]
    table = Variable(np.ones((4, 2)), name="table")
    optimizer = Adamax(0.1, backend=backend)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows = IndexedSlices(rng.normal(size=(3, 2)), np.array([3, 0, 3]))
        dense = [(rng.normal(size=x.shape), x) for x in variables]
        optimizer.apply_gradients([*dense, (rows, table)])
    return optimizer, [*variables, table]


def test_it_is_asked_for_every_variable() -> None:
    """It prepares once what every step then calls, and is given the rows; the step is its own."""
    backend = Noting()
    optimizer, variables = trained(backend)
    assert optimizer.backend is backend
    assert backend.prepared == ["a", "b"]
    assert backend.of_rows == ["table"] * 3
    expected_optimizer, expected = trained("standard")
    for got, wanted in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(got.value, wanted.value)
    for slot, wanted in zip(optimizer.weights, expected_optimizer.weights, strict=True):
        np.testing.assert_array_equal(slot.value, wanted.value)


def test_a_constraint_follows_it() -> None:
    """A constraint is applied to what it has written."""
    w = Variable(np.ones(2), name="w", constraint=lambda x: np.full_like(x, 7.0))
    backend = Noting()
    Adamax(backend=backend).apply_gradients([(np.ones(2), w)])
    assert backend.prepared == ["w"]
    np.testing.assert_array_equal(w.value, [7.0, 7.0])


def test_a_module_is_one() -> None:
    """A module with the two functions is a backend, under whatever name it is known."""
    module = ModuleType("mine")
    vars(module).update(dense=standard.dense, rows=standard.rows)
    optimizer, variables = trained(module)
    assert backend_for(variables[0].value, "a", module) is module
    assert optimizer.get_config() == Adamax(0.1).get_config()


def test_another_takes_over() -> None:
    """Set between two steps, it is the one that takes the next, and a name takes over from it."""
    first, second = Noting(), Noting()
    optimizer, (a, *_) = trained(first, steps=1)
    optimizer.backend = second
    optimizer.apply_gradients([(np.ones(2), a)])
    assert (first.prepared, second.prepared) == (["a", "b"], ["a"])
    optimizer.backend = "standard"
    optimizer.apply_gradients([(np.ones(2), a)])
    assert second.prepared == ["a"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_a_copy_of_it(copied: Callable[[Any], Any]) -> None:
    """It is copied with the optimizer, which then goes on with its copy."""
    backend = Noting()
    optimizer, (a, *_) = trained(backend, steps=1)
    twin, its_a = copied((optimizer, a))
    twin.apply_gradients([(np.ones(2), its_a)])
    optimizer.apply_gradients([(np.ones(2), a)])
    np.testing.assert_array_equal(its_a.value, a.value)
    assert twin.backend is not backend
    assert twin.backend.prepared == backend.prepared == ["a", "b", "a"]


def test_what_it_raises_in_preparing_changes_nothing() -> None:
    """No slot is left, no variable moved, no step counted; the error is the backend's own."""

    class Refusing(Noting):
        def dense(self, targets: Any, rule: Rule = ADAMAX) -> Any:
            raise NotImplementedError("not such arrays")

    w, optimizer = Variable(np.ones(2)), Adamax(backend=Refusing())
    with pytest.raises(NotImplementedError, match="not such arrays"):
        optimizer.apply_gradients([(np.ones(2), w)])
    assert optimizer.get_weights() == [0]
    np.testing.assert_array_equal(w.value, np.ones(2))


@dataclass
class Unhashable(Noting):
    """Equality without a hash, as dataclasses have it."""

    def __post_init__(self) -> None:
        super().__init__()


@pytest.mark.parametrize(
    "wanted",
    [
        Noting,
        Unhashable(),
        SimpleNamespace(dense=standard.dense, rows=standard.rows),
        ModuleType("empty"),
        np,
        standard.dense,
    ],
    ids=["class", "dataclass", "namespace", "empty module", "numpy", "function"],
)
def test_what_is_no_backend_is_refused(wanted: Any) -> None:
    """The error says what a backend is, and shows what was given."""
    expected = r"one of cupy, .*, or a hashable object, not a class, with functions dense and rows"
    with pytest.raises(ValueError, match=rf"Expected backend to be {expected}; received: ."):
        Adamax(backend=wanted)
    optimizer = Adamax(backend="numpy")
    with pytest.raises(ValueError, match="Expected backend to be one of cupy"):
        optimizer.backend = wanted
    assert optimizer.backend == "numpy"


def test_one_that_knows_the_default_rule_alone() -> None:
    """A backend without an argument for the rule takes the steps that need none."""

    class Older:
        def dense(self, targets: Sequence[Target]) -> Prepare:
            return standard.dense(targets)

        def rows(self, target: Target, slices: IndexedSlices, c: Coefficients) -> Write:
            return standard.rows(target, slices, c)

    backend: Any = Older()
    _, variables = trained(backend)
    for got, wanted in zip(variables, trained("standard")[1], strict=True):
        np.testing.assert_array_equal(got.value, wanted.value)
