"""State out of slots, as copies, and into slots: all of it, or nothing."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from adamax._arrays import can_change, dtype_name, is_numpy_array, to_numpy
from adamax.given import kind
from adamax.variable import Variable
from adamax_adapters.step.assigning import assignment, negative_norm
from adamax_adapters.step.slots import MOMENTS, Slots
from adamax_adapters.step.state import LoadReport, OptimizerState, StateError, VariableState

__all__ = ["copied", "described", "loading"]


class _Part(NamedTuple):
    """What identifies an array of a state: the value of a variable or a weight, or a slot."""

    kind: str  # "variable" or "weight"
    name: str
    number: int  # of the variable, among those of its name
    slot: str | None = None  # None: the value

    def __str__(self) -> str:
        """Return the name in a checkpoint."""
        return f"{self.kind if self.slot is None else self.slot}/{self.name}"


def described(slots: Slots, variables: Any = None) -> list[VariableState]:
    """Return what is known of variables, in the order given, with None for each array."""
    return [
        _entry(variable, None, dict.fromkeys(slots.of(variable)))
        for variable in slots.chosen(variables)
    ]


def copied(
    slots: Slots, weights: Sequence[Variable], variables: Any = None
) -> tuple[list[VariableState], list[VariableState]]:
    """Return copies of all slots, the values of `variables`, and of `weights`."""
    chosen = slots.chosen(variables)
    live = _live(slots, _each_once(slots.variables, chosen), chosen)
    return [*map(_copy, live)], [*map(_copy, _valued(weights))]


def loading(
    state: OptimizerState,
    slots: Slots,
    iterations: Variable,
    weights: Sequence[Variable],
    variables: Any,
    *,
    strict: bool,
) -> Callable[[], LoadReport]:
    """Make missing slots, check everything, and return what then assigns the state.

    It is a part of a change, see `Slots.change`; parameters and errors are those of
    `Adamax.set_state`.
    """
    if not isinstance(state, OptimizerState):
        raise TypeError(f"Expected an OptimizerState, received: {kind(state)}")
    if state.epsilon_in != "division":
        raise ValueError(
            "Expected infinity norms without epsilon, which is added at the division, received a "
            f"state with epsilon in the {state.epsilon_in}; to take its norms as they are, pass "
            "state._replace(epsilon_in='division')"
        )
    chosen = slots.chosen(variables)
    known = _each_once(chosen, slots.variables)
    _refuse_ambiguous(state.variables, chosen, known)
    _refuse_ambiguous(state.weights, weights, weights)
    _make_slots(state.variables, slots, known)
    mine = {part: x for part, _, x in _parts(_live(slots, known, chosen), _valued(weights))}
    theirs = {part: (entry, x) for part, entry, x in _parts(state.variables, state.weights)}
    shared = [part for part in mine if part in theirs]
    misfits = {part: why for part in shared if (why := _misfit(part, mine[part], *theirs[part]))}
    step, most = operator.index(state.step), np.iinfo(iterations.dtype).max
    step_misfit = {}
    if not 0 <= step <= most:
        limit = f"at most {most}" if step > most else "at least 0"
        step_misfit = {"iterations": f"must be {limit}, is {step}"}
    report = LoadReport(
        [str(part) for part in mine if part not in theirs],
        [str(part) for part in theirs if part not in mine],
        {str(part): why for part, why in misfits.items()} | step_misfit,
    )
    if strict and any(report):
        hint = "" if chosen else "; the optimizer has not seen a variable yet: pass variables"
        raise StateError(report, hint)
    fitting = [part for part in shared if part not in misfits]
    assigned = [mine[part] for part in fitting]
    arrays = [_own(theirs[part][1]) for part in fitting]
    if not step_misfit:
        assigned.append(iterations)
        arrays.append(np.asarray(step))
    assign = assignment(assigned, arrays)

    def write() -> LoadReport:
        assign()
        return report

    return write


def _entry(variable: Variable, value: Any, slots: dict[str, Any]) -> VariableState:
    return VariableState(variable.name, dtype_name(variable.dtype), variable.shape, value, slots)


def _live(
    slots: Slots, variables: Iterable[Variable], valued: Iterable[Variable]
) -> list[VariableState]:
    """Return entries of variables, with Variables in the place of arrays."""
    with_value = set(map(id, valued))
    return [_entry(x, x if id(x) in with_value else None, slots.of(x)) for x in variables]


def _valued(weights: Iterable[Variable]) -> list[VariableState]:
    return [_entry(weight, weight, {}) for weight in weights]


def _copy(entry: VariableState) -> VariableState:
    value = None if entry.value is None else to_numpy(entry.value.held)
    slots = {name: to_numpy(slot.held) for name, slot in entry.slots.items()}
    return entry._replace(value=value, slots=slots)


def _each_once(*variables: Iterable[Variable]) -> list[Variable]:
    return [*{id(variable): variable for some in variables for variable in some}.values()]


def _numbered(names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield every name with the number of those before it that are the same."""
    seen: Counter[str] = Counter()
    for name in names:
        yield name, seen[name]
        seen[name] += 1


def _parts(
    variables: Sequence[VariableState], weights: Sequence[VariableState]
) -> Iterator[tuple[_Part, VariableState, Any]]:
    """Yield every array of a state, with what identifies it and the entry that it stands in."""
    for room, entries in (("variable", variables), ("weight", weights)):
        numbered = _numbered(entry.name for entry in entries)
        for (name, number), entry in zip(numbered, entries, strict=True):
            if entry.value is not None:
                yield _Part(room, name, number), entry, entry.value
            for slot, array in entry.slots.items():
                yield _Part(room, name, number, slot), entry, array


def _refuse_ambiguous(
    entries: Iterable[VariableState], chosen: Iterable[Variable], known: Iterable[Variable]
) -> None:
    """Raise if a name does not tell which of several variables an entry is of."""
    found, given, there = (Counter(x.name for x in some) for some in (entries, chosen, known))
    unclear = [
        name for name in found if there[name] and found[name] not in (given[name], there[name])
    ]
    if unclear:
        raise ValueError(
            "Expected unique names, or as many variables of a name as the state has, received "
            f"others for {', '.join(map(repr, unclear))}; give each variable and weight its own "
            "name"
        )


def _make_slots(entries: Sequence[VariableState], slots: Slots, known: Sequence[Variable]) -> None:
    """Make the slots that the state has, and the optimizer does not have yet."""
    owners = dict(zip(_numbered(x.name for x in known), known, strict=True))
    numbered = zip(_numbered(entry.name for entry in entries), entries, strict=True)
    owned = [(owners[key], entry) for key, entry in numbered if key in owners]
    if all(entry.slots.keys() >= set(MOMENTS) for _, entry in owned):
        slots.build([variable for variable, _ in owned])  # side by side
    for variable, entry in owned:
        for slot, array in entry.slots.items():
            slots.add(variable, slot, "zeros" if slot in MOMENTS else array)


def _misfit(part: _Part, variable: Variable, entry: VariableState, array: Any) -> str | None:
    """Return what keeps an array from being assigned to a variable; None if nothing does."""
    if not is_numpy_array(array):
        return f"must be an array of NumPy, is a {kind(array)}"
    widened = part.slot is None and entry.dtype == "bfloat16" and array.dtype == np.float32
    dtype = "bfloat16" if widened else dtype_name(array.dtype)
    if (array.shape, dtype) != (variable.shape, dtype_name(variable.dtype)):
        expected = f"{dtype_name(variable.dtype)} of shape {variable.shape}"
        return f"must be {expected}, is {dtype} of shape {array.shape}"
    if not can_change(variable.held):
        return "cannot be assigned to: its array is read-only"
    return negative_norm(array) if part.slot == MOMENTS[1] else None


def _own(array: Any) -> Any:
    """Return a copy that any library can take: of native bytes, bfloat16 as float32."""
    is_bfloat16 = dtype_name(array.dtype) == "bfloat16"
    return array.astype(np.float32 if is_bfloat16 else array.dtype.newbyteorder("="))
