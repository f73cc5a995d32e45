"""`adamax.validation`: what is refused, and that every message names the thing and the cause."""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import array_api_strict
import ml_dtypes
import numpy as np
import pytest
from libraries import Library

from adamax import IndexedSlices, Variable, validation

Array = Any

P = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    "value",
    [
        2,
        2.0,
        np.int8(2),
        np.float16(2),
        np.float64(2),
        np.array(2),
        np.array(2.0, ml_dtypes.bfloat16),
        Variable(np.array(2.0)),
        Fraction(2),
        Decimal(2),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_numbers(value: Any) -> None:
    """Numbers of any kind, 0-d arrays and variables among them, become Python floats."""
    checks = (validation.number, validation.non_negative, validation.positive)
    found = [check(value, "x") for check in checks]
    assert found == [2.0] * 3
    assert {type(number) for number in found} == {float}


def test_arrays_of_every_library_are_numbers(library: Library) -> None:
    """A 0-d array of any library is the number it holds."""
    found = validation.number(library.asarray(0.5), "x")
    assert (found, type(found)) == (0.5, float)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, ValueError, "Expected beta_1 to be a number, received: None"),
        (math.nan, ValueError, "Expected beta_1 to be a finite number, received: nan"),
        (-math.inf, ValueError, "Expected beta_1 to be a finite number, received: -inf"),
        (np.array(math.nan), ValueError, "Expected beta_1 to be a finite number, received: nan"),
        pytest.param(10**400, ValueError, "Expected beta_1 to be a finite number, rece", id="huge"),
        (True, TypeError, "Expected beta_1 to be a number, received: True of type bool"),
        (np.True_, TypeError, "Expected beta_1 to be a number, received: .*True.* of type bool"),
        ("0.9", TypeError, "Expected beta_1 to be a number, received: '0.9' of type str"),
        (np.str_("0.9"), TypeError, "Expected beta_1 to be a number, received: .* of type str_"),
        (np.array("0.9"), TypeError, "Expected beta_1 to be a number, received: array"),
        (1j, TypeError, "Expected beta_1 to be a number, received: 1j of type complex"),
        (np.complex64(1), TypeError, "Expected beta_1 to be a number, .* of type complex64"),
        (np.array([0.9]), TypeError, "Expected beta_1 to be a number, .* of type ndarray"),
        ([0.9], TypeError, r"Expected beta_1 to be a number, received: \[0\.9\] of type list"),
        (np.datetime64("2020-01-01"), TypeError, "Expected beta_1 to be a number, .*datetime64"),
        (object, TypeError, "Expected beta_1 to be a number, received: .* of type type"),
    ],
)
def test_what_is_no_number(value: Any, error: type[Exception], message: str) -> None:
    """Neither NaN nor text, truth values, complex numbers or arrays pass for a number."""
    for check in (
        validation.number,
        validation.non_negative,
        validation.positive,
        validation.fraction,
    ):
        with pytest.raises(error, match=message):
            check(value, "beta_1")


@pytest.mark.parametrize(
    ("check", "inside", "outside", "message"),
    [
        (validation.non_negative, [0, 1e300], [-1e-300, -1], "Expected x >= 0, received: -"),
        (validation.positive, [5e-324, 3], [0, -0.0, -1], "Expected x > 0, received: "),
        (validation.fraction, [0, 1 - 2**-53], [-1e-9, 1, 2], r"Expected x in \[0, 1\), received"),
    ],
)
def test_ranges(
    check: Callable[[Any, str], float], inside: list[float], outside: list[float], message: str
) -> None:
    """Ranges include and exclude their ends as they say."""
    assert [check(value, "x") for value in inside] == inside
    for value in outside:
        with pytest.raises(ValueError, match=message):
            check(value, "x")


def test_sequences_of_numbers() -> None:
    """Sequences and arrays of numbers become tuples of Python floats, each of them checked."""
    for values in ([1, 2], (1, 2), np.array([1, 2]), iter([1, 2])):
        found = validation.numbers(values, "x", validation.positive)
        assert found == (1.0, 2.0)
        assert {type(number) for number in found} == {float}
    with pytest.raises(ValueError, match=r"Expected x\[1\] > 0, received: 0"):
        validation.numbers([1, 0], "x", validation.positive)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_dtypes_of_parameters(dtype: Any) -> None:
    """Parameters have one of the four real floating dtypes."""
    param = np.ones(2).astype(dtype)
    assert validation.parameter(param, "w") is param


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "longdouble", "object", "<U1"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    """Any other dtype is an error that lists the four and names the parameter."""
    param = np.ones(2).astype(dtype)
    message = "Invalid type .* for w: expected one of float16, bfloat16, float32, float64"
    with pytest.raises(ValueError, match=message):
        validation.parameter(param, "w")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16, ">f4"])
def test_gradients_are_converted(dtype: Any) -> None:
    """A gradient of any real floating dtype comes in the dtype of the step."""
    for param in (np.ones(2, np.float16), np.ones(2, np.float32), np.ones(2)):
        found: Array = validation.gradient(np.array([0.5, -2]).astype(dtype), param, "w")
        assert found.dtype == (np.float64 if param.dtype == np.float64 else np.float32)
        np.testing.assert_array_equal(found, [0.5, -2])


def test_gradient_that_fits_is_not_copied(library: Library) -> None:
    """A gradient that is in the dtype of the step already is passed on as it is."""
    param, grad = library.asarray([1, 2]), library.asarray([3, 4], library.wide)
    assert validation.gradient(grad, param, "w") is grad


@pytest.mark.parametrize(
    ("grad", "error", "message"),
    [
        (
            np.ones((2, 3)),
            ValueError,
            r"shape \(3, 2\), received \(2, 3\), for w: .* gradients are not broad",
        ),
        (1.0, ValueError, r"shape \(3, 2\), received \(\), for w"),
        ([[1.0, 2.0]], ValueError, r"received \(1, 2\), for w"),
        (
            np.ones((3, 2), int),
            ValueError,
            "received int64, for the gradient of w, which is expected to be a float32",
        ),
        (np.ones((3, 2), complex), ValueError, "Expected a real floating dtype, received complex"),
        (np.ones((3, 2), bool), ValueError, "Expected a real floating dtype, received bool"),
        (None, TypeError, "received NoneType, for the gradient of w"),
        ("zeros", TypeError, "received str, for the gradient of w"),
        (
            [[None, 1]],
            TypeError,
            r"received NoneType, for the gradient of w\[0\]\[0\]",
        ),
        (
            [["1", 1]],
            TypeError,
            r"received str, for the gradient of w\[0\]\[0\]",
        ),
        ([[1j, 1]], TypeError, r"received complex, for the gradient of w\[0\]\[0\]"),
        ([[1], [1, 2]], ValueError, "an array or numbers for the gradient of w: .*inhomogeneous"),
        ({"w": 1.0}, ValueError, "an array or numbers for the gradient of w"),
        ([10**400], ValueError, "an array or numbers for the gradient of w: .*too large"),
        (iter([1.0]), TypeError, "received list_iterator, for the gradient of w"),
    ],
)
def test_gradients_are_checked(grad: Any, error: type[Exception], message: str) -> None:
    """A gradient that does not fit its parameter is an error that names it."""
    with pytest.raises(error, match=message):
        validation.gradient(grad, P, "w")


def test_gradients_of_other_places_are_refused(standard_only: None) -> None:
    """A gradient of another library or on another device is not fetched in silence."""
    message = "a numpy array, received a array_"
    with pytest.raises(TypeError, match=message):
        validation.gradient(array_api_strict.ones((3, 2)), P, "w")
    with pytest.raises(
        TypeError, match=r"array_api_strict array, received a numpy array, for the g"
    ):
        validation.gradient(P, array_api_strict.ones((3, 2)), "w")
    here, there = (
        array_api_strict.ones(2, device=array_api_strict.Device(name))
        for name in ("device1", "device2")
    )
    message = r"an array on .*device1.*, received one on .*device2.*, for the gradient of w"
    with pytest.raises(ValueError, match=message):
        validation.gradient(there, here, "w")


def test_lists_are_made_where_the_parameter_is(library: Library) -> None:
    """A gradient given as a list is made in the library and on the device of its parameter."""
    found: Array = validation.gradient([1, 0.1], library.asarray([1, 2]), "w")
    expected = np.array([1, 0.1]).astype(library.wide).astype(float)
    np.testing.assert_array_equal(library.read(found, library.wide), expected)


NOTHING: Any = None

SPARSE = [
    (
        IndexedSlices(np.ones((1, 2)), [3]),
        ValueError,
        r"received 3, for the sparse gradient of w: 3 is not in \[0, 3\)",
    ),
    (
        IndexedSlices(np.ones((2, 2)), [0, -1]),
        ValueError,
        r"received -1, for .*: -1 is not in \[0, 3\)",
    ),
    (
        IndexedSlices(np.ones((1, 2)), np.array([0.0])),
        ValueError,
        "int32 or int64, received 1-d fl",
    ),
    (
        IndexedSlices(np.ones((1, 2)), np.array([0], np.int16)),
        ValueError,
        "in a 1-d array of int32 or int64, received 1-d int16",
    ),
    (
        IndexedSlices(np.ones((1, 2)), np.array([[0]])),
        ValueError,
        "in a 1-d array of int32 or int64, received 2-d int64",
    ),
    (IndexedSlices(np.ones((1, 2)), 0), ValueError, "in a 1-d array .*, received 0-d"),
    (
        IndexedSlices(np.ones((2, 2)), [0]),
        ValueError,
        r"Expected one row .* values of shape \(2, 2\) and 1 indices",
    ),
    (
        IndexedSlices(np.array(1.0), [0]),
        ValueError,
        r"one row of values for each index \(segment_ids\), received values of shape \(\)",
    ),
    (
        IndexedSlices(np.ones((1, 3)), [0]),
        ValueError,
        r"values of shape \(1, 2\), received \(1, 3\), for the sparse gradient of w",
    ),
    (IndexedSlices(np.ones(1), [0]), ValueError, r"values of shape \(1, 2\), received \(1,\)"),
    (
        IndexedSlices(np.ones((1, 2), int), [0]),
        ValueError,
        "received int64, for the values of the sparse gradient of w",
    ),
    (
        IndexedSlices(NOTHING, [0]),
        TypeError,
        "received NoneType, for the values of the sparse gradient of w",
    ),
    (
        IndexedSlices(np.ones((1, 2)), NOTHING),
        TypeError,
        "received NoneType, for the indices of the sparse gradient of w",
    ),
    (
        IndexedSlices(np.ones((1, 2)), "a"),
        TypeError,
        "received str, for the indices of the sparse gradient of w",
    ),
]


@pytest.mark.parametrize(("grad", "error", "message"), SPARSE, ids=[m for _, _, m in SPARSE])
def test_sparse_gradients_are_checked(
    grad: IndexedSlices, error: type[Exception], message: str
) -> None:
    """Rows that do not fit their table are an error that names it."""
    with pytest.raises(error, match=message):
        validation.gradient(grad, P, "w")


def test_sparse_gradients_select_rows() -> None:
    """A parameter without rows has no sparse gradient."""
    message = "received IndexedSlices, for w: it is 0-d"
    with pytest.raises(ValueError, match=message):
        validation.gradient(IndexedSlices(np.ones(1), np.array([0])), np.array(1.0), "w")


def test_sparse_gradients_of_other_places_are_refused(standard_only: None) -> None:
    """Values and indices are of the library and on the device of the table."""
    there = array_api_strict.Device("device1")
    table, values = array_api_strict.ones((3, 2)), array_api_strict.ones((1, 2))
    indices = array_api_strict.asarray([0])
    with pytest.raises(TypeError, match=r"received a .*strict array, for the values of"):
        validation.gradient(IndexedSlices(values, np.array([0])), P, "w")
    with pytest.raises(TypeError, match=r"received a .*strict array, for the indices of"):
        validation.gradient(IndexedSlices(np.ones((1, 2)), indices), P, "w")
    elsewhere = array_api_strict.asarray([0], device=there)
    with pytest.raises(
        ValueError, match=r"for the indices of .*; move it to the parameter's device"
    ):
        validation.gradient(IndexedSlices(values, elsewhere), table, "w")


def test_sparse_gradients_are_converted(library: Library) -> None:
    """Values and indices given in lists become arrays; a wide row and one column are both fine."""
    table = library.asarray([[1, 2], [3, 4]])
    for values in ([[1, 2], [3, 4]], [[1], [3]]):
        found: Array = validation.gradient(IndexedSlices(values, [1, 1], (9, 9)), table, "w")
        np.testing.assert_array_equal(library.read(found.values, library.wide), values)
        assert [int(i) for i in found.indices] == [1, 1]
        assert found.dense_shape == (9, 9)
    empty: IndexedSlices = IndexedSlices(library.asarray(np.zeros((0, 2))), [])
    found = validation.gradient(empty, table, "w")
    assert found.indices.shape == (0,)


def test_slots() -> None:
    """A moment is what `init` makes: shape, compute dtype and library of its parameter."""
    param, slot = np.ones(2, np.float16), np.zeros(2, np.float32)
    assert validation.slot(slot, param, "w") is slot
    with pytest.raises(TypeError, match=r"received a .*, for the state of w"):
        validation.slot(array_api_strict.zeros(2), param, "w")
