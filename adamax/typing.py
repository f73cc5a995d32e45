"""The types in signatures: arrays of any library, and the caller's own kind of array.

Code that juggles libraries sees an array as `adamax._arrays.Array`, which has every attribute.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with a default, as Python's own has from 3.13 on
else:
    from typing import TypeVar

__all__ = ["Array", "ArrayLike", "ArrayT", "IndicesT", "Tree", "ValuesT", "Variables"]


class Array(Protocol):
    """An array of any library: for annotations, such as ``def loss(w: Array) -> Array``.

    To a type checker, arrays of NumPy, PyTorch and JAX are such arrays, as are scalars of NumPy,
    `adamax.Variable`, and everything of a library without types, such as CuPy. The members are
    those that all of them share. Every library has its own types of results.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def dtype(self) -> Any:
        """Dtype, as the library names it."""

    @property
    def device(self) -> Any:
        """Device, as the library names it."""

    def __abs__(self) -> Any: ...
    def __neg__(self) -> Any: ...
    def __pos__(self) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...
    def __rfloordiv__(self, other: Any, /) -> Any: ...
    def __mod__(self, other: Any, /) -> Any: ...
    def __rmod__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __rpow__(self, other: Any, /) -> Any: ...
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...


ArrayLike: TypeAlias = Array | float | Sequence["ArrayLike"]
"""An array, or what becomes one of the library at hand: a number, or nested lists of numbers."""

Variables: TypeAlias = Array | Iterable["Variables"] | Mapping[Any, "Variables"]
"""Variables, and arrays in place of variables, nested in any way."""

# By default nothing is known: `Variable` in an annotation is one of any array.
if TYPE_CHECKING:
    ArrayT = TypeVar("ArrayT", bound=Array, covariant=True, default=Any)
    ValuesT = TypeVar("ValuesT", bound=ArrayLike, covariant=True, default=Any)
    IndicesT = TypeVar("IndicesT", bound=ArrayLike, covariant=True, default=Any)
    Tree = TypeVar("Tree", default=Any)
else:
    ArrayT, ValuesT, IndicesT, Tree = map(TypeVar, ("ArrayT", "ValuesT", "IndicesT", "Tree"))
