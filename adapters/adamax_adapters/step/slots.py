"""The slots of an optimizer, by variable, and the steps that it has prepared of late."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from copy import copy, deepcopy
from functools import cached_property
from typing import Any, Self, TypeVar

from adamax import nesting
from adamax._arrays import Array, array_namespace, compute_dtype, is_immutable
from adamax.given import listed
from adamax.layout import owner_of
from adamax.variable import Variable
from adamax_adapters.step.alias import Alias
from adamax_adapters.step.arena import move_together, zeros_together
from adamax_adapters.step.guard import Guard
from adamax_adapters.step.identity import Known
from adamax_adapters.step.initializers import initial_value
from adamax_adapters.step.plan import indices_of_slices
from adamax_adapters.step.prepared import Prepared, Recent

__all__ = ["MOMENTS", "Slots"]

Result = TypeVar("Result")

MOMENTS = ("m", "v")
"""Slots of the first moment and of the infinity norm, which is u in the rule."""


class _Slot(Variable):
    """A variable whose array may be a part of a larger one, which it does not take along."""

    def __getstate__(self) -> dict[str, Any]:
        value = array_namespace(self.held).asarray(self.held, copy=True)
        return self.__dict__ | {"held": value}


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
        self._new: list[tuple[Variable, _Record, str]] = []  # slots of the change under way
        self._recent: Recent[Prepared] = Recent()
        self._last: Prepared | None = None
        self._guard = Guard(self._new.clear, self._unmake)

    @cached_property
    def _known(self) -> Known[_Record]:
        """Records by their variables, which a copy has to work out anew."""
        known: Known[_Record] = Known(self._let_go)
        for record in self._records:
            for variable in record.known_by:
                known.keep(record, variable)
        return known

    @cached_property
    def owners(self) -> set[int]:
        """What owns the memory of slots, as `owner_of` names it."""
        return {owner_of(slot.held) for slot in self}

    @property
    def variables(self) -> list[Variable]:
        """The variables, in the order they were first seen."""
        variables = [record.variable for record in self._records]
        return [x.follow() if isinstance(x, Alias) else x for x in variables]

    def holders(self, given: Sequence[Any]) -> list[Variable]:
        """Return the variable that stands for each of `given`, as `Known.holders` does."""
        return self._known.holders(given)

    def chosen(self, variables: Any) -> list[Variable]:
        """Return the variables, which may be nested in any way; for None, all that are known."""
        if variables is None:
            return self.variables
        return self.holders([x for _, x in nesting.flatten(listed(variables), "variables")])

    def read(self, look: Callable[[], Result]) -> Result:
        """Return ``look()``, which sees all variables and slots at the same step."""
        return self._guard.read(look)

    def change(self, prepare: Callable[[], Callable[[], Result]]) -> Result:
        """Call `prepare`, and return what the function returns, which writes, that it returned.

        Slots that it makes go again if it fails. See `Guard.change`.
        """
        return self._guard.change(prepare)

    def build(self, variables: Sequence[Variable]) -> Callable[[], None]:
        """Make the moments of `variables`, as zeros, where there are none, as a part of a change.

        What it returns writes nothing.
        """
        for slot_name in MOMENTS:
            new = {id(x): x for x in variables if slot_name not in self.of(x)}
            for variable, value in zip(new.values(), zeros_together([*new.values()]), strict=True):
                self._keep(variable, slot_name, value)
        return lambda: None

    def prepared(
        self, given: Sequence[Any], gradients: Sequence[Any], backend: Any = None
    ) -> Prepared | None:
        """Return the step that was prepared for these very variables and arrays, if it is current.

        Gradients tell of which variables some rows are to be advanced.
        """
        return self._current(_key(given, gradients, backend))

    def _current(self, key: Hashable) -> Prepared | None:
        step = self._recent.find(key)
        return step if step is not None and step.is_current() else None

    def prepare(
        self, variables: Sequence[Variable], gradients: Sequence[Any], backend: Any = None
    ) -> Prepared:
        """Prepare a step of variables, and make the slots that are missing, as a part of a change.

        It is then found again, under the arrays that the variables stand for.
        """
        given = [x.given if isinstance(x, Alias) else x for x in variables]
        key = _key(given, gradients, backend)
        if (known := self._current(key)) is not None:
            return known
        self._known.count_new(variables)
        self.build(variables)
        entries = filter(None, map(self._known.find, variables))  # all of which are known by now
        records = [entry.record for entry in entries]
        targets = [
            (variable, record.slots["m"], record.slots["v"])
            for variable, record in zip(variables, records, strict=True)
        ]
        step = Prepared(targets, gradients, backend, records=records)
        self._recent.keep(step, key)
        return step

    def took(self, step: Prepared) -> None:
        """Let records name the variables of the last step, the original's after a deep copy."""
        if self._last is step:
            return
        self._last, self._known.last = step, step.variables
        for variable, record in zip(step.variables, step.records, strict=True):
            record.variable = variable

    def _let_go(self) -> None:
        """Forget the steps that were prepared, and the arrays in them."""
        self._recent.clear()
        self._last = None

    def _unmake(self) -> None:
        """Let the slots go again that the change under way has made."""
        self._let_go()
        self.__dict__.pop("owners", None)
        while self._new:
            variable, record, slot_name = self._new.pop()
            del record.slots[slot_name]
            if not record.slots:
                self._records.remove(record)
                self._known.forget(variable)
        self.names = [name for name in self.names if any(name in x.slots for x in self._records)]

    def add(
        self, variable: Variable, slot_name: str, initializer: Any = "zeros"
    ) -> Callable[[], Variable]:
        """Make a slot of `variable` where there is none, in a change; return its getter."""
        if slot_name not in (slots := self.of(variable)):
            initial = self._initial(variable, slot_name, initializer)
            slots[slot_name] = self._keep(variable, slot_name, initial)
        return lambda: slots[slot_name]

    def _keep(self, variable: Variable, slot_name: str, value: Array) -> Variable:
        """Keep an array as a new slot of `variable`."""
        entry = self._known.find(variable)
        if entry is None:
            record = _Record(variable)
            self._known.keep(record, variable)
            self._records.append(record)
        else:
            record = entry.record
        if slot_name not in self.names:
            self.names.append(slot_name)
        slot = _Slot.of_array(value, f"{self.scope}/{variable.name}/{slot_name}")
        slot.trainable = False
        record.slots[slot_name] = slot
        self._new.append((variable, record, slot_name))
        self.owners.add(owner_of(value))
        return slot

    def get(self, given: Any, slot_name: str) -> Variable:
        """Return a slot that is there.

        Raises
        ------
        KeyError
            If the variable has not been seen or has no such slot.
        """
        entry = self._known.find(given)
        if entry is None:
            name = given.name if isinstance(given, Variable) else "this array"
            raise KeyError(
                f"Expected a variable with slots, received {name}, which has none; call build or "
                "add_slot first, or take a step with it"
            )
        slots = entry.record.slots
        if slot_name not in slots:
            raise KeyError(
                f"Expected one of the slots {list(slots)}, received {slot_name!r}, for "
                f"{entry.record.variable.name}"
            )
        return slots[slot_name]

    def __iter__(self) -> Iterator[Variable]:
        """Yield every slot: all m, all v, then the others in the order they were first made."""
        for slot_name in sorted(self.names, key=_moments_first):
            for record in self._records:
                if slot_name in record.slots:
                    yield record.slots[slot_name]

    def of(self, variable: Variable) -> dict[str, Variable]:
        """Return the slots of one variable by name; none if it has not been seen."""
        entry = self._known.find(variable)
        return dict(entry.record.slots) if entry is not None else {}

    def _initial(self, variable: Variable, slot_name: str, initializer: Any) -> Array:
        xp = array_namespace(variable.held)
        dtype = compute_dtype(variable.dtype, xp) or variable.dtype
        value = initial_value(initializer, dtype, variable.held)
        if slot_name in MOMENTS and tuple(value.shape) != variable.shape:
            raise ValueError(
                f"the slot {slot_name!r} of {variable.name} must have its shape, "
                f"{variable.shape}, got {tuple(value.shape)}"
            )
        return value if is_immutable(value) else xp.asarray(value, copy=True)

    def snapshot(self) -> Self:
        """Return the same slots with copies of their arrays; the variables are the same ones."""
        copied = type(self)(self.scope)
        copied.names = list(self.names)
        for record in self._records:
            of_record = copy(record)
            of_record.slots = {name: copy(slot) for name, slot in record.slots.items()}
            copied._records.append(of_record)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("scope", "names", "_records")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _recent=Recent(), _last=None, _new=[])
        self._guard = Guard(self._new.clear, self._unmake)
        for slot_name in MOMENTS:
            slots = [record.slots.get(slot_name) for record in self._records]
            move_together([slot for slot in slots if slot is not None])


def _key(given: Sequence[Any], gradients: Sequence[Any], backend: Any) -> Hashable:
    """Return what differs for steps that are prepared differently."""
    return backend, indices_of_slices(gradients), *map(id, given)


def _moments_first(slot_name: str) -> int:
    return MOMENTS.index(slot_name) if slot_name in MOMENTS else len(MOMENTS)
