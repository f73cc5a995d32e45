"""What an optimizer keeps for each variable, and how it finds it again.

A `Variable` is known by its identity, a raw array by the memory it names, so that a fresh view of
the same parameter finds the same slots. Whatever is known is held on to: neither an identity nor
an address can come to mean something else while the optimizer lives.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Self, TypeAlias

from adamax._arrays import (
    array_namespace,
    compute_dtype,
    is_array,
    is_immutable,
    is_writeable,
    library_name,
    memory_of,
)
from adamax.variable import Variable
from adamax_adapters.initializers import initial_value

__all__ = ["MOMENTS", "Slots", "Target"]

Target: TypeAlias = tuple[Variable, Variable, Variable]
"""A variable, its first moment m and its infinity norm u: what a step changes."""

MOMENTS = ("m", "v")
"""Slots of the first moment and of the infinity norm, which is u in the rule."""


class _Alias(Variable):
    """A variable that stands for a raw array and shares its memory."""


class _Record:
    """One variable and its slots."""

    def __init__(self, variable: Variable) -> None:
        self.variable = variable
        self.slots: dict[str, Variable] = {}


class Slots:
    """The slots of all variables of one optimizer.

    Parameters
    ----------
    scope : str
        Name of the optimizer, with which the names of its slots begin.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.names: list[str] = []  # in the order they were first asked for
        self._records: list[_Record] = []
        self._found: dict[Hashable, tuple[_Record, Variable]] = {}

    @property
    def variables(self) -> list[Variable]:
        """The variables, in the order they were first seen."""
        return [record.variable for record in self._records]

    def holders(self, given: Sequence[Any]) -> list[Variable]:
        """Return the variable that stands for each of `given`; nothing is kept yet.

        Raises
        ------
        TypeError
            If one is neither a Variable nor an array that can be written to.
        """
        new: dict[Hashable, Variable] = {}
        holders: list[Variable] = []
        for one in given:
            if isinstance(one, Variable):
                holders.append(one)
                continue
            key = _key(one)
            if key in self._found:
                holders.append(self._found[key][1])
            else:
                known = sum(isinstance(variable, _Alias) for variable in self.variables)
                name = f"array_{known + len(new)}"
                holders.append(new.setdefault(key, _Alias.of_array(one, name)))
        return holders

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the moments of `variables`, as zeros, where there are none."""
        for slot_name in MOMENTS:
            for variable in variables:
                self.add(variable, slot_name)

    @contextmanager
    def targets(self, variables: Sequence[Variable]) -> Iterator[list[Target]]:
        """Give every variable with its moments to the block; those made go again if it fails."""
        before = None if all(map(self._has_moments, variables)) else self._contents()
        try:
            self.build(variables)
            targets = []
            for variable in variables:
                record, _ = self._found[_key(variable)]
                targets.append((variable, record.slots["m"], record.slots["v"]))
                # After a deep copy it may be the original that is in use.
                record.variable = variable
            yield targets
        except BaseException:
            if before is not None:
                self.names, self._records, self._found, slots = before
                for record, of_record in zip(self._records, slots, strict=True):
                    record.slots = of_record
            raise

    def _has_moments(self, variable: Variable) -> bool:
        key = _key(variable)
        return key in self._found and self._found[key][0].slots.keys() >= set(MOMENTS)

    def _contents(self) -> tuple[Any, ...]:
        of_records = [dict(record.slots) for record in self._records]
        return list(self.names), list(self._records), dict(self._found), of_records

    def add(self, variable: Variable, slot_name: str, initializer: Any = "zeros") -> Variable:
        """Return a slot of `variable`; make it where there is none."""
        key = _key(variable)
        record = self._found[key][0] if key in self._found else _Record(variable)
        if slot_name not in record.slots:
            record.slots[slot_name] = self._made(variable, slot_name, initializer)
            if key not in self._found:
                self._records.append(record)
                self._found[key] = (record, variable)
            if slot_name not in self.names:
                self.names.append(slot_name)
        return record.slots[slot_name]

    def get(self, given: Any, slot_name: str) -> Variable:
        """Return a slot that is there.

        Raises
        ------
        KeyError
            If the variable has not been seen or has no such slot.
        """
        key = _key(given)
        if key not in self._found:
            name = given.name if isinstance(given, Variable) else "this array"
            raise KeyError(
                f"the optimizer has no slots for {name}: apply_gradients, build and add_slot "
                "make them"
            )
        record, _ = self._found[key]
        if slot_name not in record.slots:
            raise KeyError(
                f"{record.variable.name} has no slot {slot_name!r}, only {list(record.slots)}"
            )
        return record.slots[slot_name]

    def __iter__(self) -> Iterator[Variable]:
        """Yield every slot: all m, all v, then the others in the order of their names."""
        for slot_name in sorted(self.names, key=_moments_first):
            for record in self._records:
                if slot_name in record.slots:
                    yield record.slots[slot_name]

    def of(self, variable: Variable) -> dict[str, Variable]:
        """Return the slots of one variable by name; none if it has not been seen."""
        key = _key(variable)
        return dict(self._found[key][0].slots) if key in self._found else {}

    def _made(self, variable: Variable, slot_name: str, initializer: Any) -> Variable:
        xp = array_namespace(variable.value)
        dtype = compute_dtype(variable.dtype, xp) or variable.dtype
        value = initial_value(initializer, variable.shape, dtype, xp, variable.device)
        if slot_name in MOMENTS and tuple(value.shape) != variable.shape:
            raise ValueError(
                f"the slot {slot_name!r} of {variable.name} must have its shape, "
                f"{variable.shape}, got {tuple(value.shape)}"
            )
        name = f"{self.scope}/{variable.name}/{slot_name}"
        return Variable(value, name=name, trainable=False)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_found"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._found = {_key(record.variable): (record, record.variable) for record in self._records}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy variables and slots; the copy also answers to the original variables."""
        copied = type(self).__new__(type(self))
        copied.__setstate__(deepcopy(self.__getstate__(), memo))
        pairs = zip(self._records, copied._records, strict=True)
        place = {id(mine): theirs for mine, theirs in pairs}
        for key, (record, variable) in self._found.items():
            copied._found[key] = (place[id(record)], variable)
        return copied


def _key(given: Any) -> Hashable:
    """Return what `given` is known by; TypeError if an optimizer could not update it."""
    if isinstance(given, _Alias):
        return memory_of(given.value)
    if isinstance(given, Variable):
        return id(given)
    if not is_array(given):
        raise TypeError(
            f"expected a Variable or a writable array to update, got {type(given).__name__}; "
            "wrap it in Variable: Variable(asarray(...))"
        )
    if is_immutable(given) or not is_writeable(given):
        raise TypeError(
            f"expected a Variable or a writable array to update, got an array of "
            f"{library_name(given)} that cannot be written to; wrap it in Variable"
        )
    return memory_of(given)


def _moments_first(slot_name: str) -> int:
    return MOMENTS.index(slot_name) if slot_name in MOMENTS else len(MOMENTS)
