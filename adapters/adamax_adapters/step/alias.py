"""Variables that stand for raw arrays, and whether arrays still name the memory that they named."""

import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from adamax._arrays import Array, is_numpy_array, is_torch_array, without_graph
from adamax.layout import is_spread, memory_of
from adamax.variable import Variable

__all__ = ["Alias", "Watched"]


class _Memory:
    """The memory of an array of NumPy: the base of views that do not refer to the array itself.

    However many views there are, the array has one reference from here. So `Alias.is_lost` can
    tell whether its owner still has it.
    """

    def __init__(self, array: Array) -> None:
        self.base = array  # as views name it: the way to the owner of the memory
        self.__array_interface__ = array.__array_interface__


def _apart(array: Array) -> Array:
    """Return another object for the memory of `array`, without a graph, where its library can."""
    if is_numpy_array(array):
        return np.asarray(_Memory(array)).view(array.dtype)
    return without_graph(array)


class Alias(Variable):
    """A variable that stands for a raw array and shares its memory."""

    given: Array  # the array itself, which `held` is not, see `_apart`

    @classmethod
    def of_given(cls, array: Array, name: str) -> "Alias":
        """Return a variable that stands for `array`."""
        alias = cls.of_array(_apart(array), name)
        alias.given = array
        return alias

    def stand_for(self, array: Array) -> None:
        """Stand for another array, or for the memory that the same tensor names by now."""
        self.held, self.given = _apart(array), array

    def follow(self) -> Self:
        """Let `held` be writable just where the array is, which its owner may have changed."""
        if is_numpy_array(self.given) and self.given.flags.writeable != self.held.flags.writeable:
            self.stand_for(self.given)
        return self

    def is_lost(self) -> bool:
        """Return whether nothing but this variable refers to the array, so nobody can give it."""
        is_view = getattr(self.given, "base", None) is not None
        twice = not is_torch_array(self.given)  # `held` refers to it too, or is it
        return not is_view and sys.getrefcount(self.given) - twice <= _ALONE

    def __getstate__(self) -> dict[str, Any]:
        # A tensor with a graph cannot be copied, and copies of both share their memory.
        given = self.held if is_torch_array(self.held) else self.given
        return self.__dict__ | {"given": given, "held": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.stand_for(self.given)


_sample = SimpleNamespace(given=object())
_ALONE = sys.getrefcount(_sample.given)
"""What Python counts for an object that one attribute refers to."""


class Watched:
    """Arrays that can come to name other memory: raw arrays, and all tensors of torch."""

    def __init__(self, variables: Iterable[Variable]) -> None:
        # Not the raw arrays themselves, whose references count.
        self._tensors = [
            x for x in variables if is_torch_array(x.held) and not is_spread(_given_array(x))
        ]
        self._aliases = [
            x for x in variables if isinstance(x, Alias) and not is_torch_array(x.held)
        ]
        self._first = self._seen()

    def are_in_place(self) -> bool:
        """Say whether all of them name the memory that they named first, and can be written to."""
        return not (self._tensors or self._aliases) or self._seen() == self._first

    def _seen(self) -> tuple[list[Any], list[Any]]:
        tensors = map(_given_array, self._tensors)
        return (
            [(tensor.data_ptr(), tensor.shape) for tensor in tensors],
            [_named(x.given) for x in self._aliases],
        )


def _named(x: Array) -> Any:
    """Return what tells that `x` names other memory, or cannot be written to any more."""
    if is_numpy_array(x):
        return x.__array_interface__["data"], x.shape, x.strides, x.dtype
    return memory_of(x)


def _given_array(x: Variable) -> Array:
    return x.given if isinstance(x, Alias) else x.held
