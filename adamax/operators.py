"""Python's operators on objects that compute as an array does."""

import operator
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Operators"]

T = TypeVar("T", bound="Operators")


def _unary(name: str, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda self: self._operate(name, compute, self)


def _binary(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: self._operate(name, compute, self, other)


def _reflected(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: self._operate(name, compute, other, self)


def _in_place(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[T, Any], T]:
    return lambda self, other: self._operate_in_place(name, compute, other)


class Operators:
    """Pass every operator to `_operate`, under its name in the array API standard.

    Objects are compared element by element, and hashed by identity.
    """

    __slots__ = ()

    def _operate(self, name: str, compute: Callable[..., Any], *operands: Any) -> Any:
        raise NotImplementedError

    def _operate_in_place(self, name: str, compute: Callable[..., Any], other: Any) -> Any:
        """Return the object that ``self += other``, for instance, leaves under the name."""
        return self._operate(name, compute, self, other)

    __abs__ = _unary("abs", operator.abs)
    __neg__ = _unary("negative", operator.neg)
    __pos__ = _unary("positive", operator.pos)
    __eq__ = _binary("equal", operator.eq)
    __ne__ = _binary("not_equal", operator.ne)
    __lt__ = _binary("less", operator.lt)
    __le__ = _binary("less_equal", operator.le)
    __gt__ = _binary("greater", operator.gt)
    __ge__ = _binary("greater_equal", operator.ge)
    __add__ = _binary("add", operator.add)
    __radd__ = _reflected("add", operator.add)
    __iadd__ = _in_place("add", operator.add)
    __sub__ = _binary("subtract", operator.sub)
    __rsub__ = _reflected("subtract", operator.sub)
    __isub__ = _in_place("subtract", operator.sub)
    __mul__ = _binary("multiply", operator.mul)
    __rmul__ = _reflected("multiply", operator.mul)
    __imul__ = _in_place("multiply", operator.mul)
    __truediv__ = _binary("divide", operator.truediv)
    __rtruediv__ = _reflected("divide", operator.truediv)
    __itruediv__ = _in_place("divide", operator.truediv)
    __floordiv__ = _binary("floor_divide", operator.floordiv)
    __rfloordiv__ = _reflected("floor_divide", operator.floordiv)
    __ifloordiv__ = _in_place("floor_divide", operator.floordiv)
    __mod__ = _binary("remainder", operator.mod)
    __rmod__ = _reflected("remainder", operator.mod)
    __imod__ = _in_place("remainder", operator.mod)
    __pow__ = _binary("pow", operator.pow)
    __rpow__ = _reflected("pow", operator.pow)
    __ipow__ = _in_place("pow", operator.pow)
    __matmul__ = _binary("matmul", operator.matmul)
    __rmatmul__ = _reflected("matmul", operator.matmul)
    __imatmul__ = _in_place("matmul", operator.matmul)
    __hash__ = object.__hash__
