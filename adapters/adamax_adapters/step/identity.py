"""Which array is which: how an optimizer finds again what it is given at every step.

A `Variable` is known by its identity, a raw array by its object. Where arrays can be written to,
both are also known by the memory that they name, so that a fresh view of a parameter is found. All
that is known is held on to: neither an address nor an identity can come to mean something else
while the optimizer lives.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from adamax._arrays import (
    Array,
    is_array,
    is_immutable,
    is_torch_array,
    is_writeable,
    library_name,
)
from adamax.layout import kind_of, memory_of
from adamax.variable import Variable
from adamax_adapters.step.alias import Alias
from adamax_adapters.step.warned import warn

__all__ = ["Entry", "Known"]

Record = TypeVar("Record")

NEW_IN_A_ROW = 16
"""Steps on nothing but new arrays, after which there is a warning: no model is made like that."""


class Entry(NamedTuple, Generic[Record]):
    """What is kept for a variable, and the variable that it is reached by."""

    record: Record
    variable: Variable


class Known(Generic[Record]):
    """Records of variables and of raw arrays."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go  # of the steps that were prepared, and the arrays in them
        self._by_identity: dict[int, Entry[Record]] = {}
        self._by_memory: dict[Hashable, Entry[Record]] = {}
        self.last: Sequence[Variable] = []  # the variables of the last step
        self._new_in_a_row = 0
        self._has_warned = False

    def find(self, given: Any) -> Entry[Record] | None:
        """Return what is known of a variable or an array; None if it is new.

        Raises
        ------
        TypeError
            If it is neither.
        """
        given = _given(given)
        entry = self._by_identity.get(id(given))
        if entry is not None and not is_torch_array(entry.variable.held):
            return entry
        key = _memory(given)
        if entry is None or entry.variable.shape != tuple(given.shape):
            entry = self._by_memory.get(key)
            # The tensor that it was made for may name other memory by now.
            return entry if entry is not None and _memory(_given(entry.variable)) == key else None
        if isinstance(entry.variable, Alias):
            entry.variable.stand_for(given)
        self._by_memory[key] = entry
        return entry

    def keep(self, record: Record, variable: Variable) -> None:
        """Let `record` be found by a variable, and by the memory of its array."""
        given, entry = _given(variable), Entry(record, variable)
        if not isinstance(variable, Alias) or is_torch_array(given):  # whose `data` can be another
            self._by_identity[id(given)] = entry
        self._by_memory.setdefault(_memory(given), entry)

    def forget(self, variable: Variable) -> None:
        """Let a variable be new again."""
        given = _given(variable)
        self._by_identity.pop(id(given), None)
        entry = self._by_memory.get(_memory(given))
        if entry is not None and entry.variable is variable:
            del self._by_memory[_memory(given)]

    def holders(self, given: Sequence[Any]) -> list[Variable]:
        """Return the variable that stands for each of `given`; new ones are not kept yet.

        Raises
        ------
        TypeError
            If one is neither a Variable nor an array that can be written to.
        """
        if all(isinstance(one, Variable) for one in given):
            return list(given)
        holders: list[Variable] = []
        new: dict[Hashable, Variable] = {}
        count: int | None = None
        for one in given:
            entry = None if isinstance(one, Variable) else self.find(one)
            if isinstance(one, Variable):
                holder = new[_memory(one)] = one
            elif is_immutable(one) or not is_writeable(one):
                raise TypeError(
                    "Expected an adamax.Variable or a writable array, received an array of "
                    f"{library_name(one)} that cannot be written to; wrap it in Variable"
                )
            elif entry is not None:
                holder = entry.variable
            elif (key := _memory(one)) in new:
                holder = new[key]
            else:
                predecessor = self._predecessor(one)
                if predecessor is None:
                    count = self._raw() if count is None else count + 1
                    predecessor = Alias.of_given(one, f"array_{count}")
                holder = new[key] = predecessor
            holders.append(holder)
        return holders

    def _raw(self) -> int:
        """Return how many raw arrays have a record."""
        entries = self._by_memory.values()
        return len({id(x.record) for x in entries if isinstance(x.variable, Alias)})

    def _predecessor(self, array: Array) -> Alias | None:
        """Return what stood for the array that `array` replaces, as after ``w = w * 0.9``.

        Nobody can step the array that was replaced again: the moments are those of the new one.
        """
        alike = [x for x in self.last if isinstance(x, Alias) and _alike(x.given, array)]
        if any(alias.held is alias.given for alias in alike):
            self._let_go()  # which refers to the arrays, and would keep them
        for alias in alike:
            if alias.is_lost() and (entry := self.find(alias)) is not None:
                self._let_go()
                record = entry.record
                self.forget(alias)
                alias.stand_for(array)
                self.keep(record, alias)
                self._warn(
                    f"received a new array in place of {alias.name}, and moved its moments to it"
                )
                return alias
        return None

    def count_new(self, variables: Sequence[Variable]) -> None:
        """Warn if steps have nothing but new arrays: their moments are lost, and memory grows."""
        aliases = [x for x in variables if isinstance(x, Alias)]
        are_new = aliases and self.last and not any(map(self.find, aliases))
        self._new_in_a_row = self._new_in_a_row + 1 if are_new else 0
        if self._new_in_a_row == NEW_IN_A_ROW:
            self._warn(
                f"received only new arrays in {NEW_IN_A_ROW} steps, whose moments begin at zero"
            )

    def _warn(self, received: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            warn(
                f"Expected the arrays of earlier steps, {received}: `w = w * x` makes a new array; "
                "write `w *= x`, or wrap the array in Variable"
            )


def _given(x: Any) -> Any:
    """Return the raw array that an `Alias` stands for, and anything else as it is."""
    return x.given if isinstance(x, Alias) else x


def _alike(a: Array, b: Array) -> bool:
    return type(a) is type(b) and a.shape == b.shape and kind_of(a) == kind_of(b)


def _memory(given: Any) -> Hashable:
    """Return the memory that `given` names, or its identity where that tells nothing."""
    array = given.held if isinstance(given, Variable) else given
    if not is_array(array):
        raise TypeError(
            f"Expected an adamax.Variable or a writable array, received "
            f"{type(given).__module__}.{type(given).__name__}; wrap it in Variable: "
            "Variable(asarray(...))"
        )
    # Immutable arrays may share their memory, and empty ones an address.
    by_identity = isinstance(given, Variable) and (is_immutable(array) or 0 in given.shape)
    return id(given) if by_identity else memory_of(array)
