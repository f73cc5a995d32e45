"""Which arrays of JAX a step donates: those that a step has made, and that nobody holds.

Of an array that was read there may be an alias, which no count of references shows.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from adamax._arrays import Array
from adamax.variable import Variable

__all__ = ["Column", "Donate", "keep", "read_parameters_too", "unread"]

Column: TypeAlias = Sequence[Variable]
"""The parameters of a step, or their first moments, ..."""

Donate: TypeAlias = Callable[[Sequence[Column]], list[bool]]
"""From all columns, the parameters first, to whether the arrays of each are donated."""


def unread(columns: Sequence[Column]) -> list[bool]:
    """Donate columns of which nothing has been read since the last step."""
    return [not any(part.was_read for part in column) and _is_own(column) for column in columns]


def read_parameters_too(columns: Sequence[Column]) -> list[bool]:
    """Donate parameters even if they have been read: of what is still held Python knows."""
    return [_is_own(columns[0]), *unread(columns[1:])]


def keep(columns: Sequence[Column], arrays: Sequence[Sequence[Array]]) -> None:
    """Put what a step has made into its variables."""
    for column, new in zip(columns, arrays, strict=True):
        for part, array in zip(column, new, strict=True):
            part.held, part.was_made, part.was_read = array, True, False


def _is_own(column: Column) -> bool:
    """Say whether steps have made all arrays, and only the variables hold them."""
    return all(part.was_made for part in column) and _holders([x.held for x in column]) <= _ALONE


def _holders(arrays: list[Array]) -> int:
    """Return how often Python refers to the array that it refers to most."""
    return max(map(sys.getrefcount, arrays))


_variable = [object()]
_ALONE = _holders(list(_variable))  # as Python counts an array in a variable and in a list
