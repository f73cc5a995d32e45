"""What the core asks of arrays, whichever library they are from."""

from typing import Any

import array_api_strict
import ml_dtypes
import numpy as np
import pytest
from libraries import Library

from adamax import Variable
from adamax._arrays import (
    compute_dtype,
    dtype_name,
    in_dtype,
    indices_readable,
    library_name,
    rows_assignable,
    to_numpy,
)
from adamax.layout import memory_of


def test_names_of_dtypes(library: Library) -> None:
    """A dtype has the same plain name in every library, and the step its dtype."""
    array = library.asarray([1])
    assert dtype_name(array.dtype) == library.dtype
    assert dtype_name(compute_dtype(array.dtype, library.xp)) == library.wide
    assert dtype_name(library.asarray([1], "int32").dtype) == "int32"
    assert compute_dtype(library.asarray([1], "int32").dtype, library.xp) is None


def test_names_of_dtypes_given_as_types() -> None:
    """NumPy's types and those of ml-dtypes have the names of their dtypes."""
    assert [dtype_name(t) for t in (np.float32, ml_dtypes.bfloat16)] == ["float32", "bfloat16"]


def test_conversion_only_where_needed(library: Library) -> None:
    """An array that has the dtype is returned itself."""
    array = library.asarray([1, 2])
    assert in_dtype(array, array.dtype, library.xp) is array
    wide = library.asarray([1, 2], library.wide)
    np.testing.assert_array_equal(
        library.read(in_dtype(array, wide.dtype, library.xp), library.wide), [1, 2]
    )


def test_numpy_copies(library: Library) -> None:
    """`to_numpy` gives a NumPy array that can be written to, with the array's dtype."""
    found = to_numpy(library.asarray([1, 2]))
    assert type(found) is np.ndarray
    narrow = (library.name, library.dtype) == ("torch", "bfloat16")  # which NumPy cannot take over
    assert dtype_name(found.dtype) == ("float32" if narrow else library.dtype)
    found[0] = 5
    np.testing.assert_array_equal(found.astype(float), [5, 2])
    np.testing.assert_array_equal(library.read(library.asarray([1, 2])), [1, 2])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.ones(1), "numpy"),
        (np.float32(1), "numpy"),
        (array_api_strict.ones(1), "array_api_strict"),
        (Variable(np.ones(1)), "adamax"),
        ([1.0], "list"),
        (None, "NoneType"),
    ],
)
def test_names_of_libraries(value: Any, name: str) -> None:
    """In messages an array is named after its library, anything else after its type."""
    assert library_name(value) == name


def test_what_the_host_may_do(library: Library) -> None:
    """Indices are read on the host, and rows written, only where that waits for no device."""
    array = library.asarray([1])
    on_host = ("numpy", "torch", "array_api_strict")
    assert indices_readable(array) == (library.name in on_host)
    assert rows_assignable(array) == (library.name in ("numpy", "torch"))


def test_memory_is_what_names_an_array() -> None:
    """Fresh views of the same elements are the same memory; any other view is another."""
    base = np.arange(12.0).reshape(3, 4)
    assert memory_of(base[1:]) == memory_of(base[1:])
    assert memory_of(base) == memory_of(base.view())
    different = [base, base[1:], base[:, 1:], base[::2], base[::-1], base.T, base.ravel(), base[0]]
    different += [base.view(np.int64), base.copy()]
    assert len({memory_of(view) for view in different}) == len(different)


def test_arrays_without_views_are_known_by_themselves() -> None:
    """Where a library has no views, an array is its own memory."""
    held = array_api_strict.ones(2)
    assert memory_of(held) == memory_of(held)
    assert memory_of(held) != memory_of(array_api_strict.ones(2))


def test_memory_of_torch() -> None:
    """Views of torch are known by their memory too."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    base = torch.arange(12.0).reshape(3, 4)
    assert memory_of(base[1:]) == memory_of(base[1:])
    different = [
        base,
        base[1:],
        base[:, 1:],
        base[::2],
        base.T,
        base.ravel(),
        base[0],
        base.clone(),
    ]
    assert len({memory_of(view) for view in different}) == len(different)
