"""A fake CuPy: its way to call functions, on arrays of the host; loaded under the name `cupy`.

Elementwise functions ask their arguments first, reductions call a method with every option, and
the others refuse arrays that are not CuPy's. `test_cupy_functions.py` compares all with the wheel.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_device import DeviceArray, bare, dressed

Function = Callable[..., Any]

OVERRIDE = "__cupy_override_elementwise_kernel__"


class ndarray(DeviceArray):
    """An array of CuPy's, over the host's memory."""

    itemsize = property(lambda self: self._data.itemsize)
    strides = property(lambda self: self._data.strides)
    flags = property(lambda self: self._data.flags)
    data = property(lambda self: SimpleNamespace(ptr=self._data.ctypes.data, device_id=0))

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a kernel on the host, unless another argument asks for it: CuPy's do not ask."""
        for x in args:
            if not isinstance(x, ndarray) and hasattr(x, OVERRIDE):
                return getattr(x, OVERRIDE)(kernel, *args, **kwargs)
        own = kernel.name.startswith("cupy_")
        compute = getattr(np, kernel.name.removeprefix("cupy_")) if own else np.positive
        return _computed(compute, args, kwargs)

    def __getitem__(self, key: Any) -> Any:
        """Take indices of NumPy's too, which CuPy copies to the device."""
        keys = key if isinstance(key, tuple) else (key,)
        keys = tuple(ndarray(k) if isinstance(k, np.ndarray) else k for k in keys)
        return super().__getitem__(keys if isinstance(key, tuple) else keys[0])

    def __setitem__(self, key: Any, value: Any) -> None:
        """Fill with numbers, to which CuPy converts what is not its own."""
        super().__setitem__(key, value if isinstance(value, ndarray) else np.asarray(value).item())

    def fill(self, value: Any) -> None:
        self._data[...] = value

    def dot(self, b: Any, out: Any = None) -> Any:
        if not isinstance(b, ndarray):
            _typed("b")(b)
        return _computed(np.dot, (self, b), {})

    def clip(self, a_min: Any = None, a_max: Any = None, out: Any = None) -> Any:
        return _clip(self, a_min, a_max, out=out)


def _computed(compute: Function, args: Any, kwargs: Any) -> Any:
    return dressed(compute(*map(bare, args), **bare(kwargs)), ndarray)


def _method(compute: Function) -> Function:
    return lambda self, *args, **kwargs: _computed(compute, (self, *args), kwargs)


for _name in (
    "all any argsort astype copy cumsum diagonal flatten max mean min "
    "nonzero prod ravel repeat reshape round squeeze std sum swapaxes take trace transpose var"
).split():
    setattr(ndarray, _name, _method(getattr(np.ndarray, _name)))
for _name in ("argmax", "argmin"):  # which have a dtype in CuPy
    _compute = getattr(np.ndarray, _name)
    setattr(ndarray, _name, _method(lambda x, dtype=None, *, _c=_compute, **how: _c(x, **how)))
ndarray.ptp = _method(np.ptp)  # type: ignore[attr-defined]


class ufunc:
    """A function that asks its arguments, the first of them first, whether they compute it."""

    def __init__(self, name: str, nin: int) -> None:
        self.name = name
        self.nin = nin

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            if hasattr(x, OVERRIDE):
                return getattr(x, OVERRIDE)(self, *args, **kwargs)
        raise TypeError(f"Unsupported type {type(args[0])}")


class ElementwiseKernel(ufunc):
    """A kernel of the user's own: what it computes is text in CUDA."""

    def __init__(self, inputs: str, outputs: str, operation: str, name: str = "kernel") -> None:
        super().__init__(name, len(inputs.split(",")))


UFUNCS = {
    name: ufunc(f"cupy_{kernel or name}", getattr(np, kernel or name).nin)
    for name, _, kernel in (
        text.partition(":")
        for text in """
abs:absolute absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh
divide:true_divide equal exp exp2 expm1 fabs floor floor_divide fmax fmin greater greater_equal
heaviside hypot isfinite isinf isnan less less_equal log log10 log1p log2 logaddexp logical_and
logical_not logical_or maximum minimum mod:remainder multiply negative not_equal positive
pow:power power reciprocal remainder sign sin sinh sqrt square subtract tan tanh true_divide trunc
""".split()
    )
}
_clip = ufunc("cupy_clip", 3)
_where = ufunc("cupy_where", 3)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    return _where(condition.astype("?", copy=False), x, y)


def _norm(x: Any) -> Any:
    return UFUNCS["sqrt"]((x * x).sum())


def _named(name: str, function: Function) -> Function:
    """Return a function with its own name in tracebacks."""
    code = function.__code__.replace(co_name=name)
    function.__code__ = code
    return function


def _calling(method: str, by_position: Mapping[str, Any], by_name: Mapping[str, Any]) -> Function:
    """Return a function of an array that calls its method with all of the options."""

    def function(a: Any, *args: Any, **kwargs: Any) -> Any:
        options = {**by_position, **by_name}
        given = {**options, **dict(zip(options, args, strict=False)), **kwargs}
        return getattr(a, method)(
            *(given[name] for name in by_position), **{name: given[name] for name in by_name}
        )

    return _named(method, function)


_EXTREME = {"axis": None, "out": None, "keepdims": False}
_REDUCTION = {"axis": None, "dtype": None, "out": None, "keepdims": False}
_SPREAD = {"axis": None, "dtype": None, "out": None, "ddof": 0, "keepdims": False}
_NEEDED = None

METHODS = {
    "amax": _calling("max", {}, _EXTREME),
    "amin": _calling("min", {}, _EXTREME),
    "argmax": _calling("argmax", {}, _REDUCTION),
    "argmin": _calling("argmin", {}, _REDUCTION),
    "argsort": _calling("argsort", {}, {"axis": -1, "kind": None}),
    "clip": _calling("clip", {"a_min": _NEEDED, "a_max": _NEEDED}, {"out": None}),
    "copy": _calling("copy", {}, {"order": "K"}),
    "diagonal": _calling("diagonal", {"offset": 0, "axis1": 0, "axis2": 1}, {}),
    "dot": _calling("dot", {"b": _NEEDED, "out": None}, {}),
    "max": _calling("max", {}, _EXTREME),
    "mean": _calling("mean", {}, _REDUCTION),
    "min": _calling("min", {}, _EXTREME),
    "permute_dims": _calling("transpose", {"axes": None}, {}),
    "prod": _calling("prod", _REDUCTION, {}),
    "ptp": _calling("ptp", {}, _EXTREME),
    "ravel": _calling("ravel", {"order": "C"}, {}),
    "repeat": _calling("repeat", {"repeats": _NEEDED, "axis": None}, {}),
    "reshape": _calling("reshape", {"newshape": _NEEDED}, {"order": "C", "copy": None}),
    "squeeze": _calling("squeeze", {"axis": None}, {}),
    "std": _calling("std", {}, _SPREAD),
    "sum": _calling("sum", _REDUCTION, {}),
    "swapaxes": _calling("swapaxes", {"axis1": _NEEDED, "axis2": _NEEDED}, {}),
    "take": _calling("take", {"indices": _NEEDED, "axis": None, "out": None}, {}),
    "trace": _calling(
        "trace", {"offset": 0, "axis1": 0, "axis2": 1, "dtype": None, "out": None}, {}
    ),
    "transpose": _calling("transpose", {"axes": None}, {}),
    "var": _calling("var", {}, _SPREAD),
}


def _creating(name: str) -> Function:
    return lambda *args, **kwargs: _computed(getattr(np, name), args, kwargs)


def asarray(x: Any, dtype: Any = None, copy: bool | None = None) -> Any:
    """Return an array of numbers; CuPy copies those of NumPy and converts what has `__array__`."""
    if isinstance(x, ndarray):
        return ndarray(np.array(x._data, dtype, copy=copy))
    return ndarray(np.array(bare(x) if isinstance(x, (list, tuple)) else x, dtype))


def zeros_like(a: Any, dtype: Any = None) -> Any:
    return ndarray(np.zeros(a.shape, dtype or a.dtype, "C" if a.flags.c_contiguous else "F"))


CREATION = {name: _creating(name) for name in "arange empty eye full linspace ones zeros".split()}


def _refusing(name: str, refuse: Callable[[Any], None]) -> Function:
    """Return a function that computes with CuPy's own arrays alone."""

    def function(*args: Any, **kwargs: Any) -> Any:
        for x in args[0] if isinstance(args[0], (list, tuple)) else args:
            if not isinstance(x, (ndarray, str, int, tuple)):
                refuse(x)
        return _computed(getattr(np, name), args, kwargs)

    return _named(name, function)


def _typed(argument: str) -> Callable[[Any], None]:
    def refuse(x: Any) -> None:
        raise TypeError(
            f"Argument {argument!r} has incorrect type (expected "
            f"cupy._core.core._ndarray_base, got {type(x).__name__})"
        )

    return refuse


def _checked(x: Any) -> None:
    raise TypeError(f"'a' must be a cupy.ndarray object, not {type(x)}.")


def _unsupported(x: Any) -> None:
    raise TypeError(f"Unsupported type {type(x)}")


def _converting(x: Any) -> None:
    np.asarray(x)


REFUSALS = {
    name: _refusing(name, refuse)
    for names, refuse in {
        "ascontiguousarray cumprod cumsum expand_dims inner matmul median moveaxis nanmean nansum "
        "nanstd nanvar rollaxis stack tensordot vdot": _typed("a"),
        "broadcast_to": _typed("array"),
        "array_split split": _typed("ary"),
        "all any nonzero": _checked,
        "concatenate": _unsupported,
        "around atleast_1d average diff dstack einsum hstack round tril triu vstack": _converting,
    }.items()
    for name in names.split()
}


FUNCTIONS = {**UFUNCS, **METHODS, **REFUSALS, **CREATION, "where": where}
globals().update(FUNCTIONS, array=asarray)
linalg = SimpleNamespace(norm=_norm)


def is_available() -> bool:
    return True


def __getattr__(name: str) -> Any:
    """Return dtypes and constants, which are NumPy's."""
    found = getattr(np, name, None)
    if found is None or (callable(found) and not isinstance(found, type)):
        raise AttributeError(f"this fake CuPy has no {name}")
    return found
