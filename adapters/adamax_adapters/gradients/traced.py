"""Stand-ins for the arrays and the namespace of a loss, which note what depends on variables."""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from adamax._arrays import array_namespace, compute_dtype, device_of
from adamax.variable import Variable
from adamax_adapters.gradients.derivatives import CONSTANT, NUMPY_NAMES, RULES, SEQUENCE_RULES

__all__ = ["Traced", "TracedNamespace", "call", "plain"]


def plain(x: Any) -> Any:
    """Return `x` without stand-ins and variables, which may be anywhere in it."""
    if isinstance(x, Traced):
        return x.array
    if isinstance(x, Variable):
        return plain(x.value)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(plain, x))
    if type(x) in (list, tuple):
        return type(x)(map(plain, x))
    return {key: plain(value) for key, value in x.items()} if type(x) is dict else x


def call(name: str, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Compute, and note the call where there is a stand-in among its arguments.

    Parameters
    ----------
    name : str
        Name of the function in the standard, by which its derivative is found.
    compute : callable
        The function of the arrays' own library.
    """
    args = tuple(x.value if isinstance(x, Variable) else x for x in args)
    given = list(map(_read, args[0])) if name in SEQUENCE_RULES else args
    sources = [(i, x.place, x.array) for i, x in enumerate(given) if isinstance(x, Traced)]
    result = compute(*map(plain, args), **{key: plain(value) for key, value in kwargs.items()})
    traced = [*_stand_ins(args), *_stand_ins(list(kwargs.values()))]
    if not traced or name in CONSTANT:
        return result
    tape = traced[0].tape
    known = name in RULES or name in SEQUENCE_RULES
    if not known or len(traced) > len(sources):
        tape.obstacle = tape.obstacle or f"calls {name} on something that depends on variables"
        return result
    if compute_dtype(result.dtype, array_namespace(result)) is None:
        return result
    return tape.note(name, tuple(map(plain, args)), plain(kwargs), sources, result)


def _read(x: Any) -> Any:
    return x.value if isinstance(x, Variable) else x


def _stand_ins(x: Any) -> Iterator["Traced"]:
    if isinstance(x, Traced):
        yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from _stand_ins(_read(part))


def _operator(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: call(name, compute, self, *others)


def _reflected(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: call(name, compute, other, self)


class TracedNamespace:
    """A namespace whose functions note what they are called on."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        # By its name a namespace is known to be the same as that of the arrays themselves.
        self.__name__ = xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if not callable(found) or isinstance(found, type):
            return found
        if name in COMPOSED:
            return COMPOSED[name]
        return lambda *args, **kwargs: call(name, found, *args, **kwargs)


def _unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    first = x.__array_namespace__().moveaxis(x, axis, 0)
    return tuple(first[i, ...] for i in range(first.shape[0]))


def _broadcast_arrays(*arrays: Any) -> list[Any]:
    xp = array_namespace(*map(plain, arrays))
    shape = xp.broadcast_arrays(*map(plain, arrays))[0].shape
    return [call("broadcast_to", xp.broadcast_to, x, shape) for x in arrays]


COMPOSED = {"broadcast_arrays": _broadcast_arrays, "unstack": _unstack}
"""Functions that are made of others."""


class Traced:
    """An array that depends on variables: it computes as the array does, and notes it."""

    __slots__ = ("array", "place", "tape")

    def __init__(self, array: Any, tape: Any, place: int) -> None:
        self.array = array
        self.tape = tape
        self.place = place

    shape = property(lambda self: tuple(self.array.shape))
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: len(self.array.shape))
    size = property(lambda self: self.array.size)
    device = property(lambda self: device_of(self.array))
    T = property(lambda self: self._function("permute_dims")(self, tuple(range(self.ndim))[::-1]))
    mT = property(lambda self: self._function("matrix_transpose")(self))

    def _function(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(TracedNamespace(array_namespace(self.array)), name)
        return found

    def __getattr__(self, name: str) -> Any:
        """Find a method of the array, where it is the namesake of a function with a derivative."""
        standard = NUMPY_NAMES.get(name, name)
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(self.array, name)
        if callable(method) and name not in ("item", "tolist"):
            return lambda *args, **kwargs: call(
                standard,
                lambda array, *rest, **how: getattr(array, name)(*rest, **how),
                self,
                *args,
                **kwargs,
            )
        return method

    def __array_namespace__(self, api_version: str | None = None) -> TracedNamespace:
        return TracedNamespace(array_namespace(self.array))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Note NumPy's elementwise functions; those with options have no derivative rule."""
        name = NUMPY_NAMES.get(ufunc.__name__, ufunc.__name__)
        if method != "__call__" or kwargs:
            name = f"{ufunc.__name__}.{method} with {', '.join(kwargs) or 'no options'}"
        return call(name, getattr(ufunc, method), *inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Note NumPy's other functions."""
        name = NUMPY_NAMES.get(func.__name__, func.__name__)
        return call(name, func, *args, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self.tape.obstacle = "converts something that depends on variables to a NumPy array"
        return self.array.__array__()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tape.obstacle = "assigns to elements of something that depends on variables"
        if self.tape.is_variable(self.place):
            raise RuntimeError("a variable cannot be assigned to inside a loss")
        self.array[plain(key)] = plain(value)

    def __getitem__(self, key: Any) -> Any:
        xp = array_namespace(self.array)
        keys = [xp.asarray(k) if type(k) is list else k for k in _tuple(key)]
        keys = [plain(k) for k in keys]
        return call("getitem", operator.getitem, self, tuple(keys) if len(keys) != 1 else keys[0])

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self.array)

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self.array)

    def __int__(self) -> int:
        return int(self.array)

    def __repr__(self) -> str:
        return f"Traced({self.array!r})"

    __abs__ = _operator("abs", operator.abs)
    __neg__ = _operator("negative", operator.neg)
    __pos__ = _operator("positive", operator.pos)
    __eq__ = _operator("equal", operator.eq)
    __ne__ = _operator("not_equal", operator.ne)
    __lt__ = _operator("less", operator.lt)
    __le__ = _operator("less_equal", operator.le)
    __gt__ = _operator("greater", operator.gt)
    __ge__ = _operator("greater_equal", operator.ge)
    __add__ = _operator("add", operator.add)
    __radd__ = _reflected("add", operator.add)
    __sub__ = _operator("subtract", operator.sub)
    __rsub__ = _reflected("subtract", operator.sub)
    __mul__ = _operator("multiply", operator.mul)
    __rmul__ = _reflected("multiply", operator.mul)
    __truediv__ = _operator("divide", operator.truediv)
    __rtruediv__ = _reflected("divide", operator.truediv)
    __floordiv__ = _operator("floor_divide", operator.floordiv)
    __rfloordiv__ = _reflected("floor_divide", operator.floordiv)
    __mod__ = _operator("remainder", operator.mod)
    __rmod__ = _reflected("remainder", operator.mod)
    __pow__ = _operator("pow", operator.pow)
    __rpow__ = _reflected("pow", operator.pow)
    __matmul__ = _operator("matmul", operator.matmul)
    __rmatmul__ = _reflected("matmul", operator.matmul)
    __hash__ = object.__hash__


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)
