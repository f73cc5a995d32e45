"""`adamax_adapters.gradients`: what the tape makes of losses, held against their differences."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agreement import assert_close, central_differences, whole
from libraries import LIBRARIES, Library, Usage, parameters
from losses import CASES
from snapshots import host

from adamax import IndexedSlices, Variable
from adamax_adapters.gradients import value_and_gradients

Array = Any


def assert_differentiated(loss: Callable[[], Any], variables: list[Variable]) -> None:
    """Hold the tape's gradients of a NumPy loss to its central differences."""
    _, gradients = value_and_gradients(loss, variables, engine="tape")
    found = [whole(g, v) for g, v in zip(gradients, variables, strict=True)]
    assert_close(found, central_differences(loss, variables), 1e-6)


def test_corpus_is_large() -> None:
    """There are losses enough for what is said of all of them to mean something."""
    assert len(CASES) >= 25


@pytest.mark.parametrize("name", CASES)
def test_tape_agrees_with_central_differences(name: str) -> None:
    """The tape's gradient of every loss is that of central differences in float64."""
    variables, loss = CASES[name](np.asarray, np.random.default_rng(5))
    value, _ = value_and_gradients(loss, variables)
    assert value == loss()
    assert_differentiated(loss, variables)


# One device of each library: on strict's, whatever is made on another device is an error.
# JAX compiles every call of these; in test_engines.py it does so in one dtype.
DEVICES = {
    (library.usage, library.dtype): library
    for library in LIBRARIES
    if library.dtype in ("float32", "float64")
    and library.device != "CPU_DEVICE"
    and library.usage is not Usage.JAX
}


@pytest.mark.feature("gradients")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("library", parameters([*DEVICES.values()]), indirect=True)
def test_every_library_has_the_gradients_of_numpy(library: Library, name: str) -> None:
    """Whatever differentiates there, gradients are in the library, dtype and device of variables.

    array_api_strict refuses whatever the standard does not promise, arrays that are made on
    another device, and dtypes that a device does not have.
    """

    if library.usage is Usage.DASK and name == "picked_log_likelihood":
        pytest.skip("dask has no take_along_axis")

    def asarray(x: Array) -> Array:
        return library.asarray(x, {"i": "int64", "b": "bool"}.get(x.dtype.kind))

    variables, loss = CASES[name](asarray, np.random.default_rng(5))
    _, gradients = value_and_gradients(loss, variables)
    on_numpy, numpy_loss = CASES[name](np.asarray, np.random.default_rng(5))
    _, expected = value_and_gradients(numpy_loss, on_numpy)
    for gradient in gradients:
        values = gradient.values if isinstance(gradient, IndexedSlices) else gradient
        if values is not None:
            library.read(library.xp.asarray(values))  # NumPy has scalars for arrays of no axes
    assert_close(
        [whole(g, v) for g, v in zip(gradients, variables, strict=True)],
        [whole(g, v) for g, v in zip(expected, on_numpy, strict=True)],
        1e-12 if library.dtype == "float64" else 1e-4,
    )


def test_lookup_gives_rows() -> None:
    """The gradient of an embedding lookup holds the rows looked up, never the whole table."""
    table = Variable(np.ones((100_000, 2)))
    rows = np.array([3, 99_999, 3])
    losses = [
        lambda: np.sum(table[rows] ** 2),
        lambda: np.sum(np.take(table.value, rows, axis=0) ** 2),
    ]
    for loss in losses:
        _, (gradient,) = value_and_gradients(loss, [table])
        assert isinstance(gradient, IndexedSlices)
        assert gradient.values.shape == (3, 2)
        assert gradient.dense_shape == (100_000, 2)
        np.testing.assert_array_equal(gradient.indices, rows)
        np.testing.assert_array_equal(gradient.values, np.full((3, 2), 2.0))


def test_lookup_of_numbers_gives_rows() -> None:
    """A table of numbers, one for every row, is a table: its gradient is rows, too."""
    biases = Variable(np.arange(5.0))
    xp = biases.__array_namespace__()
    _, (gradient,) = value_and_gradients(
        lambda: xp.sum(xp.take(biases.value, np.array([4, 1, 4])) ** 2), [biases]
    )
    assert isinstance(gradient, IndexedSlices)
    np.testing.assert_array_equal(gradient.values, [8.0, 2.0, 8.0])


def test_two_lookups_give_the_rows_of_both() -> None:
    """Rows looked up by two indices are listed one after the other, and not summed here."""
    table = Variable(np.ones((9, 2)))
    a, b = np.array([1, 2]), np.array([2])
    _, (gradient,) = value_and_gradients(lambda: np.sum(table[a]) + np.sum(table[b]), [table])
    assert isinstance(gradient, IndexedSlices)
    assert sorted(gradient.indices) == [1, 2, 2]


INDICES: dict[str, Callable[..., Any]] = {
    "rows": lambda i, j, mask: i,
    "list": lambda i, j, mask: [2, 0, 2],
    "list of truths": lambda i, j, mask: [True, False, True, True],
    "matrix of rows": lambda i, j, mask: np.stack([i, j]),
    "negative rows": lambda i, j, mask: -1 - i,
    "no rows": lambda i, j, mask: i[:0],
    "columns": lambda i, j, mask: (slice(None), j),
    "columns after an ellipsis": lambda i, j, mask: (..., j),
    "rows before an ellipsis": lambda i, j, mask: (i, ...),
    "elements": lambda i, j, mask: (i, j),
    "elements of a column": lambda i, j, mask: (i, 1),
    "elements of the last row": lambda i, j, mask: (-1, j),
    "a block": lambda i, j, mask: np.ix_(i, j),
    "a row": lambda i, j, mask: np.int64(1),
    "a number": lambda i, j, mask: (2, -1),
    "mask": lambda i, j, mask: mask,
    "mask of rows": lambda i, j, mask: mask[:, 0],
    "new axis": lambda i, j, mask: (None, 1),
    "new axes": lambda i, j, mask: (..., None, slice(1, None), None),
    "reversed": lambda i, j, mask: slice(None, None, -1),
    "every other, reversed": lambda i, j, mask: (slice(None, None, -2), slice(1, 3)),
    "nothing": lambda i, j, mask: slice(0, 0),
}


@pytest.mark.parametrize("kind", INDICES)
def test_indices_of_all_kinds(kind: str) -> None:
    """Reading through any index NumPy knows has the derivative of central differences."""
    rng = np.random.default_rng(3)
    w = Variable(rng.normal(size=(4, 3)))
    key = INDICES[kind](np.array([0, 2, 2]), np.array([1, 0, 1]), rng.random((4, 3)) < 0.5)
    weights = rng.normal(size=np.shape(w.value[key]))
    assert_differentiated(lambda: np.sum(np.sin(w[key]) * weights), [w])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_indices_of_every_dtype(dtype: str) -> None:
    """A dtype that cannot hold the number of elements can still say which of them is meant."""
    rng = np.random.default_rng(3)
    w = Variable(rng.normal(size=(300, 4)))
    rows, columns = np.array([120, 5, 120], dtype), rng.integers(0, 4, size=300).astype(dtype)

    def loss() -> Array:
        picked = np.take_along_axis(w.value, columns[:, None], axis=1)
        return np.sum(picked**2) + np.sum(w[rows] ** 3) + np.sum(w[rows, columns[:3]] ** 2)

    assert_differentiated(loss, [w])


FIRST, BOTH = np.array([False, True, True]), np.arange(9).reshape(3, 3) % 2 == 0
PARTS: dict[str, Any] = {
    "True": True,
    "False": False,
    "0-d": np.array(True),
    "None": None,
    "...": ...,
    "slice": slice(0, 2),
    "number": 1,
    "mask": FIRST,
    "mask of two axes": BOTH,
    "rows": np.array([1, 0]),
    "list": [0, 1],
}


@pytest.mark.parametrize("part", PARTS)
def test_index_of_parts_in_any_order_is_right_or_refused(part: str) -> None:
    """An index of three parts, truth values and masks among them, has no wrong gradient."""
    w = Variable(np.arange(1.0, 28.0).reshape(3, 3, 3))
    right = [
        is_right_or_refused(w, key)
        for key in itertools.product([PARTS[part]], PARTS.values(), PARTS.values())
        if is_index(w.value, key)
    ]
    assert sum(right) >= 8


def is_index(array: Array, key: Any) -> bool:
    try:
        array[key]
    except IndexError:
        return False
    return True


def is_right_or_refused(w: Variable, key: Any) -> bool:
    """Say whether an index has a gradient, and hold it to what the index finds."""
    weights = np.arange(1.0, w.value[key].size + 1).reshape(w.value[key].shape)
    try:
        _, (gradient,) = value_and_gradients(lambda: np.sum(w[key] * weights), [w])
    except NotImplementedError:
        return False
    expected = np.zeros_like(w.value)
    np.add.at(expected, key, weights)
    np.testing.assert_array_equal(whole(gradient, w), expected)
    return True


def test_index_that_mixes_arrays_and_slices_is_refused() -> None:
    """What has no rule is an error that says what to do."""
    w = Variable(np.ones((3, 4, 2)))
    with pytest.raises(NotImplementedError, match="index twice"):
        value_and_gradients(lambda: np.sum(w[np.array([0]), :2]), [w])


MASK = np.array([[True, False, True]])
COUNTS = np.arange(6.0).reshape(2, 3)
NUMPY_LOSSES: dict[str, Callable[[Any], Any]] = {
    "ufuncs": lambda w: np.sum(np.square(np.tanh(w)) + np.power(w, 2) - np.true_divide(1.0, w)),
    "reductions": lambda w: np.mean(w, 0).sum() + np.var(w) + np.std(w) + np.max(w) + np.amin(w),
    "reductions of axes": lambda w: (
        np.var(w, (-1, 0), keepdims=True).sum() + np.std(w, axis=-1, ddof=1).sum()
    ),
    "reductions in a dtype": lambda w: (
        np.sum(w**2, dtype=float) + np.cumsum(w, -1, dtype=float)[0, 1]
    ),
    "methods": lambda w: (w.sum(0).mean() + w.max(axis=1).sum() + w.T.min() + w.std()) * w.var(),
    "shapes": lambda w: (w.reshape(3, 2) @ w.transpose(1, 0).reshape(2, 3)).ravel().sum(),
    "flatten": lambda w: (w.flatten() ** 3).sum() + (w.copy() * w.reshape(-1).reshape(2, 3)).sum(),
    "moved": lambda w: np.sum(np.moveaxis(w, source=0, destination=-1) * COUNTS.reshape(3, 2)),
    "rolled": lambda w: np.sum((np.roll(w, (1, 2), axis=(0, 1)) + np.roll(w, shift=2)) * COUNTS),
    "squeezed": lambda w: np.sum(np.expand_dims(w, (0, 3)).squeeze((0, -1)) ** 2),
    "joined": lambda w: np.sum(np.concatenate([w, w * 2]) ** 2 * np.stack([w, w]).reshape(4, 3)),
    "joined flat": lambda w: np.sum(np.concatenate((w, COUNTS), axis=None)[:9] ** 2),
    "joined from rows": lambda w: np.sum(np.concatenate(w) ** 3),
    "chosen": lambda w: np.where(w > 1, w, w**2).sum() + np.clip(w, 0.5, 1.5).sum(),
    "chosen with numbers": lambda w: np.sum(np.where(MASK, w, 0) + np.where(w > 1, 2.0, w * w)),
    "chosen by a broadcast": lambda w: np.sum(np.where(MASK, w[:, :1], w[0]) * COUNTS),
    "clipped to one side": lambda w: np.sum(np.clip(w, None, 0.9) ** 2 + w.clip(min=1.0) ** 2),
    "clipped to arrays": lambda w: np.sum(np.clip(w, COUNTS[0], COUNTS[:, :1] + 1.2) ** 2),
    "clipped by keywords": lambda w: np.sum(np.clip(w, a_min=0.5, a_max=1.2) ** 2),
    "made larger by its limits": lambda w: np.sum(np.clip(w[0], COUNTS, None) ** 2),
    "cumulated": lambda w: np.sum(np.cumsum(w, axis=1) ** 2) + np.sum(np.cumsum(w) ** 2),
    "filled": lambda w: np.sum(np.full_like(w, w[0, 1], dtype=float) * w),
    "multiplied": lambda w: np.dot(np.dot(w.T, w), w[0]) @ w[1] + np.dot(2.0, w[0].dot(w[1])),
    "converted": lambda w: np.sum(w.__array_namespace__().asarray(w, copy=True) ** 2),
    "taken flat": lambda w: np.sum(np.take(w, [0, 5, 5]) ** 2),
    "iterated": lambda w: sum(row[0] * np.exp(row[1]) for row in w),
    "array on the left": lambda w: np.sum(np.ones((2, 3)) * w - np.arange(3.0) / w),
    "matrix on the left": lambda w: np.sum(COUNTS.T @ w + w.T @ COUNTS) + np.sum(COUNTS @ w[0]),
    "numbers of NumPy": lambda w: np.sum(np.float64(2) * w - np.float64(1) / w + np.int64(3) - w),
    "powers": lambda w: np.sum(
        w**0 + w**1 + w**-1 + w**0.5 + w**COUNTS + 2**w + np.float64(3) ** w
    ),
    "powers of zero": lambda w: np.sum(
        (w * 0) ** 0 + (w * 0) ** 1 + (w - w) ** 2 + (0 * w) ** COUNTS + 0**w
    ),
    "remainders": lambda w: np.sum(np.mod(w, 0.7) * w + 5.0 % w),
    "joined numbers": lambda w: np.sum(np.stack([w[0, 0], w[1, 2] ** 2]) ** 2),
    "numbers": lambda w: w[0, 0] * w.sum() + w[1, 1].T ** 3 + np.sum(w[1, 2], axis=-1),
    "whole numbers": lambda w: np.sum(w.astype(int) * w + np.round(w) * w + (w > 1) * w),
    "index of the largest": lambda w: w[0, np.argmax(w.sum(axis=0))] ** 2,
    "number from inside": lambda w: np.sum(w * len(w)) + 0 * int(w[0, 0]),
}


def changed_in_place(w: Array) -> Array:
    """Return a sum of what in-place operators made of a name, which they bind anew."""
    y = w * 2.0
    y += w
    y *= y
    y -= COUNTS
    y /= 3.0
    y **= 2
    return np.sum(y)


@pytest.mark.parametrize("name", [*NUMPY_LOSSES, "changed in place"])
def test_plain_numpy_code_is_differentiated(name: str) -> None:
    """NumPy's functions and methods work on a variable as the standard's do."""
    loss = NUMPY_LOSSES.get(name, changed_in_place)
    w = Variable(np.random.default_rng(1).uniform(0.3, 2.0, size=(2, 3)))
    assert_differentiated(lambda: loss(w.value), [w])


@pytest.mark.parametrize(
    "shapes",
    [
        ((), ()),
        ((), (2, 3)),
        ((3,), (2, 1)),
        ((1, 3), (4, 2, 1)),
        ((2, 1, 3), (4, 1)),
        ((0, 3), (1, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", "add subtract multiply divide pow maximum atan2 hypot".split())
def test_broadcasting(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    """What broadcasting repeats, on either side, collects the gradients of its copies."""
    rng = np.random.default_rng(2)
    a, b = (Variable(rng.uniform(0.5, 2.0, size=shape)) for shape in shapes)
    xp = a.__array_namespace__()
    assert_differentiated(lambda: xp.sum(xp.sin(getattr(xp, name)(a.value, b.value))), [a, b])


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 2)),
        ((1, 2, 3), (5, 3, 2)),
        ((4, 1, 2, 3), (5, 3, 2)),
    ],
    ids=str,
)
def test_products_of_matrices(shapes: tuple[tuple[int, ...], ...]) -> None:
    """Vectors, matrices and stacks of them are multiplied and differentiated as NumPy does it."""
    rng = np.random.default_rng(2)
    a, b = (Variable(rng.normal(size=shape)) for shape in shapes)
    assert_differentiated(lambda: np.sum(np.sin(a.value @ b.value)), [a, b])


def test_ties_are_shared() -> None:
    """Where several elements are the largest, or both sides are, each has its part."""
    w = Variable(np.array([2.0, 1.0, 2.0]))
    _, (gradient,) = value_and_gradients(lambda: np.max(w), [w])
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])
    _, (gradient,) = value_and_gradients(lambda: np.sum(np.maximum(w, 1.0)), [w])
    np.testing.assert_array_equal(gradient, [1.0, 0.5, 1.0])
    _, (gradient,) = value_and_gradients(lambda: np.sum(np.maximum(w, w)), [w])
    np.testing.assert_array_equal(gradient, [1.0, 1.0, 1.0])


def test_kinks_have_the_slope_of_a_side() -> None:
    """At a kink the gradient is finite: of abs 0, of a clipped element at its limit 1."""
    w = Variable(np.array([0.0, 1.0]))
    _, (gradient,) = value_and_gradients(lambda: np.sum(np.abs(w)), [w])
    np.testing.assert_array_equal(gradient, [0.0, 1.0])
    _, (gradient,) = value_and_gradients(lambda: np.sum(np.clip(w, 0.0, 1.0)), [w])
    np.testing.assert_array_equal(gradient, [1.0, 1.0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_have_the_dtype_of_their_variables(dtype: str) -> None:
    """Whatever the loss converts on its way, the gradient is of the variable's own dtype."""
    w = Variable(np.linspace(0.5, 1.5, 3).astype(dtype))
    xp = w.__array_namespace__()

    def wide() -> Array:
        return xp.mean(xp.astype(w.value, np.float64) ** 2 * 0.5)

    for loss in (wide, lambda: xp.sum(xp.exp(w.value) * 2 + 1 / w.value), lambda: w @ w):
        value, (gradient,) = value_and_gradients(loss, [w])
        assert gradient.dtype == w.dtype
        assert value.dtype == (np.float64 if loss is wide else w.dtype)
    _, (gradient,) = value_and_gradients(wide, [w])
    np.testing.assert_allclose(gradient, w.value / 3, rtol=1e-3 if dtype == "float16" else 1e-6)


def test_several_elements_are_summed() -> None:
    """The gradients of a loss that is no scalar are those of the sum of its elements."""
    w = Variable(np.array([1.0, 2.0]))
    value, (gradient,) = value_and_gradients(lambda: w**2, [w])
    np.testing.assert_array_equal(value, [1.0, 4.0])
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


def test_hosts_are_copied_whole() -> None:
    """The rows of a gradient, added up, are what a table that was read whole has."""
    table, rows = Variable(np.arange(6.0).reshape(3, 2)), np.array([2, 2, 0])
    _, (sparse,) = value_and_gradients(lambda: np.sum(table[rows] ** 2), [table])
    one_hot = np.eye(3)[rows]
    _, (dense,) = value_and_gradients(lambda: np.sum((one_hot @ table.value) ** 2), [table])
    np.testing.assert_allclose(whole(sparse, table), host(dense))
