"""A step of certain variables, prepared once, for as long as they are the same ones."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from adamax import validation
from adamax._arrays import Array, computes_in_itself, is_immutable
from adamax.layout import owner_of
from adamax.variable import Variable
from adamax_adapters.backends.contract import Prepare
from adamax_adapters.step.identity import Watched

__all__ = ["KEPT_STEPS", "Prepared", "Recent"]

KEPT_STEPS = 256
"""Sets of variables for which an optimizer remembers a prepared step."""

Step = TypeVar("Step")


class Recent(Generic[Step]):
    """The steps that were prepared, each under a key; the least recently used goes first."""

    def __init__(self, most: int = KEPT_STEPS) -> None:
        self._most = most
        self._steps: OrderedDict[Hashable, Step] = OrderedDict()

    def find(self, key: Hashable) -> Step | None:
        """Return the step that is kept under a key, which is then the most recent one."""
        step = self._steps.get(key)
        if step is not None:
            self._steps.move_to_end(key)
        return step

    def keep(self, key: Hashable, step: Step) -> None:
        """Keep a step, and let the oldest go where there are too many."""
        self._steps[key] = step
        self._steps.move_to_end(key)
        if len(self._steps) > self._most:
            self._steps.popitem(last=False)

    def clear(self) -> None:
        """Let all steps go, and the arrays in them."""
        self._steps.clear()

    def __len__(self) -> int:
        return len(self._steps)


class Prepared:
    """What the next step of these variables needs, and how to see that it still fits them.

    Attributes
    ----------
    key : hashable
        Under which the step is kept: the identities of its arrays, which it holds.
    variables : sequence of Variable
    records : sequence
        What is kept for each variable; the variable of a deep copy becomes that of its record.
    prepare : callable (gradients, c) -> callable ()
        Prepares the next step of them all.
    """

    def __init__(
        self, key: Hashable, variables: Sequence[Variable], records: Sequence[Any], prepare: Prepare
    ) -> None:
        self.key, self.variables, self.records, self.prepare = key, variables, records, prepare
        self._constrained = _constrained(variables)
        self._watched = Watched(variables)
        self._looks: list[tuple[Any, ...] | None] = []
        self._owners: set[int] = set()

    def is_current(self) -> bool:
        """Say whether the variables name the memory and have the constraints that they had."""
        return _constrained(self.variables) == self._constrained and self._watched.are_in_place()

    def fits(self, gradients: Sequence[Any], owners: set[int]) -> bool:
        """Say, after a quick look, that gradients are ready as they are.

        It may also be the case where this is False. `owners` own the memory of slots, which
        gradients must not share.
        """
        if not self._looks:
            self._looks = list(map(_look, self.variables))
            self._owners = {owner_of(variable.held) for variable in self.variables}
        looks = [look for look in self._looks if look is not None]
        if len(looks) < len(self._looks):
            fit = all(
                validation.fits(grad, variable.held)
                for grad, variable in zip(gradients, self.variables, strict=True)
            )
            owned = {owner_of(grad) for grad in gradients if not is_immutable(grad)} if fit else {}
        else:
            fit = False not in [
                type(grad) is np.ndarray
                and grad.shape == shape
                and grad.dtype == dtype
                and value.flags.writeable
                for grad, (shape, dtype, value) in zip(gradients, looks, strict=True)
            ]
            owned = {id(x) if x.base is None else owner_of(x) for x in gradients} if fit else {}
        return fit and self._owners.isdisjoint(owned) and owners.isdisjoint(owned)


def _constrained(variables: Sequence[Variable]) -> bool:
    return [variable.constraint for variable in variables].count(None) < len(variables)


def _look(variable: Variable) -> tuple[Any, ...] | None:
    """Return what an even quicker look asks of a plain NumPy array; None for other arrays."""
    value: Array = variable.held
    plain = type(value) is np.ndarray and computes_in_itself(value.dtype)
    return (value.shape, value.dtype, value) if plain else None
