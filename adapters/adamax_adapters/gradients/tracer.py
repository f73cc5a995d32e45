"""Tracers: the arrays and the namespace of a loss, which record what depends on variables."""

import math
import operator
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from adamax._arrays import (
    COMPUTE_DTYPES,
    array_namespace,
    as_numpy,
    device_of,
    dtype_name,
    is_torch_array,
)
from adamax.layout import home_of
from adamax.operators import Operators
from adamax.variable import Variable
from adamax_adapters.gradients.cupy_calls import kernel_name, without_defaults
from adamax_adapters.gradients.derivatives import CONSTANT, NUMPY_NAMES, RULES, SEQUENCE_RULES
from adamax_adapters.gradients.protection import is_exposed, refuse_to_write_to, with_copies

__all__ = ["Tracer", "TracingNamespace", "call", "is_real", "plain"]

Found = list[tuple[int | None, "Tracer"]]
"""Tracers in the arguments of a call, with their positions; None if one is inside another."""


def plain(x: Any, at: int | None = None, found: Found | None = None) -> Any:
    """Return `x` without tracers and variables, which may be anywhere in it.

    Tracers of a loss that is being differentiated are added to `found`. A tracer that the user has
    kept from an earlier loss is a constant by now.
    """
    if isinstance(x, Tracer):
        if found is not None and x.tape.is_open:
            found.append((at, x))
        return x.array
    if isinstance(x, Variable):
        return plain(x.value, at, found)
    if isinstance(x, (list, tuple)):
        parts = [plain(part, None, found) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return {key: plain(part, None, found) for key, part in x.items()} if type(x) is dict else x


def call(name: str, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Compute, and record the call if a tracer is among its arguments.

    Parameters
    ----------
    name : str
        Name of the function in the standard, by which its derivative is found.
    compute : callable
        The function of the arrays' own library.
    """
    found: Found = []
    if name in SEQUENCE_RULES and args:
        parts = [plain(x, i, found) for i, x in enumerate(args[0])]
        args = (parts, *plain(args[1:], None, found))
    else:
        args = tuple([plain(x, i, found) for i, x in enumerate(args)])
    kwargs = plain(kwargs, None, found) if kwargs else kwargs
    if not found or name in CONSTANT:
        return compute(*args, **kwargs)
    if not (name in RULES or name in SEQUENCE_RULES) or [x for at, x in found if at is None]:
        return _without_rule(name, compute, args, kwargs, [x for _, x in found])
    result = compute(*args, **kwargs)
    if is_real(result.dtype):
        return found[0][1].tape.record(name, args, kwargs, found, result)
    if "complex" in dtype_name(result.dtype):
        _refuse(f"{name}, with a complex result,", [x for _, x in found])
    return result  # integers and truth values change in steps


def _without_rule(name: str, compute: Any, args: Any, kwargs: Any, tracers: list["Tracer"]) -> Any:
    args, kwargs = with_copies(name, args, kwargs, tracers)
    _refuse(name, tracers)
    return compute(*args, **kwargs)


def _refuse(name: str, tracers: list["Tracer"]) -> None:
    reason = f"calls {name} on something that depends on variables"
    tracers[0].tape.refuse(reason, *tracers)


def is_real(dtype: Any) -> bool:
    """Return whether a dtype is real and floating, so that it has derivatives."""
    # Told apart by their types first, dtypes of two libraries are never compared.
    return _is_real((type(dtype), dtype))


@cache
def _is_real(kind: tuple[type, Any]) -> bool:
    return dtype_name(kind[1]) in COMPUTE_DTYPES


class TracingNamespace:
    """A namespace whose functions record what they are called on."""

    def __init__(self, xp: Any) -> None:
        self.bare = xp
        # By its name a namespace is known to be the same as that of the arrays themselves.
        self.__name__ = xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.bare, name)
        if callable(found) and not isinstance(found, type):
            found = self.recording(name, found)
        setattr(self, name, found)
        return found

    def recording(self, name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Return `compute`, the function called `name`, as one that records its calls."""
        if name in COMPOSED:
            return partial(COMPOSED[name], self)
        return partial(call, name, compute)


tracing = cache(TracingNamespace)


def _broadcast_arrays(xp: TracingNamespace, *arrays: Any) -> list[Any]:
    shape = xp.bare.broadcast_arrays(*map(plain, arrays))[0].shape
    return [xp.broadcast_to(x, shape) for x in arrays]


def _dot(xp: TracingNamespace, a: Any, b: Any, **options: Any) -> Any:
    """Return NumPy's product of numbers, vectors and matrices."""
    if options:
        raise NotImplementedError(
            f"Expected dot without options, received dot with {', '.join(options)}; use matmul"
        )
    axes = [getattr(x, "ndim", 0) for x in (a, b)]
    if max(axes) > 2:
        raise NotImplementedError(
            f"Expected dot with vectors or matrices, received {max(axes)} axes; use matmul"
        )
    return xp.matmul(a, b) if min(axes) else xp.multiply(a, b)


def _swapaxes(xp: TracingNamespace, x: Any, axis1: int, axis2: int) -> Any:
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return xp.permute_dims(x, tuple(axes))


def _unstack(xp: TracingNamespace, x: Any, axis: int = 0) -> tuple[Any, ...]:
    first = xp.moveaxis(x, axis, 0)
    return tuple(first[i, ...] for i in range(first.shape[0]))


COMPOSED: dict[str, Callable[..., Any]] = {
    "broadcast_arrays": _broadcast_arrays,
    "dot": _dot,
    "swapaxes": _swapaxes,
    "unstack": _unstack,
}
"""Functions that are made of others, of the namespace that is their first argument."""


class Tracer(Operators):
    """An array that depends on variables: it computes as the array does, and records it."""

    __slots__ = ("array", "index", "tape")

    _operate = staticmethod(call)

    def __init__(self, array: Any, tape: Any, index: int) -> None:
        self.array = array
        self.tape = tape
        self.index = index

    shape = property(lambda self: tuple(self.array.shape))
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: len(self.array.shape))
    size = property(lambda self: math.prod(self.array.shape))
    device = property(lambda self: device_of(self.array))
    T = property(lambda self: self._xp().permute_dims(self, tuple(range(self.ndim))[::-1]))
    mT = property(lambda self: self._xp().matrix_transpose(self))

    def _xp(self) -> TracingNamespace:
        return tracing(array_namespace(self.array))

    def __getattr__(self, name: str) -> Any:
        """Return a method of the array that records its call under its name in the standard."""
        method = None if name.startswith("__") else getattr(type(self.array), name, None)
        if not callable(method):
            raise AttributeError(
                f"Expected a method of arrays, received {name!r}, for something that depends on "
                "variables: inside a loss it has no other attributes"
            )
        if name == "item":  # the one way to note a number down, which is a constant from then on
            return partial(method, self.array)
        # torch's methods share their names with functions that they are not the same as.
        if is_torch_array(self.array):
            return partial(self._xp().recording(f"Tensor.{name}", method), self)
        return partial(self._call_method, name, method)

    def _call_method(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        given, options = without_defaults(name, args, kwargs)
        return self._xp().recording(NUMPY_NAMES.get(name, name), method)(self, *given, **options)

    def __array_namespace__(self, api_version: str | None = None) -> TracingNamespace:
        return self._xp()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Record NumPy's elementwise functions; those with options have no derivative rule."""
        name = NUMPY_NAMES.get(ufunc.__name__, ufunc.__name__)
        if method != "__call__" or kwargs:
            name = f"{ufunc.__name__}.{method} with {', '.join(kwargs) or 'no options'}"
        return call(name, getattr(ufunc, method), *inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Record NumPy's other functions."""
        name = NUMPY_NAMES.get(func.__name__, func.__name__)
        return self._xp().recording(name, func)(*args, **kwargs)

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        """Record CuPy's elementwise functions and kernels."""
        options = without_defaults(kernel.name, (), kwargs)[1]
        outputs: Found = []
        plain([*args[kernel.nin :], options.get("out")], None, outputs)
        for _, out in outputs:
            refuse_to_write_to(out)
        return call(kernel_name(kernel, args, options), kernel, *args, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self.tape.refuse("converts something that depends on variables to a NumPy array", self)
        array = as_numpy(self.array)
        return array.copy() if is_exposed(self) else array

    def __reduce__(self) -> Any:
        self.tape.refuse("copies or pickles something that depends on variables", self)
        return self.array.__reduce_ex__(4)

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse_to_write_to(self)
        self.tape.refuse("assigns to elements of something that depends on variables", self)
        self.array[plain(key)] = plain(value)

    def __getitem__(self, key: Any) -> Any:
        key = plain(key)
        keys = [self._listed(k) for k in key] if isinstance(key, tuple) else [self._listed(key)]
        return call("getitem", operator.getitem, self, tuple(keys) if len(keys) != 1 else keys[0])

    def _listed(self, key: Any) -> Any:
        if type(key) is not list:
            return key
        return array_namespace(self.array).asarray(key, device=home_of(self.array))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self.array)

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        self.tape.refuse(
            "converts something that depends on variables to a number, as float(x), math.exp(x) "
            "and h[t] = x do (note a number down with x.item(), build an array with stack)",
            self,
        )
        return float(self.array)

    def __int__(self) -> int:
        return int(self.array)

    def __format__(self, spec: str) -> str:
        return format(self.array, spec)

    def __repr__(self) -> str:
        return f"Tracer({self.array!r})"
