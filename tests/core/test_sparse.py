"""`adamax.sparse`: duplicate rows summed, touched rows advanced, all others left as they are."""

from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from libraries import Library, Usage, compiled_too
from reference_model import NumpyAdamax

from adamax import IndexedSlices, rule
from adamax.sparse import rows_of, set_rows, step_rows, sum_duplicates

Array = Any

pytestmark = pytest.mark.feature("sparse")

HYPER = {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}
# As the reference keeps its own: in float32, but for epsilon.
ROUNDED = {
    "learning_rate": float(np.float32(0.001)),
    "beta_1": float(np.float32(0.9)),
    "beta_2": float(np.float32(0.999)),
    "epsilon": 1e-7,
}


def at(t: int) -> rule.Coefficients:
    return rule.coefficients(t, **HYPER)


def slices(library: Library, values: Any, indices: Any, dtype: str = "int32") -> IndexedSlices:
    return IndexedSlices(library.asarray(values), library.asarray(indices, dtype))


def table(library: Library, x: Any, m: Any = 0, u: Any = 0) -> tuple[Array, Array, Array]:
    """Return a parameter and its slots, the slots broadcast to its shape."""
    m, u = (np.broadcast_to(slot, np.shape(x)) for slot in (m, u))
    return library.asarray(x), library.asarray(m, library.wide), library.asarray(u, library.wide)


def read(library: Library, arrays: tuple[Array, ...]) -> list[Array]:
    dtypes = (library.dtype, library.wide, library.wide)
    return [library.read(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]


def stepped(
    library: Library, arrays: tuple[Array, ...], gradient: IndexedSlices, c: rule.Coefficients
) -> tuple[Array, ...]:
    def step(arrays: tuple[Array, ...], gradient: IndexedSlices) -> tuple[Array, ...]:
        p, m, u = arrays
        return step_rows(p, gradient, (m, u), c)

    return tuple(library.compiled(step)(arrays, gradient))


X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
M = np.array([[0.5, -0.5], [0.25, 1.0], [-1.0, 0.0], [0.125, 0.5]])
U = np.array([[1.0, 2.0], [0.5, 1.0], [4.0, 0.25], [2.0, 1.0]])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_touched_rows_take_the_dense_step(library: Library, dtype: str) -> None:
    """Listed rows are those of the dense rule, and all others stay as they are, bit for bit."""
    if (library.name, dtype) == ("jax.numpy", "int64"):
        pytest.skip("JAX has 32 bits where it is not told otherwise")
    given, values = table(library, X, M, U), [[1.0, 2.0], [-3.0, 0.5]]
    found = read(library, stepped(library, given, slices(library, values, [3, 1], dtype), at(4)))
    rows = table(library, X[[3, 1]], M[[3, 1]], U[[3, 1]])
    expected = read(library, rule.step(rows[0], library.asarray(values), *rows[1:], at(4)))
    for new, old, row in zip(found, read(library, given), expected, strict=True):
        np.testing.assert_array_equal(new[[3, 1]], row)
        np.testing.assert_array_equal(new[[0, 2]], old[[0, 2]])


@compiled_too
def test_other_rows_keep_every_bit(library: Library) -> None:
    """Infinity, NaN and the sign of 0 stay in rows that are not listed."""
    odd = np.array([[np.inf, -0.0], [np.nan, -np.inf], [1.0, 2.0]])
    found = stepped(library, table(library, odd, odd, odd), slices(library, [[1, 1]], [2]), at(1))
    for new in read(library, found):
        np.testing.assert_array_equal(new[:2], odd[:2])
        np.testing.assert_array_equal(np.signbit(new[:2]), np.signbit(odd[:2]))


@compiled_too
def test_duplicate_rows_are_summed_first(library: Library) -> None:
    """Rows listed twice take one step with the sum, and u sees the sum's absolute value."""
    zeros = table(library, np.zeros((4, 1)))
    found = stepped(library, zeros, slices(library, [[1], [2], [4], [8]], [3, 0, 3, 0]), at(1))
    _, m, u = read(library, found)
    np.testing.assert_array_equal(u[:, 0], [10, 0, 0, 5])
    np.testing.assert_allclose(m[:, 0], [2, 0, 0, 1], rtol=1e-6)


@compiled_too
def test_duplicates_may_cancel(library: Library) -> None:
    """Duplicates that sum to 0 are a gradient of 0: the row moves by its momentum alone."""
    given = table(library, X, M, U)
    found = stepped(library, given, slices(library, [[3, -4], [-3, 4]], [2, 2]), at(2))
    expected = stepped(library, given, slices(library, [[0, 0]], [2]), at(2))
    for new, other in zip(read(library, found), read(library, expected), strict=True):
        np.testing.assert_array_equal(new, other)


@compiled_too
def test_neighbours_of_a_row_that_is_not_finite(library: Library) -> None:
    """NaN and infinity stay in their rows while duplicates are summed."""
    values = [[np.nan], [1], [np.inf], [1], [2], [np.inf]]
    gradient = slices(library, values, [1, 0, 2, 0, 3, 2])
    with np.errstate(invalid="ignore"):
        _, m, u = read(library, stepped(library, table(library, np.zeros((4, 1))), gradient, at(1)))
    np.testing.assert_array_equal(u[:, 0], [2, np.nan, np.inf, 2])
    np.testing.assert_array_equal(np.isfinite(m[:, 0]), [True, False, False, True])


def test_no_rows(library: Library) -> None:
    """An empty gradient changes nothing, of a table without rows too."""
    for x in (X, np.zeros((0, 2))):
        given = table(library, x)
        empty = slices(library, np.zeros((0, 2)), np.zeros(0))
        found = stepped(library, given, empty, at(1))
        for new, old in zip(read(library, found), read(library, given), strict=True):
            np.testing.assert_array_equal(new, old)
        indices, *rows = rows_of(given[0], empty, given[1:], at(1))
        assert [array.shape for array in (indices, *rows)] == [(0,), (0, 2), (0, 2), (0, 2)]


@compiled_too
def test_one_column_serves_all(library: Library) -> None:
    """A row of values that is one column wide is that of every column."""
    given = table(library, X, M, U)
    found = stepped(library, given, slices(library, [[2], [-1], [3]], [0, 3, 0]), at(1))
    expected = stepped(
        library, given, slices(library, [[2, 2], [-1, -1], [3, 3]], [0, 3, 0]), at(1)
    )
    for new, other in zip(read(library, found), read(library, expected), strict=True):
        np.testing.assert_array_equal(new, other)


@compiled_too
def test_rows_outside_the_table_are_left_out(library: Library) -> None:
    """What no check on the host could see does no harm: rows that are not there change nothing."""
    given = table(library, X, M, U)
    outside = slices(library, [[1, 1]] * 5, [-1, 4, 1, -9, 100])
    found = stepped(library, given, outside, at(3))
    expected = stepped(library, given, slices(library, [[1, 1]], [1]), at(3))
    for new, other in zip(read(library, found), read(library, expected), strict=True):
        np.testing.assert_array_equal(new, other)


@compiled_too
def test_inputs_are_left_as_they_are(library: Library) -> None:
    """A step of rows writes to none of its arrays."""
    given = table(library, X, M, U)
    gradient = slices(library, [[1, 1], [2, 2]], [2, 2])
    stepped(library, given, gradient, at(1))
    for array, numbers in zip(read(library, given), (X, M, U), strict=True):
        np.testing.assert_array_equal(array, numbers)
    np.testing.assert_array_equal(library.read(gradient.values), [[1, 1], [2, 2]])
    np.testing.assert_array_equal(library.read(gradient.indices, "int32"), [2, 2])


def test_equal_indices_carry_equal_rows(library: Library) -> None:
    """`rows_of` returns rows in ascending order, one for every listed index, duplicates alike."""
    given = table(library, X, M, U)
    gradient = slices(library, [[1, 2], [3, 4], [5, 6], [7, 8]], [3, 0, 3, 1])
    indices, *rows = rows_of(given[0], gradient, given[1:], at(1))
    np.testing.assert_array_equal(library.read(indices, "int32"), [0, 1, 3, 3])
    whole = read(library, stepped(library, given, gradient, at(1)))
    for row, new in zip(read(library, tuple(rows)), whole, strict=True):
        np.testing.assert_array_equal(row, new[[0, 1, 3, 3]])


def test_dense_shape_is_carried() -> None:
    """`dense_shape` comes through the summing of duplicates; it may be left out."""
    gradient = IndexedSlices(np.ones((2, 1)), np.array([1, 1]), (5, 1))
    assert sum_duplicates(gradient, np).dense_shape == (5, 1)
    assert IndexedSlices(np.ones((2, 1)), np.array([1, 1])).dense_shape is None


@pytest.mark.parametrize(
    ("start", "gradient", "expected"),
    [
        ([1, 2, 3], ([0.1, 0.1], [0, 1]), [0.9970000028575049, 1.9970000028575046, 3]),
        ([4, 5, 6], ([0.01, 0.01], [2, 1]), [4, 4.997000029857209, 5.997000029857209]),
        ([[1], [2]], ([[0.1], [0.1]], [1, 1]), [[1], [1.997000001357507]]),
    ],
)
def test_numbers_of_the_reference(start: Any, gradient: Any, expected: Any) -> None:
    """Three sparse steps in float64 give the numbers printed by TensorFlow 1.15.5."""
    library = Library(Usage.NUMPY, "float64")
    arrays = table(library, start)
    for t in (1, 2, 3):
        c = rule.coefficients(t, **ROUNDED)
        arrays = stepped(library, arrays, slices(library, *gradient), c)
    np.testing.assert_allclose(arrays[0], expected, rtol=1e-15, atol=0)


def test_small_updates_of_float16_are_lost_as_in_the_reference() -> None:
    """A float16 parameter stays where an update is below half of its last digit."""
    library = Library(Usage.NUMPY, "float16")
    arrays = table(library, [4, 5, 6])
    for t in (1, 2, 3):
        c = rule.coefficients(t, **ROUNDED)
        arrays = stepped(library, arrays, slices(library, [0.01, 0.01], [2, 1]), c)
    np.testing.assert_array_equal(arrays[0], [4, 5, 6])
    assert arrays[1][1] > 0


@st.composite
def tables(draw: st.DrawFn) -> tuple[Array, list[tuple[Array, Array]]]:
    """Return a table and gradients of its rows: (values, indices), often with duplicates."""
    rows, row = draw(st.integers(1, 6)), draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    elements = st.floats(-10, 10, width=32)
    x = draw(hnp.arrays(np.float64, (rows, *row), elements=elements))
    gradients = []
    for count in draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)):
        values = draw(hnp.arrays(np.float64, (count, *row), elements=elements))
        dtype = draw(st.sampled_from([np.int32, np.int64]))
        indices = draw(hnp.arrays(dtype, count, elements=st.integers(0, rows - 1)))
        gradients.append((values, indices))
    return x, gradients


@pytest.mark.parametrize("usage", [Usage.NUMPY, Usage.STRICT_2024])
@pytest.mark.usefixtures("standard_only")
@given(tables())
def test_any_rows_follow_the_reference_model(
    usage: Usage, problem: tuple[Array, list[tuple[Array, Array]]]
) -> None:
    """Whatever rows a gradient lists, the table goes where a loop over rows in NumPy goes."""
    x, gradients = problem
    library, model = Library(usage, "float64"), NumpyAdamax([x], **HYPER)
    arrays = table(library, x)
    for t, (values, indices) in enumerate(gradients, start=1):
        model.step([(values, indices)])
        gradient = slices(library, values, indices, indices.dtype.name)
        arrays = stepped(library, arrays, gradient, at(t))
    for array, numbers in zip(read(library, arrays), (model.x, model.m, model.v), strict=True):
        np.testing.assert_allclose(array, numbers[0], rtol=1e-9, atol=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-1000, 1000)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_order_of_rows_does_not_matter(listed: list[tuple[int, int]], random: Any) -> None:
    """Sums that are exact are those of a dictionary, in whatever order the rows come."""
    totals: dict[int, int] = {}
    for index, value in listed:
        totals[index] = totals.get(index, 0) + value
    for _ in range(3):
        indices = np.array([index for index, _ in listed], np.int64)
        values = np.array([[value] for _, value in listed], np.float64).reshape(-1, 1)
        summed = sum_duplicates(IndexedSlices(values, indices), np)
        assert list(summed.indices) == sorted(indices)
        assert [totals[i] for i in summed.indices] == list(summed.values[:, 0])
        random.shuffle(listed)


def pairwise(values: list[float]) -> float:
    """Return the sum of two halves, the first of which is as long as a power of 2."""
    if len(values) == 1:
        return values[0]
    half = 1 << (len(values) - 1).bit_length() - 1
    return pairwise(values[:half]) + pairwise(values[half:])


def test_sums_are_pairwise_in_order_of_appearance() -> None:
    """Sums that are rounded are the same on every machine: pairwise, in order of appearance."""
    rng = np.random.default_rng(2)
    indices, values = (
        rng.integers(0, 6, size=500),
        rng.normal(size=500) * 10.0 ** rng.integers(9, size=500),
    )
    summed = sum_duplicates(IndexedSlices(values[:, None], indices), np)
    for index, total in zip(summed.indices, summed.values[:, 0], strict=True):
        assert total == pairwise(values[indices == index].tolist())


def test_many_duplicates_are_summed_exactly() -> None:
    """The sum of a million equal rows in float32 keeps its digits, as it is taken pairwise."""
    count = 10**6
    gradient = IndexedSlices(np.full((count, 1), 0.1, np.float32), np.zeros(count, np.int64))
    total = sum_duplicates(gradient, np).values[0, 0]
    assert total == pytest.approx(count * float(np.float32(0.1)), rel=1e-6)


def test_set_rows_leaves_the_table(library: Library) -> None:
    """`set_rows` returns another table, with the rows at their indices."""
    given, rows = library.asarray(X), library.asarray([[9, 9], [9, 9], [0, 1]])
    found = set_rows(given, library.asarray([0, 0, 2], "int32"), rows, library.xp)
    np.testing.assert_array_equal(library.read(given), X)
    np.testing.assert_array_equal(library.read(found), [[9, 9], [3, 4], [0, 1], [7, 8]])


def test_arrays_of_two_libraries_are_refused(standard_only: None) -> None:
    """Values of another library than the table's are a TypeError."""
    gradient = IndexedSlices(array_api_strict.ones((1, 2)), np.array([0]))
    with pytest.raises(TypeError, match="Multiple namespaces"):
        step_rows(X, gradient, (M, U), at(1))
