"""Variable: a named, assignable holder of one array."""

import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from adamax import validation
from adamax._arrays import (
    Array,
    Namespace,
    array_namespace,
    as_numpy,
    device_of,
    dtype_name,
    is_array,
    is_immutable,
    is_jax_array,
    to_numpy,
    without_graph,
)
from adamax._public import public
from adamax.operators import Operators
from adamax.reading import current_reader

__all__ = ["Variable", "auto_name"]

_counts: dict[str, "itertools.count[int]"] = defaultdict(itertools.count)


def auto_name(base: str) -> str:
    """Return `base`, then base_1, base_2, ...: a name not given out before in this process."""
    number = next(_counts[base])
    return f"{base}_{number}" if number else base


def _unwrap(x: Any) -> Any:
    """Return `x` without the variables in it, which may stand in sequences and keywords."""
    if isinstance(x, Variable):
        return x.value
    if type(x) is dict:
        return {name: _unwrap(part) for name, part in x.items()}
    return type(x)(map(_unwrap, x)) if type(x) in (list, tuple) else x


@public
class Variable(Operators):
    """A named holder of one array, of any library, that an optimizer may assign to.

    Parameters
    ----------
    value : Array
        Copied: later changes to the caller's array do not reach the variable.
    name : str, optional
        Default: ``variable``, ``variable_1``, ...
    trainable : bool
        For the caller's own bookkeeping; optimizers update whatever they are given.
    constraint : callable, optional
        Called with the new value after every dense update; returns the value to keep.

    Raises
    ------
    TypeError
        If `value` is not an array, such as a list: there is no telling of which library.

    Notes
    -----
    The counterpart of `tf.Variable`. It computes like its value, compares element by element, and
    is hashed by identity.

    Examples
    --------
    >>> import numpy as np
    >>> w = Variable(np.array([1.0, 2.0]), name="w")
    >>> 2 * w + 1
    array([3., 5.])
    """

    def __init__(
        self,
        value: Array,
        name: str | None = None,
        trainable: bool = True,
        constraint: Callable[[Array], Array] | None = None,
    ) -> None:
        value = _unwrap(value)
        if not is_array(value):
            raise TypeError(
                f"a Variable holds an array, got {type(value).__name__}; make it one with the "
                "asarray of the library you compute with, such as numpy.asarray"
            )
        if not is_jax_array(value):  # which nobody can write to
            value = array_namespace(value).asarray(without_graph(value), copy=True)
        self._hold(value, name or auto_name("variable"), trainable, constraint)

    def _hold(
        self,
        value: Array,
        name: str,
        trainable: bool = True,
        constraint: Callable[[Array], Array] | None = None,
    ) -> None:
        self._value = value
        self.name = name
        self.trainable = trainable
        self.constraint = constraint

    @classmethod
    def of_array(cls, array: Array, name: str) -> "Variable":
        """Return a variable that shares the memory of `array` instead of copying it."""
        variable = cls.__new__(cls)
        variable._hold(without_graph(array), name)
        return variable

    @property
    def value(self) -> Array:
        """The array itself, not a copy: where arrays can be written to, updates show in it."""
        reader = current_reader()
        return self._value if reader is None else reader(self, self._value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self._value.shape)

    @property
    def dtype(self) -> Any:
        """Dtype of the value, as its library names it."""
        return self._value.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the value."""
        return len(self._value.shape)

    @property
    def device(self) -> Any:
        """Device of the value, as its library names it."""
        return device_of(self._value)

    @property
    def T(self) -> Array:
        """The value with its axes reversed."""
        return self.value.T

    @property
    def mT(self) -> Array:
        """The value with its last two axes exchanged."""
        value = self.value
        return array_namespace(value).matrix_transpose(value)  # dask's arrays have no mT

    def assign(self, value: Any) -> "Variable":
        """Replace the value by another of the same shape; it is converted to the variable's dtype.

        Raises
        ------
        TypeError
            If `value` is of another library, or no array and no numbers.
        ValueError
            If it has another shape or is on another device.
        RuntimeError
            Inside a loss that is being differentiated, whose variables must not change.
        """
        self.refuse_in_loss()
        xp = array_namespace(self._value)
        what = f"the value of {self.name}"
        value = without_graph(validation.like(_unwrap(value), self._value, what, self.dtype))
        if tuple(value.shape) != self.shape:
            raise ValueError(f"{what} must have the shape {self.shape}, got {tuple(value.shape)}")
        if is_immutable(self._value):
            self._value = xp.astype(value, self.dtype)
        else:
            self._value[...] = xp.astype(value, self.dtype, copy=False)
        return self

    def refuse_in_loss(self) -> None:
        """Raise RuntimeError inside a loss that is being differentiated."""
        if current_reader() is not None:
            raise RuntimeError(f"{self.name} cannot be assigned to inside a loss")

    def numpy(self) -> Any:
        """Return a NumPy copy of the value, from whichever library and device it is on."""
        return to_numpy(self._value)

    def __repr__(self) -> str:
        return (
            f"Variable({self.name!r}, shape={self.shape}, "
            f"dtype={dtype_name(self.dtype)}, value={self._value})"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Convert as the value itself would, which CuPy and other devices refuse."""
        array = as_numpy(self.value)
        return array_namespace(array).asarray(array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Let NumPy's functions compute with the value."""
        return getattr(ufunc, method)(*map(_unwrap, inputs), **_unwrap(kwargs))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Let NumPy's other functions compute with the value."""
        return func(*map(_unwrap, args), **_unwrap(kwargs))

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        """Let CuPy's elementwise functions and kernels compute with the value."""
        return kernel(*map(_unwrap, args), **_unwrap(kwargs))

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        """Return the namespace of the value."""
        return array_namespace(self.value)

    def __getitem__(self, key: Any) -> Array:
        return self.value[key]

    def __iter__(self) -> Iterator[Array]:
        return iter(self.value)  # which knows its end; JAX has no index that is out of range

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)

    def _operate(self, name: str, compute: Callable[..., Any], *operands: Any) -> Any:
        """Compute with the values of variables."""
        return compute(*map(_unwrap, operands))
