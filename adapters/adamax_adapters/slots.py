"""What an optimizer keeps for each variable, and how it finds it again.

A raw array is known by the memory it names, so that a fresh view of the same parameter finds the
same slots, and so is a `Variable` whose array can be written to; another by its identity. Whatever
is known is held on to: neither an address nor an identity can come to mean something else while
the optimizer lives.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import cached_property
from threading import RLock
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
        self.variable = variable  # the one in use of those that it is known by
        self.known_by = [variable]
        self.slots: dict[str, Variable] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the variable and its slots; the copy also answers to the original variable."""
        copied = type(self)(deepcopy(self.variable, memo))
        copied.known_by += self.known_by
        copied.slots = deepcopy(self.slots, memo)
        return copied


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
        self.lock = RLock()  # whoever holds it sees all variables and slots at the same step

    @cached_property
    def _found(self) -> dict[Hashable, tuple[_Record, Variable]]:
        """Records by what their variables are known by, which a copy has to work out anew."""
        return {
            _key(known): (record, known) for record in self._records for known in record.known_by
        }

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
        holders: list[Variable] = []
        new: dict[Hashable, Variable] = {}
        for one in given:
            key = _key(one)
            if isinstance(one, Variable):
                holder = new[key] = one
            elif is_immutable(one) or not is_writeable(one):
                raise TypeError(
                    "expected a Variable or a writable array to update, got an array of "
                    f"{library_name(one)} that cannot be written to; wrap it in Variable"
                )
            elif key in self._found:
                holder = self._found[key][1]
            elif key in new:
                holder = new[key]
            else:
                number = sum(isinstance(x, _Alias) for x in [*self.variables, *new.values()])
                holder = new[key] = _Alias.of_array(one, f"array_{number}")
            holders.append(holder)
        return holders

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the moments of `variables`, as zeros, where there are none."""
        for slot_name in MOMENTS:
            for variable in variables:
                self.add(variable, slot_name)

    @contextmanager
    def targets(self, variables: Sequence[Variable]) -> Iterator[list[Target]]:
        """Give every variable with its moments to the block; those made go again if it fails."""
        keys = [_key(variable) for variable in variables]
        known = all(map(self._has_moments, keys))
        with self.lock, nullcontext() if known else self.undone_on_error():
            if not known:
                self.build(variables)
            records = [self._found[key][0] for key in keys]
            yield [
                (variable, record.slots["m"], record.slots["v"])
                for variable, record in zip(variables, records, strict=True)
            ]
            # After a deep copy it may be the original that is in use.
            for variable, record in zip(variables, records, strict=True):
                record.variable = variable

    def _has_moments(self, key: Hashable) -> bool:
        return key in self._found and self._found[key][0].slots.keys() >= set(MOMENTS)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Let the slots that the block makes go again if it fails."""
        before = list(self.names), list(self._records), dict(self._found)
        slots = [dict(record.slots) for record in self._records]
        try:
            yield
        except BaseException:
            self.names, self._records, self._found = before
            for record, of_record in zip(self._records, slots, strict=True):
                record.slots = of_record
            raise

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
        """Yield every slot: all m, all v, then the others in the order they were first made."""
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
        return {k: value for k, value in self.__dict__.items() if k not in ("_found", "lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=RLock())


def _key(given: Any) -> Hashable:
    """Return what `given` is known by; TypeError if it is no variable and no array."""
    array = given._value if isinstance(given, Variable) else given
    if not is_array(array):
        raise TypeError(
            f"expected a Variable or a writable array to update, got {type(given).__name__}; "
            "wrap it in Variable: Variable(asarray(...))"
        )
    # Immutable arrays may share their memory, and empty ones an address.
    by_identity = isinstance(given, Variable) and (is_immutable(array) or 0 in given.shape)
    return id(given) if by_identity and not isinstance(given, _Alias) else memory_of(array)


def _moments_first(slot_name: str) -> int:
    return MOMENTS.index(slot_name) if slot_name in MOMENTS else len(MOMENTS)
