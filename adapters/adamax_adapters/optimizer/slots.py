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

from adamax import nesting
from adamax._arrays import (
    Array,
    array_namespace,
    compute_dtype,
    is_array,
    is_immutable,
    is_writeable,
    library_name,
)
from adamax.given import listed
from adamax.layout import memory_of, owner_of
from adamax.variable import Variable
from adamax_adapters.optimizer.arena import move_together, zeros_together
from adamax_adapters.optimizer.initializers import initial_value

__all__ = ["MOMENTS", "RECENT", "Slots", "Target", "Targets"]

Target: TypeAlias = tuple[Variable, Variable, Variable]
"""A variable, its first moment m and its infinity norm u: what a step changes."""

MOMENTS = ("m", "v")
"""Slots of the first moment and of the infinity norm, which is u in the rule."""

RECENT = 16
"""Sets of variables for which what has been prepared is kept."""


class _Alias(Variable):
    """A variable that stands for a raw array and shares its memory."""


class _Slot(Variable):
    """A variable whose array may be a part of a larger one, which it does not take along."""

    def __getstate__(self) -> dict[str, Any]:
        value = array_namespace(self._value).asarray(self._value, copy=True)
        return self.__dict__ | {"_value": value}


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


class Targets(list[Target]):
    """The targets of a step, with what has been prepared for them, by what it depends on."""

    def __init__(self, variables: Sequence[Variable], records: Sequence[_Record]) -> None:
        super().__init__(
            (variable, record.slots["m"], record.slots["v"])
            for variable, record in zip(variables, records, strict=True)
        )
        self.variables, self.records = variables, records
        self.prepared: dict[Hashable, Any] = {}
        raw = [variable._value for variable in variables if isinstance(variable, _Alias)]
        self._places = [(array, memory_of(array)) for array in raw]

    def in_place(self) -> bool:
        """Say whether raw arrays name the memory that they are known by, and not other parts."""
        return all(memory_of(array) == place for array, place in self._places)


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
        self._targets: dict[tuple[int, ...], Targets] = {}  # by identities, which Targets hold
        self.lock = RLock()  # whoever holds it sees all variables and slots at the same step

    @cached_property
    def _found(self) -> dict[Hashable, tuple[_Record, Variable]]:
        """Records by what their variables are known by, which a copy has to work out anew."""
        return {
            _key(known): (record, known) for record in self._records for known in record.known_by
        }

    @cached_property
    def owners(self) -> set[int]:
        """What owns the memory of slots, as `owner_of` names it."""
        return {owner_of(slot._value) for slot in self}

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
        if all(isinstance(one, Variable) for one in given):
            return list(given)
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

    def chosen(self, variables: Any) -> list[Variable]:
        """Return the variables, which may be nested in any way; for None, all that are known."""
        if variables is None:
            return self.variables
        return self.holders([x for _, x in nesting.flatten(listed(variables), "variables")])

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the moments of `variables`, as zeros, where there are none."""
        for slot_name in MOMENTS:
            new = {_key(x): x for x in variables if slot_name not in self.of(x)}
            for variable, value in zip(new.values(), zeros_together([*new.values()]), strict=True):
                self._keep(variable, slot_name, value)

    def recent(self, given: Sequence[Any]) -> Targets | None:
        """Return the targets of these very variables and arrays, if a step of them was lately."""
        targets = self._targets.get(tuple(map(id, given)))
        return targets if targets is not None and targets.in_place() else None

    @contextmanager
    def targets(self, variables: Sequence[Variable]) -> Iterator[Targets]:
        """Give every variable with its moments to the block; those made go again if it fails."""
        with self.lock:
            known = self._targets.get(tuple(map(id, variables)))
            with nullcontext() if known else self.undone_on_error():
                targets = known or self._new_targets(variables)
                yield targets
                # After a deep copy it may be the original that is in use.
                for variable, record in zip(variables, targets.records, strict=True):
                    record.variable = variable

    def _new_targets(self, variables: Sequence[Variable]) -> Targets:
        """Return the targets of variables, which from now on are recent."""
        self.build(variables)
        if len(self._targets) >= RECENT:
            self._targets.clear()
        targets = Targets(variables, [self._found[_key(variable)][0] for variable in variables])
        given = [x._value if isinstance(x, _Alias) else x for x in variables]
        for known in (variables, given):
            self._targets[tuple(map(id, known))] = targets
        return targets

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Let the slots that the block makes go again if it fails."""
        before = list(self.names), list(self._records), dict(self._found)
        slots = [dict(record.slots) for record in self._records]
        try:
            yield
        except BaseException:
            self.names, self._records, self._found = before
            self._targets.clear()
            self.__dict__.pop("owners", None)
            for record, of_record in zip(self._records, slots, strict=True):
                record.slots = of_record
            raise

    def add(self, variable: Variable, slot_name: str, initializer: Any = "zeros") -> Variable:
        """Return a slot of `variable`; make it where there is none."""
        slots = self.of(variable)
        if slot_name in slots:
            return slots[slot_name]
        return self._keep(variable, slot_name, self._made(variable, slot_name, initializer))

    def _keep(self, variable: Variable, slot_name: str, value: Array) -> Variable:
        """Keep an array as a new slot of `variable`."""
        record, _ = self._found.setdefault(_key(variable), (_Record(variable), variable))
        if not record.slots:
            self._records.append(record)
        if slot_name not in self.names:
            self.names.append(slot_name)
        slot = _Slot.of_array(value, f"{self.scope}/{variable.name}/{slot_name}")
        slot.trainable = False
        record.slots[slot_name] = slot
        self.__dict__.pop("owners", None)
        return slot

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

    def _made(self, variable: Variable, slot_name: str, initializer: Any) -> Array:
        xp = array_namespace(variable.value)
        dtype = compute_dtype(variable.dtype, xp) or variable.dtype
        value = initial_value(initializer, dtype, variable.value)
        if slot_name in MOMENTS and tuple(value.shape) != variable.shape:
            raise ValueError(
                f"the slot {slot_name!r} of {variable.name} must have its shape, "
                f"{variable.shape}, got {tuple(value.shape)}"
            )
        return value if is_immutable(value) else xp.asarray(value, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("scope", "names", "_records")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _targets={}, lock=RLock())
        for slot_name in MOMENTS:
            slots = [record.slots.get(slot_name) for record in self._records]
            move_together([slot for slot in slots if slot is not None])


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
