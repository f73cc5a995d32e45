"""Arrays that refuse what CuPy's refuse, on any machine: a fake library on a device.

They hold NumPy's data, but nothing converts them to NumPy's arrays or mixes with those unasked,
reductions give arrays and never scalars, only the functions of the standard are there, and whatever
makes the host wait for the device is noted.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import array_api_strict
import numpy as np
from array_api_compat import array_namespace

__all__ = [
    "DEVICE",
    "DeviceArray",
    "Namespace",
    "bare",
    "dressed",
    "namespace",
    "synchronisations",
]

host: Any = array_namespace(np.empty(0))
DEVICE = "fake:0"
STANDARD = {*array_api_strict.__all__} - {"fft", "linalg"}
# Their shapes depend on what is on the device.
WAITING = {"nonzero", "repeat", "unique_all", "unique_counts", "unique_inverse", "unique_values"}

UFUNCS = dict(
    pair.split(":")
    for pair in """
and:bitwise_and eq:equal floordiv:floor_divide ge:greater_equal gt:greater le:less_equal
lshift:left_shift lt:less mod:remainder mul:multiply ne:not_equal or:bitwise_or pow:power
rshift:right_shift sub:subtract truediv:divide xor:bitwise_xor
""".split()
)
"""NumPy's functions whose names are not those of the operators."""

_noted: list[list[str]] = []


@contextmanager
def synchronisations() -> Iterator[list[str]]:
    """Yield a list of what made the host wait for the device in the block."""
    _noted.append([])
    try:
        yield _noted[-1]
    finally:
        _noted.pop()


def _note(name: str) -> None:
    for names in _noted:
        names.append(name)


def bare(x: Any) -> Any:
    """Return NumPy's array for ours; a TypeError where any other array is in it."""
    if isinstance(x, DeviceArray):
        return x._data
    if hasattr(type(x), "__array__"):
        raise TypeError(f"Unsupported type {type(x)}: nothing mixes with these, such as NumPy's")
    if type(x) is dict:
        return {name: bare(part) for name, part in x.items()}
    return type(x)(map(bare, x)) if type(x) in (list, tuple) else x


def dressed(x: Any, kind: type["DeviceArray"]) -> Any:
    """Return ours for NumPy's arrays, and for its scalars, which are arrays here."""
    if isinstance(x, (np.ndarray, np.generic)):
        return kind(np.asarray(x))
    parts = [dressed(part, kind) for part in x] if isinstance(x, (list, tuple)) else []
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*parts)
    return type(x)(parts) if type(x) in (list, tuple) else x


def _decides(x: Any) -> bool:
    """Say whether `x` is of another type that handles NumPy's functions itself."""
    return hasattr(x, "__array_ufunc__") and not isinstance(
        x, (DeviceArray, np.ndarray, np.generic)
    )


def _on_device(device: Any) -> None:
    if device not in (None, DEVICE):
        raise ValueError(f"Unsupported device {device!r}: there is only {DEVICE!r}")


class DeviceArray:
    """An array on a device that the host does not see into."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: Any) -> None:
        self._data = data

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    device = property(lambda self: DEVICE)
    T = property(lambda self: type(self)(self._data.T))
    mT = property(lambda self: type(self)(self._data.mT))

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return namespace

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use .get()")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(map(_decides, inputs)):
            return NotImplemented
        return dressed(getattr(ufunc, method)(*map(bare, inputs), **kwargs), type(self))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if not all(issubclass(kind, (DeviceArray, np.ndarray)) for kind in types):
            return NotImplemented
        return dressed(func(*map(bare, args), **kwargs), type(self))

    def get(self) -> Any:
        """Return a copy as NumPy's array, once the device has got there."""
        _note("get")
        return self._data.copy()

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        """Return the array on a device; of ``'cpu'``, as CuPy's by way of array-api-compat."""
        if device == "cpu":
            return self.get()
        _on_device(device)
        return self

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, DeviceArray) and k.dtype == bool for k in keys):
            _note("__getitem__ with a mask")
        return type(self)(np.asarray(self._data[bare(key)]))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._data[bare(key)] = bare(value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data!r})"


def _waiting(name: str) -> Callable[..., Any]:
    def method(self: DeviceArray) -> Any:
        _note(name)
        return getattr(self._data, name)()

    return method


def _unary(compute: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda self: dressed(compute(self._data), type(self))


def _binary(name: str, reflected: bool = False) -> Callable[..., Any]:
    compute = getattr(operator, f"__{name}__")

    def method(self: DeviceArray, other: Any) -> Any:
        if _decides(other):  # as in CuPy, whose operators then are NumPy's functions
            return getattr(np, UFUNCS.get(name, name))(self, other)
        if not isinstance(other, (DeviceArray, bool, int, float, complex, np.ndarray)):
            return NotImplemented
        pair = (self._data, bare(other))
        return dressed(compute(*(pair[::-1] if reflected else pair)), type(self))

    return method


def _in_place(compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def method(self: DeviceArray, other: Any) -> Any:
        self._data[...] = compute(self._data, bare(other))
        return self

    return method


for _name in "bool complex float index int".split():
    setattr(DeviceArray, f"__{_name}__", _waiting(f"__{_name}__"))
for _name in ("item", "tolist"):
    setattr(DeviceArray, _name, _waiting(_name))
for _name in "abs invert neg pos".split():
    setattr(DeviceArray, f"__{_name}__", _unary(getattr(operator, _name)))
for _name in "eq ge gt le lt ne".split():
    setattr(DeviceArray, f"__{_name}__", _binary(_name))
for _name in "add and floordiv lshift matmul mod mul or pow rshift sub truediv xor".split():
    setattr(DeviceArray, f"__{_name}__", _binary(_name))
    setattr(DeviceArray, f"__r{_name}__", _binary(_name, reflected=True))
    setattr(DeviceArray, f"__i{_name}__", _in_place(getattr(operator, f"__{_name}__")))


class _Information:
    """What ``__array_namespace_info__`` returns."""

    def __init__(self) -> None:
        self._info = host.__array_namespace_info__()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*args: Any, device: Any = None, **kwargs: Any) -> Any:
            _on_device(device)
            return getattr(self._info, name)(*args, **kwargs)

        return ask

    def default_device(self) -> str:
        return DEVICE

    def devices(self) -> list[str]:
        return [DEVICE]


class Namespace:
    """The functions of the standard, on arrays of one class."""

    def __init__(self, name: str, kind: type[DeviceArray]) -> None:
        self.__name__ = name
        self.kind = kind

    def __array_namespace_info__(self) -> _Information:
        return _Information()

    def asarray(self, x: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Any:
        """Return an array; the one function that takes those of NumPy, which it copies."""
        _on_device(device)
        if isinstance(x, (np.ndarray, np.generic)):
            return self.kind(np.array(x, dtype=dtype))
        return self.kind(np.array(bare(x), dtype=dtype, copy=copy))

    def __getattr__(self, name: str) -> Any:
        if name not in STANDARD:
            raise AttributeError(f"the standard has no {name}")
        found = getattr(host, name)
        if not callable(found) or isinstance(found, type):
            return found

        def function(*args: Any, device: Any = None, **kwargs: Any) -> Any:
            _on_device(device)
            if name in WAITING:
                _note(name)
            return dressed(found(*bare(args), **kwargs), self.kind)

        return function


namespace: Any = Namespace("fake_device.namespace", DeviceArray)
