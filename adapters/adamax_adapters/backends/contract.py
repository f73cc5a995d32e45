"""The contract of a backend, which executes a rule with an array library, in two parts.

The first part does everything that may fail, such as taking memory. The second one writes, and
runs when the first part of every variable of the step has succeeded.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from adamax._arrays import Array
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.sparse import IndexedSlices
from adamax.variable import Variable

__all__ = ["Backend", "Prepare", "Target", "Write"]

Target: TypeAlias = tuple[Variable, ...]
"""A variable and its state, as the rule names it, such as m and u. A step changes them all."""

Write: TypeAlias = Callable[[], object]
"""Takes a step that has been prepared: it writes variables and their state."""

Prepare: TypeAlias = Callable[[Sequence[Array], Coefficients], Write]
"""Prepares a step of certain variables, given their gradients and the scalars of the step.

The scalars are named; the rule finds its own among them: ``rule.scalars_of(c)``."""


class Backend(Protocol):
    """A module of this package, or any other object that has these two functions.

    They are given variables with their state, and gradients that have been checked. All arrays of
    a target are to be written to.
    """

    def dense(self, targets: Sequence[Target], rule: Rule = ADAMAX) -> Prepare:
        """Return the function that prepares steps of `targets`; called once for a set of them."""

    def rows(
        self, target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX
    ) -> Write:
        """Prepare one step of the listed rows of a table."""
