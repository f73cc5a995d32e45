"""The steps that an optimizer takes: in what order things are read, and their arithmetic."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from libraries import Library
from reference_model import NumpyAdamax

from adamax import Adamax, IndexedSlices, Variable

Array = Any

pytestmark = pytest.mark.feature("dense")


# one variable as the gradient of another


def half_step() -> Adamax:
    """Return an optimizer whose m after the first step is the gradient itself."""
    return Adamax(0.5, beta_1=0.0, epsilon=0.0)


@pytest.mark.parametrize("raw", [False, True])
def test_every_gradient_is_read_before_a_variable_changes(library: Library, raw: bool) -> None:
    """The gradients of x * y are y and x themselves, as they were before the step."""
    if raw and library.name in ("jax.numpy", "dask.array"):
        pytest.skip("raw arrays of the library are not updated in place")
    a, b = (Variable(library.asarray([x])) for x in (1, -3))
    optimizer = half_step()
    if raw:
        optimizer.apply_gradients([(b.value, a.value), (a.value, b.value)])
    else:
        optimizer.apply_gradients([(b, a), (a, b)])
    for x, m, moved in ((a, -3, 1.5), (b, 1, -3.5)):
        library.assert_close(optimizer.get_slot(x, "m").value, [m], library.wide, roundings=0)
        library.assert_close(x.value, [moved], roundings=0)


def test_views_of_a_variable_are_gradients_too() -> None:
    """A transposed view, a slice and rows of one variable are read before it changes."""
    x, optimizer = Variable(np.array([[1.0, 2.0], [3.0, 4.0]])), half_step()
    others = [Variable(np.ones(shape)) for shape in ((2, 2), (2,), (2, 2))]
    rows = IndexedSlices(x.value[1:], np.array([0]))
    gradients = [np.ones((2, 2)), x.value.T, x.value[0], rows]
    optimizer.apply_gradients(zip(gradients, [x, *others], strict=True))
    found = [optimizer.get_slot(other, "m").numpy() for other in others]
    np.testing.assert_array_equal(found[0], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(found[1], [1, 2])
    np.testing.assert_array_equal(found[2], [[3, 4], [0, 0]])


def test_a_variable_may_be_its_own_gradient() -> None:
    """Given twice with itself as gradient, it takes both steps with the gradient it had."""
    x, optimizer = Variable(np.array([1.0])), half_step()
    optimizer.apply_gradients([(x, x), (x.value, x)])
    np.testing.assert_array_equal(x.value, [0.0])
    np.testing.assert_array_equal(optimizer.get_slot(x, "m").value, [1.0])


def test_minimize_reads_gradients_first() -> None:
    """A loss that returns its variables as gradients is minimised in all of them at once."""
    x, y, optimizer = Variable(np.array([1.0])), Variable(np.array([-3.0])), half_step()
    optimizer.minimize(lambda: (x.value * y.value, [y.value, x.value]), [x, y])
    np.testing.assert_array_equal([x.value, y.value], [[1.5], [-3.5]])


# arithmetic at its limits


def test_zero_gradients_leave_variables_alone(library: Library) -> None:
    """With the default epsilon a zero gradient from the start moves nothing, in any dtype."""
    x, optimizer = Variable(library.asarray([1, 1])), Adamax()
    for _ in range(3):
        optimizer.apply_gradients([(library.asarray([0, 0]), x)])
    library.assert_close(x.value, [1, 1], roundings=0)


def test_a_rate_of_0_still_updates_slots(library: Library) -> None:
    """With learning rate 0, m and v move and the variable does not."""
    x, optimizer = Variable(library.asarray([1])), Adamax(0)
    optimizer.apply_gradients([(library.asarray([5]), x)])
    library.assert_close(x.value, [1], roundings=0)
    library.assert_close(optimizer.get_slot(x, "v").value, [5], library.wide, roundings=0)
    library.assert_close(optimizer.get_slot(x, "m").value, [0.5], library.wide)


def test_betas_of_0(library: Library) -> None:
    """With both betas 0, m is the gradient and v its size, whatever came before."""
    x, optimizer = Variable(library.asarray([0])), Adamax(0.5, 0, 0, 0)
    for gradient in (8.0, -2.0):
        optimizer.apply_gradients([(library.asarray([gradient]), x)])
        for name, expected in (("m", gradient), ("v", abs(gradient))):
            slot = optimizer.get_slot(x, name).value
            library.assert_close(slot, [expected], library.wide, roundings=0)
    library.assert_close(x.value, [0], roundings=0)


def test_epsilon_is_in_the_denominator_only(library: Library) -> None:
    """epsilon is added to v where m is divided by it, and never to v itself."""
    x, optimizer = Variable(library.asarray([0])), Adamax(1.0, 0.0, epsilon=3.0)
    optimizer.apply_gradients([(library.asarray([1]), x)])
    library.assert_close(x.value, [-0.25], roundings=0)
    library.assert_close(optimizer.get_slot(x, "v").value, [1], library.wide, roundings=0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "limits", [{}, {"clipnorm": 1.0}, {"clipvalue": 1.0}, {"global_clipnorm": 1.0}]
)
def test_arithmetic_never_warns(dtype: str, limits: dict[str, Any]) -> None:
    """Infinite and enormous gradients warn of nothing, also where NumPy was told to raise."""
    gradient = np.array([np.inf, -1e300, np.nan, 1e-300])
    x, table = Variable(np.ones(4, dtype)), Variable(np.ones((4, 1), dtype))
    optimizer = Adamax(1e300, **limits)
    with np.errstate(all="raise"):
        for _ in range(2):
            rows = IndexedSlices(gradient[:, None], np.array([0, 1, 2, 3]))
            optimizer.apply_gradients([(gradient, x), (rows, table)])
    assert optimizer.iterations == 2
    assert np.isnan(x.value[2])


def test_infinite_gradients(library: Library) -> None:
    """An infinity makes m and v infinite and the variable NaN, and only its own element."""
    x, optimizer = Variable(library.asarray([0, 0, 0])), Adamax()
    optimizer.apply_gradients([(library.asarray([np.inf, -np.inf, 1]), x)])
    with np.errstate(invalid="ignore"):  # lazy arrays compute now
        m, v = (library.read(optimizer.get_slot(x, name).value, library.wide) for name in "mv")
        found = library.read(x.value)
    np.testing.assert_array_equal(m[:2], [np.inf, -np.inf])
    np.testing.assert_array_equal(v, [np.inf, np.inf, 1])
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])


# 16 bits


def test_float16_variables_have_float32_slots() -> None:
    """The step of a float16 variable is that in float32; only the variable is rounded, at its end.

    In float16 v would stay at its largest value: times .999 it rounds back to itself.
    """
    rng = np.random.default_rng(2)
    x, optimizer = Variable(np.ones(50, np.float16)), Adamax(0.1)
    m = v = np.zeros(50, np.float32)
    expected = np.ones(50, np.float16)
    for t in range(1, 11):
        gradient = rng.normal(size=50).astype(np.float16)
        optimizer.apply_gradients([(gradient, x)])
        g = gradient.astype(np.float32)
        m = m + (g - m) * np.float32(1 - 0.9)
        v = np.maximum(v * np.float32(0.999), np.abs(g))
        size = np.float32(0.1 / (1 - 0.9**t))
        moved = expected.astype(np.float32) - m / (v + np.float32(1e-7)) * size
        expected = moved.astype(np.float16)
        np.testing.assert_array_equal(x.value, expected)
        np.testing.assert_array_equal(optimizer.get_slot(x, "m").value, m)
        np.testing.assert_array_equal(optimizer.get_slot(x, "v").value, v)
    for _ in range(5):
        optimizer.apply_gradients([(np.zeros(50), x)])
    np.testing.assert_allclose(optimizer.get_slot(x, "v").value, v * 0.999**5, rtol=1e-6)


# runs of any kind, in any library

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
gradients = st.floats(-1e3, 1e3)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Array], list[list[Any]], dict[str, Any]]:
    """Return start values, the gradients of every step, and hyperparameters."""
    values = [
        draw(hnp.arrays(np.float64, shape, elements=gradients))
        for shape in draw(st.lists(shapes, min_size=1, max_size=3))
    ]

    def gradient(value: Array) -> Any:
        dense = hnp.arrays(np.float64, value.shape, elements=gradients)
        if value.ndim == 0 or value.shape[0] == 0:
            return draw(dense)
        rows = draw(st.lists(st.integers(0, value.shape[0] - 1), max_size=6))
        of_rows = hnp.arrays(np.float64, (len(rows), *value.shape[1:]), elements=gradients)
        return draw(dense | of_rows.map(lambda found: (found, np.array(rows, np.int64))))

    steps = [[gradient(value) for value in values] for _ in range(draw(st.integers(1, 4)))]
    numbers = {
        "learning_rate": draw(st.floats(0, 1)),
        "beta_1": draw(st.floats(0, 0.99)),
        "beta_2": draw(st.floats(0, 0.9999)),
        "epsilon": draw(st.floats(1e-8, 1)),
    }
    return values, steps, numbers


@given(runs())
def test_any_run_is_that_of_the_model(
    run: tuple[list[Array], list[list[Any]], dict[str, Any]],
) -> None:
    """Dense and sparse steps of variables of any shape are those of the NumPy model."""
    values, steps, numbers = run
    variables, raw = [Variable(value) for value in values], [value.copy() for value in values]
    optimizer, on_raw = Adamax(**numbers), Adamax(**numbers)
    model = NumpyAdamax(values, **numbers)
    for step in steps:
        given_gradients = [IndexedSlices(*g) if isinstance(g, tuple) else g for g in step]
        optimizer.apply_gradients(zip(given_gradients, variables, strict=True))
        on_raw.apply_gradients(zip(given_gradients, raw, strict=True))
        model.step(step)
    tolerance: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
    for i, variable in enumerate(variables):
        np.testing.assert_allclose(variable.value, model.x[i], **tolerance)
        np.testing.assert_array_equal(variable.value, raw[i])
        np.testing.assert_allclose(optimizer.get_slot(variable, "m").value, model.m[i], **tolerance)
        np.testing.assert_allclose(optimizer.get_slot(variable, "v").value, model.v[i], **tolerance)


@pytest.mark.feature("dense", "sparse")
def test_a_run_in_every_library(library: Library) -> None:
    """In every library, dtype and device, a run of dense and sparse steps is that of the model.

    Slots are in the library, on the device and in the compute dtype of their variable.
    """
    rng = np.random.default_rng(11)
    start = [library.rounded(rng.normal(size=shape)) for shape in [(3,), (4, 2), ()]]
    variables = [Variable(library.asarray(value)) for value in start]
    optimizer, model = Adamax(0.05, 0.8, 0.95, 1e-3), NumpyAdamax(start, 0.05, 0.8, 0.95, 1e-3)
    for _ in range(4):
        rows = np.array([3, 1, 3])
        values = [library.rounded(rng.normal(size=shape)) for shape in [(3,), (3, 2), ()]]
        slices = IndexedSlices(library.asarray(values[1]), library.asarray(rows, "int32"))
        grads = [library.asarray(values[0]), slices, library.asarray(values[2])]
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        model.step([values[0], (values[1], rows), values[2]])
    tolerance = {"float16": 5e-3, "bfloat16": 5e-2}.get(library.dtype, 1e-5)
    for i, variable in enumerate(variables):
        found = library.read(variable.value)
        np.testing.assert_allclose(found, model.x[i], rtol=tolerance, atol=tolerance)
        for name, expected in (("m", model.m[i]), ("v", model.v[i])):
            slot = library.read(optimizer.get_slot(variable, name).value, library.wide)
            np.testing.assert_allclose(slot, expected, rtol=1e-5, atol=1e-6)
    assert optimizer.iterations == 4
