"""Variable: a named, assignable holder of one array."""

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self

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
    library_name,
    to_numpy,
)
from adamax._public import public
from adamax.assigning import constant, fitting, result_on
from adamax.naming import auto_name
from adamax.operators import Operators
from adamax.reading import current_loss, record_copy, record_read_elsewhere, running
from adamax.typing import ArrayLike, ArrayT

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Variable"]


def _unwrap(x: Any) -> Any:
    """Return `x` without the variables in it, which may stand in sequences and keywords."""
    if isinstance(x, Variable):
        return x.value
    if type(x) is dict:
        return {name: _unwrap(part) for name, part in x.items()}
    return type(x)(map(_unwrap, x)) if type(x) in (list, tuple) else x


def _unwrapping(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that takes variables as it takes their values."""
    return lambda *args, **kwargs: method(*map(_unwrap, args), **_unwrap(kwargs))


@public
class Variable(Operators, Generic[ArrayT]):
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
        If `value` is not an array. A list, for example, does not identify an array library.

    Notes
    -----
    The counterpart of `tf.Variable`. It computes as its value does and has the methods and
    attributes of its value, such as ``w.sum()``. It compares element by element and is hashed by
    identity. ``w += 1`` and the other in-place operators assign to the variable.

    Examples
    --------
    >>> import numpy as np
    >>> w = Variable(np.array([1.0, 2.0]), name="w")
    >>> 2 * w + 1
    array([3., 5.])
    >>> w += 1
    >>> w
    Variable('w', shape=(2,), dtype=float64, value=[2. 3.])
    """

    def __init__(
        self,
        value: ArrayT,
        name: str | None = None,
        trainable: bool = True,
        constraint: Callable[[ArrayT], ArrayT] | None = None,
    ) -> None:
        array = _unwrap(value)
        if not is_array(array):
            raise TypeError(
                f"Expected an array, received {type(array).__name__}, for the value of a Variable; "
                "convert it with your array library, such as numpy.asarray"
            )
        if not is_jax_array(array):  # which nobody can write to
            array = array_namespace(array).asarray(constant(array), copy=True)
        self._hold(array, name or auto_name("variable"), trainable, constraint)

    held: Array
    """The array, for those who step, load and save: to read it is no reading of a loss."""

    was_made = False
    """Whether a step has made the array, so that no caller has brought it."""

    was_read = False
    """Whether anybody has read the value since a step has made it, and may hold the array."""

    def _hold(
        self,
        value: Array,
        name: str,
        trainable: bool = True,
        constraint: Callable[[Any], Any] | None = None,
    ) -> None:
        self.held = value
        self.name = name
        self.trainable = trainable
        self.constraint = constraint

    @classmethod
    def of_array(cls, array: Array, name: str) -> Self:
        """Return a variable that shares the memory of `array` instead of copying it."""
        variable = cls.__new__(cls)
        variable._hold(constant(array), name)
        return variable

    @property
    def value(self) -> ArrayT:
        """The array itself, not a copy. If its library has writable arrays, steps write to it."""
        loss = current_loss()
        value: ArrayT = self.held if loss is None else loss.read(self, self.held)
        self.was_read |= value is self.held
        if loss is None and running:
            record_read_elsewhere(self)
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.held.shape)

    @property
    def dtype(self) -> Any:
        """Dtype of the value, as its library names it."""
        return self.held.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the value."""
        return len(self.held.shape)

    @property
    def device(self) -> Any:
        """Device of the value, as its library names it."""
        return device_of(self.held)

    @property
    def mT(self) -> Array:
        """The value with its last two axes exchanged."""
        value = self.value
        return array_namespace(value).matrix_transpose(value)  # dask's arrays have no mT

    def assign(self, value: ArrayLike) -> Self:
        """Replace the value by another of the same shape; it is converted to the variable's dtype.

        Raises
        ------
        TypeError
            If `value` is an array of another library, or is neither an array nor numbers.
        ValueError
            If it has another shape or is on another device.
        RuntimeError
            Inside a loss that is being differentiated, whose variables must not change.
        """
        self.refuse_in_loss()
        value = fitting(_unwrap(value), self.held, self.name)
        xp = array_namespace(self.held)
        if is_immutable(self.held):
            self.held, self.was_made = xp.astype(value, self.dtype), False
        else:
            self.held[...] = xp.astype(value, self.dtype, copy=False)
        return self

    def assign_add(self, delta: ArrayLike) -> Self:
        """Add `delta` to the value; raises as `assign` does."""
        return self._operate_in_place("add", operator.add, delta)

    def assign_sub(self, delta: ArrayLike) -> Self:
        """Subtract `delta` from the value; raises as `assign` does."""
        return self._operate_in_place("subtract", operator.sub, delta)

    def _operate_in_place(self, name: str, compute: Callable[..., Any], other: Any) -> Self:
        """Assign the result: ``w += 1`` changes the variable, and `w` is still the variable."""
        self.refuse_in_loss()
        return self.assign(result_on(self.held, compute, _unwrap(other), self.name))

    def refuse_in_loss(self) -> None:
        """Raise RuntimeError inside a loss that is being differentiated."""
        if current_loss() is not None:
            raise RuntimeError(
                f"Expected no assignment to a variable inside a loss, received one, for "
                f"{self.name}: if h is a variable, h += x assigns to it; write h = h + x"
            )

    def numpy(self) -> "NDArray[Any]":
        """Return a NumPy copy of the value, from whichever library and device it is on.

        Inside a loss the copy is not traced: a loss that calls it on a variable that it is
        differentiated with respect to is refused. Other threads can call it at any time.
        """
        record_copy(self)
        return to_numpy(self.held)

    def __getstate__(self) -> dict[str, Any]:
        """Return what copy and pickle copy."""
        record_copy(self)
        self.was_read = True  # a shallow copy holds the array too
        return self.__dict__

    def __repr__(self) -> str:
        value = str(self.held)
        value = f"\n{value}" if "\n" in value else value
        return (
            f"Variable({self.name!r}, shape={self.shape}, "
            f"dtype={dtype_name(self.dtype)}, value={value})"
        )

    def __getattr__(self, name: str) -> Any:
        """Return what only the value has, such as its method `sum`; inside a loss it is traced."""
        if name.startswith("_"):  # which Python itself asks for, of a half-made copy too
            raise AttributeError(f"'Variable' object has no attribute {name!r}")
        if hasattr(type(self.held), name):
            found = getattr(self.value, name)
            # Compiled methods, such as dot of CuPy, take arrays alone.
            return _unwrapping(found) if callable(found) else found
        raise AttributeError(
            f"Expected an attribute of a Variable, received {name!r}, for {self.name}: neither "
            f"Variable nor its value, a {library_name(self.held)} array, has it",
            name=name,
            obj=self,
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in dir(self.held) if name[0] != "_")]

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

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __getitem__(self, key: Any) -> Array:
        return _unwrap(self)[key]

    def __iter__(self) -> Iterator[Array]:
        return iter(_unwrap(self))  # which knows its end; JAX has no index that is out of range

    def __len__(self) -> int:
        return len(_unwrap(self))

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        record_copy(self)
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return operator.index(_unwrap(self))

    def _operate(self, name: str, compute: Callable[..., Any], *operands: Any) -> Any:
        """Compute with the values of variables."""
        return compute(*map(_unwrap, operands))
