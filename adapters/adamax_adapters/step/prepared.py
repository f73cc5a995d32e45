"""A step of certain variables, prepared once, for as long as they are the same ones."""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from adamax import validation
from adamax._arrays import Array, computes_in_itself, is_immutable
from adamax.layout import owner_of
from adamax.rule import ADAMAX, Rule
from adamax.variable import Variable
from adamax_adapters.backends.contract import Prepare, Target
from adamax_adapters.step.alias import Watched
from adamax_adapters.step.plan import indices_of_slices, planned

__all__ = ["KEPT_STEPS", "Prepared", "Recent"]

KEPT_STEPS = 256
"""Sets of variables for which an optimizer remembers a prepared step."""

Step = TypeVar("Step")


class Recent(Generic[Step]):
    """Prepared steps, found by their keys; the least recently used is forgotten first.

    Parameters
    ----------
    most : int
        Number of steps that are remembered.
    """

    def __init__(self, most: int = KEPT_STEPS) -> None:
        self._most = most
        self._keys: dict[Hashable, Hashable] = {}  # the first key of a step, by each of its keys
        self._steps: OrderedDict[Hashable, tuple[Step, tuple[Hashable, ...]]] = OrderedDict()

    def find(self, key: Hashable) -> Step | None:
        """Return the step that is kept under a key, which is then the most recent one."""
        first = self._keys.get(key)
        if first is None:
            return None
        self._steps.move_to_end(first)
        return self._steps[first][0]

    def keep(self, step: Step, *keys: Hashable) -> None:
        """Keep a step under keys that are all its own; forget the oldest if there are too many."""
        self._forget(keys[0])
        self._steps[keys[0]] = step, keys
        self._keys |= dict.fromkeys(keys, keys[0])
        if len(self._steps) > self._most:
            self._forget(next(iter(self._steps)))

    def _forget(self, first: Hashable) -> None:
        _, keys = self._steps.pop(first, (None, ()))
        for key in keys:
            if self._keys.get(key) == first:
                del self._keys[key]

    def clear(self) -> None:
        """Forget all steps, and the arrays in them."""
        self._keys.clear()
        self._steps.clear()

    def __len__(self) -> int:
        return len(self._steps)


class Prepared:
    """What the next step of these variables needs, and how to see that it still fits them.

    It holds its arrays: an identity that is a part of its key cannot come to be another array's.

    Parameters
    ----------
    targets : sequence of Target
    gradients : sequence of Array or IndexedSlices
        Of which those that list rows are told from the others.
    backend, rule
        As for `planned`.
    records : sequence
        Kept for the caller, one for each target.
    watched : sequence of Variable, optional
        Those of which it is asked at every step whether they name other memory. Default: the
        parameters; the state belongs to adamax then.

    Attributes
    ----------
    variables : sequence of Variable
        The parameters.
    prepare : callable (gradients, c) -> callable ()
        Prepares the next step of them all.
    owners : set of int
        What owns the memory of the arrays that are watched, as `owner_of` names it.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        gradients: Sequence[Any],
        backend: Any = None,
        rule: Rule = ADAMAX,
        *,
        records: Sequence[Any] = (),
        watched: Sequence[Variable] | None = None,
    ) -> None:
        self.targets, self.records = targets, records
        self.variables = [param for param, *_ in targets]
        self._sparse = indices_of_slices(gradients)
        self.prepare: Prepare = planned(targets, self._sparse, backend, rule)
        self._constrained = _constrained(self.variables)
        watched = self.variables if watched is None else watched
        self._watched = Watched(watched)
        self.owners = {owner_of(variable.held) for variable in watched}

    @cached_property
    def _looks(self) -> list[tuple[Any, ...]]:
        """What a quick look asks of each gradient; nothing if a parameter has no such look."""
        looks = [look for look in map(_look, self.variables) if look is not None]
        return looks if len(looks) == len(self.variables) else []

    def is_current(self) -> bool:
        """Say whether the variables name the memory and have the constraints that they had."""
        return _constrained(self.variables) == self._constrained and self._watched.are_in_place()

    def is_of(self, variables: Sequence[Variable], gradients: Sequence[Any]) -> bool:
        """Say whether it was prepared for these variables, of which the same have rows alone."""
        same = [*map(id, variables)] == [*map(id, self.variables)]
        return same and indices_of_slices(gradients) == self._sparse

    def fits(self, gradients: Sequence[Any], owners: Collection[int] = ()) -> bool:
        """Say, after a quick look, that gradients are ready as they are.

        It may also be the case where this is False. Gradients must share no memory with the arrays
        of this step, nor with what `owners` own, such as slots of other variables.
        """
        if not self._looks:
            fit = all(
                validation.fits(grad, variable.held)
                for grad, variable in zip(gradients, self.variables, strict=True)
            )
            owned = (
                {owner_of(grad) for grad in gradients if not is_immutable(grad)} if fit else set()
            )
        else:
            fit = False not in [
                type(grad) is np.ndarray
                and grad.shape == shape
                and grad.dtype == dtype
                and value.flags.writeable
                for grad, (shape, dtype, value) in zip(gradients, self._looks, strict=True)
            ]
            owned = {id(x) if x.base is None else owner_of(x) for x in gradients} if fit else set()
        return fit and self.owners.isdisjoint(owned) and owned.isdisjoint(owners)


def _constrained(variables: Sequence[Variable]) -> bool:
    return [variable.constraint for variable in variables].count(None) < len(variables)


def _look(variable: Variable) -> tuple[Any, ...] | None:
    """Return what an even quicker look asks of a plain NumPy array; None for other arrays."""
    value: Array = variable.held
    plain = type(value) is np.ndarray and computes_in_itself(value.dtype)
    return (value.shape, value.dtype, value) if plain else None
