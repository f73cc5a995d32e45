"""`adamax.clipping`: by value, by norm, by global norm, and the order of the three."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from types import FunctionType
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from libraries import Library, compiled_too

from adamax import IndexedSlices, clipping
from adamax.clipping import (
    SMALL_ELEMENTS,
    clip_all,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
)
from adamax.sparse import sum_duplicates

Array = Any


def clip_one_globally(grad: Any, limit: Any) -> Any:
    return clip_by_global_norm([grad], limit)[0]


pytestmark = pytest.mark.feature("clipping")
each_way = pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm, clip_one_globally])
each_norm = pytest.mark.parametrize("clip", [clip_by_norm, clip_one_globally])
Clip = Callable[..., Any]


@compiled_too
def test_norm_comes_before_value(library: Library) -> None:
    """[3, 4] under a norm of 1 and a value of 0.7 is [0.6, 0.7]: in TF 1.15; later [0.7, 0.7]."""
    clip = library.compiled(partial(clip_all, norm=1.0, value=0.7, global_norm=None))
    (found,) = clip([library.asarray([3, 4])])
    library.assert_close(found, [0.6, 0.7])


@compiled_too
def test_global_norm_comes_last(library: Library) -> None:
    """The global norm is that of gradients that are clipped already."""
    grads = [library.asarray([30, 40]), library.asarray([0.5])]
    found = library.compiled(partial(clip_all, norm=1.0, value=0.5, global_norm=0.5))(grads)
    for array, expected in zip(found, ([0.5, 0.5], [0.5]), strict=True):
        library.assert_close(array, np.array(expected) * 0.5 / math.sqrt(0.75))


def test_no_limit_clips_nothing(library: Library) -> None:
    """Without limits the very gradients come back."""
    grads = [library.asarray([3e4, -4]), library.asarray(1)]
    found = clip_all(grads, None, None, None)
    assert all(new is old for new, old in zip(found, grads, strict=True))


@compiled_too
@each_way
def test_a_limit_beyond_the_dtype_clips_nothing(clip: Clip, library: Library) -> None:
    """1e300, which 32 bits cannot hold, is no limit: not even for an infinity."""
    numbers = [3, -math.inf] if clip is clip_by_value else [3, -4]
    found = library.compiled(partial(clip, limit=1e300))(library.asarray(numbers))
    expected = np.maximum(numbers, -1e300 if library.dtype == "float64" else -math.inf)
    np.testing.assert_array_equal(library.read(found), expected)


@compiled_too
@pytest.mark.parametrize(("value", "global_norm"), [(0.5, None), (None, 2.0), (0.5, 2.0)])
def test_gradients_of_many_kinds_are_clipped_together(
    library: Library,
    value: float | None,
    global_norm: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small, large, empty and 0-d gradients and rows come back in their order and shapes."""
    monkeypatch.setattr(clipping, "SMALL_ELEMENTS", 6)
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (), (7,), (0, 2), (4,), (3, 2)]
    numbers = [library.rounded(rng.normal(size=shape)).astype(float) for shape in shapes]
    wanted = [x if value is None else x.clip(-value, value) for x in numbers]
    if global_norm is not None:
        norm = math.sqrt(sum(float((x**2).sum()) for x in wanted))
        assert norm > global_norm
        wanted = [x * (global_norm / norm) for x in wanted]
    *arrays, values = map(library.asarray, numbers)
    rows = IndexedSlices(values, library.asarray([1, 4, 1], "int32"))
    clip = library.compiled(partial(clip_all, norm=None, value=value, global_norm=global_norm))
    *found, found_rows = clip([*arrays, rows])
    for grad, expected in zip([*found, found_rows.values], wanted, strict=True):
        library.assert_close(grad, expected)


def test_small_gradients_cost_the_calls_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred small gradients take as many calls of the library as two; their parts are views.

    Each count is with one large gradient, which is clipped on its own.
    """
    calls: Counter[str] = Counter()

    def counted(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        calls[function.__name__] += 1
        return function(*args, **options)

    for name, function in vars(array_api_strict).items():
        if isinstance(function, FunctionType):
            monkeypatch.setattr(array_api_strict, name, partial(counted, function))
    counts = []
    for count in (2, 200):
        grads = [np.full(100, float(i)) for i in range(count)] + [np.ones(SMALL_ELEMENTS + 1)]
        given = [array_api_strict.asarray(grad) for grad in grads]
        calls.clear()
        found = clip_all(given, None, 150.0, 1e9)
        counts.append({name: n for name, n in calls.items() if name != "reshape"})
        for new, grad in zip(found, grads, strict=True):
            np.testing.assert_array_equal(np.asarray(new), grad.clip(-150, 150))
    assert counts[0] == counts[1]
    assert counts[0]["clip"] > 1


@compiled_too
def test_value(library: Library) -> None:
    """Elements beyond the limit are cut to it, either sign; those within stay bit for bit."""
    clip = library.compiled(partial(clip_by_value, limit=0.5))
    found = clip(library.asarray([-3, -0.7, 0, 0.3, 0.7, 1e4]))
    np.testing.assert_array_equal(
        library.read(found), [-0.5, -0.5, 0, library.rounded(0.3).astype(float), 0.5, 0.5]
    )


@pytest.mark.parametrize(
    ("gradient", "limit", "expected"),
    [
        ([3, 4], 1.0, [0.6, 0.8]),
        ([3, 4], 5.0, [3, 4]),
        ([3, 4], 6.0, [3, 4]),
        ([[3], [-4]], 2.5, [[1.5], [-2]]),
        ([3], 1.0, [1]),  # the reference's tests clip a gradient of 3 to 1 in both ways
        (-3, 1.0, -1),
        ([0, 0], 1.0, [0, 0]),
        ([0, 0], 0.0, [0, 0]),
        ([3, 4], 0.0, [0, 0]),
        (np.zeros((0, 2)), 1.0, np.zeros((0, 2))),
    ],
)
@each_norm
@compiled_too
def test_norm(library: Library, clip: Clip, gradient: Any, limit: float, expected: Any) -> None:
    """A gradient longer than the limit is scaled down to it; any other, 0 too, stays as it is."""
    found = library.compiled(partial(clip, limit=limit))(library.asarray(gradient))
    library.assert_close(found, expected)


@compiled_too
def test_global_norm_is_that_of_all(library: Library) -> None:
    """Gradients 3 and 4 clipped to 2 are 1.2 and 1.6, as in the reference's test."""
    clip = library.compiled(partial(clip_by_global_norm, limit=2.0))
    found = clip([library.asarray([3]), library.asarray([[4]])])
    library.assert_close(found[0], [1.2])
    library.assert_close(found[1], [[1.6]])
    within = clip_by_global_norm([library.asarray([3]), library.asarray([[4]])], 5.0)
    assert [library.read(array).item() for array in within] == [3, 4]


def test_global_norm_of_nothing() -> None:
    """Without gradients there is nothing to clip."""
    assert clip_by_global_norm([], 1.0) == []


def test_global_norm_of_several_dtypes() -> None:
    """Every gradient keeps its own dtype; the norm is taken in the widest."""
    grads = [np.full(1, 3, dtype) for dtype in (np.float16, np.float32, np.float64)]
    found: list[Array] = clip_by_global_norm(grads, 1.0)
    assert [grad.dtype for grad in found] == [grad.dtype for grad in grads]
    assert found[2][0] == pytest.approx(1 / math.sqrt(3), rel=1e-15)
    np.testing.assert_allclose([float(grad[0]) for grad in found], 1 / math.sqrt(3), rtol=1e-3)


@each_way
def test_shape_dtype_and_kind_are_kept(library: Library, clip: Clip) -> None:
    """A 0-d array stays an array, of its dtype, device and library; inputs are not written to."""
    gradient = library.asarray(3)
    found = clip(gradient, 1.0)
    assert library.read(found).shape == ()
    library.assert_close(found, 1)
    assert library.read(gradient) == 3


@each_way
@compiled_too
def test_sparse_values_are_clipped_as_given(library: Library, clip: Clip) -> None:
    """Three rows of 3s, one listed twice: the values are clipped before duplicates are summed."""
    values, indices = library.asarray(np.full((3, 2), 3)), library.asarray([0, 0, 2], "int32")
    found = library.compiled(partial(clip, limit=1.0))(IndexedSlices(values, indices))
    each = 1 if clip is clip_by_value else 1 / math.sqrt(6)
    library.assert_close(found.values, np.full((3, 2), each))
    np.testing.assert_array_equal(library.read(found.indices, "int32"), [0, 0, 2])
    summed = sum_duplicates(found, library.xp)
    library.assert_close(summed.values, np.array([[2, 2], [2, 2], [1, 1]]) * each)


@each_way
def test_rows_are_carried(clip: Clip) -> None:
    """Indices and `dense_shape` are those that were given."""
    given_slices = IndexedSlices(np.ones((2, 2)), np.array([1, 0]), (4, 2))
    found = clip(given_slices, 1.0)
    assert found.indices is given_slices.indices
    assert found.dense_shape == (4, 2)


def test_nan_stays(library: Library) -> None:
    """NaN stays where it is under a limit of value, and spreads to all under one of norm."""
    gradient = library.asarray([math.nan, 1, 9])
    np.testing.assert_array_equal(library.read(clip_by_value(gradient, 2.0)), [math.nan, 1, 2])
    np.testing.assert_array_equal(library.read(clip_by_norm(gradient, 2.0)), [math.nan] * 3)
    for array in clip_by_global_norm([gradient, library.asarray([1])], 2.0):
        assert np.isnan(library.read(array)).all()


def test_infinity(library: Library) -> None:
    """An infinity is cut to the limit of value; under a norm it is NaN, and finite elements 0."""
    gradient = library.asarray([-math.inf, 1])
    np.testing.assert_array_equal(library.read(clip_by_value(gradient, 2.0)), [-2, 1])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(library.read(clip_by_norm(gradient, 2.0)), [math.nan, 0])
        for array in clip_by_global_norm([gradient, library.asarray([1])], 2.0):
            assert np.isnan(library.read(array)).all()


# The powers of 2 between which 3 and 4 times one, half of that and 5 times it are numbers.
POWERS = {"float16": (-22, 12), "bfloat16": (-130, 124), "float32": (-146, 125)}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
@each_norm
def test_norm_neither_overflows_nor_vanishes(library: Library, clip: Clip, share: float) -> None:
    """The norm of numbers whose squares are none is exact: 3 and 4, times a power of 2, make 5."""
    low, high = POWERS.get(library.dtype, (-1070, 1020))
    if library.name == "jax.numpy":
        low = -120  # XLA takes numbers below the smallest normal one for 0
    scale = 2.0 ** int(low + share * (high - low))
    found = clip(library.asarray([3 * scale, 4 * scale]), 2.5 * scale)
    library.assert_close(found, [1.5 * scale, 2 * scale])


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.floats(1e-3, 1e30),
)
def test_norms_are_those_of_fractions(gradient: Array, limit: float) -> None:
    """A clipped gradient has the direction of the given one, and the norm in exact arithmetic."""
    found: Array = clip_by_norm(gradient, limit)
    norm = math.sqrt(sum(Fraction(x) ** 2 for x in gradient.ravel().tolist()))
    tolerance = 1e-5 if gradient.dtype == np.float32 else 1e-13
    expected = gradient.astype(float) * min(1, limit / norm if norm else 1)
    assert found.dtype == gradient.dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=float(np.float32(1e-38)))
    if norm < limit * (1 - tolerance):
        np.testing.assert_array_equal(found, gradient)


@each_way
@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        (-1.0, ValueError, r"Expected limit >= 0, received: -1\.0"),
        (math.nan, ValueError, "Expected limit to be a finite number, received: nan"),
        (math.inf, ValueError, "Expected limit to be a finite number, received: inf"),
        (None, ValueError, "Expected limit to be a number, received: None"),
        ("1", TypeError, "Expected limit to be a number, received: '1' of type str"),
    ],
)
def test_limits_are_checked(clip: Clip, limit: Any, error: type[Exception], message: str) -> None:
    """A limit that would flip the gradient or make it NaN is an error that names it."""
    with pytest.raises(error, match=message):
        clip(np.ones(2), limit)


@each_way
@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (np.array([3, 4]), ValueError, "Invalid type int64 for the gradient: expected one of"),
        (np.array([3j]), ValueError, "Invalid type complex128 for the gradient"),
        ([3.0, 4.0], TypeError, "received list, for the gradient"),
        (None, TypeError, "received NoneType, for the gradient"),
    ],
)
def test_gradients_are_checked(
    clip: Clip, gradient: Any, error: type[Exception], message: str
) -> None:
    """What is no array of a real floating dtype is refused, not rounded to whole numbers."""
    with pytest.raises(error, match=message):
        clip(gradient, 1.0)


def test_global_norm_over_two_devices_is_refused(standard_only: None) -> None:
    """Gradients on two devices are an error that names both, not a silent wait for a copy."""
    grads = [
        array_api_strict.ones(2, device=array_api_strict.Device(name))
        for name in ("device1", "device2")
    ]
    with pytest.raises(ValueError, match=r"on one device, received .*device1.*device2"):
        clip_by_global_norm(grads, 1.0)


def test_global_norm_over_two_libraries_is_refused(standard_only: None) -> None:
    """Gradients of two libraries have no common norm."""
    with pytest.raises(TypeError, match="Multiple namespaces"):
        clip_by_global_norm([np.ones(2), array_api_strict.ones(2)], 1.0)
