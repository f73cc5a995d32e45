"""Steps of some rows of a table: what the optimizer does with `IndexedSlices`."""

from typing import Any

import numpy as np
import pytest
from libraries import Library
from snapshots import snapshot

from adamax import Adamax, IndexedSlices, Variable

Array = Any

pytestmark = pytest.mark.feature("sparse")


def table(library: Library, *shape: int) -> Variable:
    return Variable(library.asarray(np.ones(shape)), name="table")


def numpy_table(*shape: int) -> Variable:
    return Variable(np.ones(shape), name="table")


def rows(library: Library, values: Any, indices: Any) -> IndexedSlices:
    return IndexedSlices(library.asarray(values), library.asarray(indices, "int32"))


def slots(optimizer: Adamax, x: Variable) -> tuple[Array, Array]:
    return optimizer.get_slot(x, "m").value, optimizer.get_slot(x, "v").value


def state(library: Library, optimizer: Adamax, x: Variable) -> list[Array]:
    moments = [library.read(slot, library.wide) for slot in slots(optimizer, x)]
    return [library.read(x.value), *moments]


def test_duplicates_are_summed_first(library: Library) -> None:
    """Rows [3, 0, 3, 0] of 1, 2, 4, 8: v of row 3 is 5 and of row 0 is 10, the sums."""
    x, optimizer = table(library, 5), Adamax()
    optimizer.apply_gradients([(rows(library, [1, 2, 4, 8], [3, 0, 3, 0]), x)])
    m, v = slots(optimizer, x)
    library.assert_close(v, [10, 0, 0, 5, 0], library.wide, roundings=0)
    library.assert_close(m, [1, 0, 0, 0.5, 0], library.wide)


def test_duplicates_that_cancel_are_a_zero_gradient(library: Library) -> None:
    """Two gradients of one row that add up to 0 leave the row where it is."""
    x, optimizer = table(library, 3), Adamax()
    optimizer.apply_gradients([(rows(library, [4, -4], [1, 1]), x)])
    for found, expected in zip(state(library, optimizer, x), (1, 0, 0), strict=True):
        np.testing.assert_array_equal(found, np.full(3, expected))


def test_other_rows_keep_still(library: Library) -> None:
    """Rows that are not listed keep variable, m and v; listed ones with gradient 0 move on."""
    x, optimizer = table(library, 3), Adamax(0.1, epsilon=0.0)
    optimizer.apply_gradients([(library.asarray(np.ones(3)), x)])
    before = state(library, optimizer, x)
    optimizer.apply_gradients([(rows(library, [0], [1]), x)])
    after = state(library, optimizer, x)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new[[0, 2]], old[[0, 2]])
    m, v = 0.1 * 0.9, 0.999
    moved = before[0][1] - 0.1 / (1 - 0.9**2) * m / v
    library.assert_close(x.value[1:2], [moved], scale=1)
    for slot, expected in zip(slots(optimizer, x), (m, v), strict=True):
        library.assert_close(slot[1:2], [expected], library.wide)


def test_a_dense_step_moves_all_rows_again(library: Library) -> None:
    """After sparse steps a dense one, even of zeros, moves every row that has momentum."""
    x, optimizer = table(library, 3), Adamax(0.1)
    optimizer.apply_gradients([(rows(library, [1, -1], [0, 2]), x)])
    before = state(library, optimizer, x)[0]
    optimizer.apply_gradients([(library.asarray(np.zeros(3)), x)])
    after = state(library, optimizer, x)[0]
    np.testing.assert_array_equal(np.sign(after - before), [-1, 0, 1])


def test_t_is_that_of_the_optimizer(library: Library) -> None:
    """A row first listed at t = 3 is corrected for t = 3, not for its own first time."""
    x, optimizer = table(library, 2), Adamax(0.1, epsilon=0.0)
    for row in (0, 0, 1):
        optimizer.apply_gradients([(rows(library, [1], [row]), x)])
    library.assert_close(x.value[1:], [1 - 0.1 * 0.1 / (1 - 0.9**3)])


def test_no_rows_are_a_step_that_moves_nothing(library: Library) -> None:
    """An empty gradient counts a step and changes neither variable nor slots."""
    x, optimizer = table(library, 3, 2), Adamax()
    optimizer.apply_gradients([(library.asarray(np.ones((3, 2))), x)])
    before = state(library, optimizer, x)
    optimizer.apply_gradients([(rows(library, np.ones((0, 2)), []), x)])
    for old, new in zip(before, state(library, optimizer, x), strict=True):
        np.testing.assert_array_equal(new, old)
    assert optimizer.iterations == 2


def test_a_table_without_rows_takes_steps_too(library: Library) -> None:
    """A table of no rows has a gradient of no rows, and one of its own shape."""
    x, optimizer = table(library, 0, 2), Adamax()
    optimizer.apply_gradients([(rows(library, np.ones((0, 2)), []), x)])
    optimizer.apply_gradients([(library.asarray(np.ones((0, 2))), x)])
    assert optimizer.iterations == 2
    library.assert_close(x.value, np.ones((0, 2)))


def test_rows_may_broadcast(library: Library) -> None:
    """One column of values stands for all columns of its row."""
    x, optimizer = table(library, 3, 4), Adamax()
    optimizer.apply_gradients([(rows(library, [[2], [3], [4]], [0, 2, 2]), x)])
    expected = np.outer([2, 0, 7], np.ones(4))
    library.assert_close(slots(optimizer, x)[1], expected, library.wide, roundings=0)


@pytest.mark.parametrize("dense_shape", [None, (3, 1), (99, 7)])
def test_dense_shape_does_not_count(dense_shape: Any) -> None:
    """The table's own shape is what counts, whatever the gradient carries."""
    x, optimizer = numpy_table(3, 1), Adamax()
    gradient = IndexedSlices(np.ones((1, 1)), np.array([2]), dense_shape)
    optimizer.apply_gradients([(gradient, x)])
    np.testing.assert_array_equal(optimizer.get_slot(x, "v").value, [[0], [0], [1]])


@pytest.mark.parametrize("indices", [[2, 0], (2, 0), np.array([2, 0], np.int32), Variable])
def test_indices_and_values_of_every_kind(indices: Any) -> None:
    """Lists, tuples, int32 and Variables will do for rows and for values."""
    values: Any = [[1.0], [2.0]]
    if indices is Variable:
        indices, values = Variable(np.array([2, 0])), Variable(np.array(values))
    x, optimizer = numpy_table(3, 1), Adamax()
    optimizer.apply_gradients([(IndexedSlices(values, indices), x)])
    np.testing.assert_array_equal(optimizer.get_slot(x, "v").value, [[2], [0], [1]])


ONE = np.ones((1, 2))
MISFITS: list[tuple[IndexedSlices, type[Exception], str]] = [
    (
        IndexedSlices(ONE, np.array([3])),
        ValueError,
        r"received 3, for .*table: 3 is not in \[0, 3\)",
    ),
    (
        IndexedSlices(ONE, np.array([-1])),
        ValueError,
        r"received -1, for .*table: -1 is not in \[0, 3\)",
    ),
    (IndexedSlices(ONE, np.array([0], np.int16)), ValueError, "int32 or int64, received 1-d int16"),
    (IndexedSlices(ONE, np.array([0.0])), ValueError, "int32 or int64, received 1-d float64"),
    (IndexedSlices(ONE, np.array([[0]])), ValueError, "int32 or int64, received 2-d int64"),
    (IndexedSlices(ONE, np.asarray(0)), ValueError, "int32 or int64, received 0-d int64"),
    (
        IndexedSlices(ONE, np.array([0, 1])),
        ValueError,
        r"one row of values for each index.*\(1, 2\)",
    ),
    (IndexedSlices(np.ones(1), np.array([0])), ValueError, r"values of shape \(1, 2\)"),
    (IndexedSlices(np.ones((1, 3)), np.array([0])), ValueError, r"\(1, 2\), received \(1, 3\)"),
    (IndexedSlices(np.ones((1, 2), int), np.array([0])), ValueError, "received int64"),
    (IndexedSlices(ONE, None), TypeError, "NoneType"),
    (IndexedSlices(None, np.array([0])), TypeError, "NoneType"),
]


@pytest.mark.parametrize(("gradient", "error", "message"), MISFITS)
def test_rows_that_do_not_fit_are_refused(
    gradient: IndexedSlices, error: type[Exception], message: str
) -> None:
    """Rows that are not there, wrong dtypes and lengths: an error with the name, no change."""
    x, optimizer = numpy_table(3, 2), Adamax()
    before = snapshot(optimizer, x)
    with pytest.raises(error, match=message) as caught:
        optimizer.apply_gradients([(gradient, x)])
    assert "the sparse gradient of table" in str(caught.value)
    assert snapshot(optimizer, x) == before


def test_rows_and_constraints_do_not_go_together() -> None:
    """A constraint has to see the whole variable, which a sparse step does not touch."""
    x, optimizer = Variable(np.ones((3, 2)), name="table", constraint=np.abs), Adamax()
    with pytest.raises(RuntimeError, match=r"constraint function on a sparse variable: .*table"):
        optimizer.apply_gradients([(IndexedSlices(ONE, np.array([0])), x)])
    assert optimizer.get_slot_names() == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_of_a_raw_array_are_written_in_place(dtype: str) -> None:
    """Sparse steps write only the listed rows of a raw array, of whatever layout."""
    buffer = np.ones((6, 8), dtype)
    view, optimizer = buffer[::2, ::-2], Adamax(0.5, epsilon=0.0)
    optimizer.apply_gradients([(IndexedSlices(np.ones((1, 4), dtype), np.array([1])), view)])
    expected = np.ones((6, 8))
    expected[2, 1::2] = 0.5
    np.testing.assert_array_equal(buffer, expected)
