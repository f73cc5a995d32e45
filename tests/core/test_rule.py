"""`adamax.rule`: the step of one array, bit by bit, on every library."""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from libraries import Library, Usage, compiled_too

from adamax.rule import Coefficients, bias_correction, coefficients, step

Array = Any

pytestmark = pytest.mark.feature("dense")


class Moments(NamedTuple):
    p: Array
    m: Array
    v: Array


class Hyperparameters(NamedTuple):
    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def at(self, t: Any) -> Coefficients:
        return coefficients(t, **self._asdict())

    def as_there(self) -> "Hyperparameters":
        """Return them as the reference keeps them: in float32, but for epsilon."""
        rates = (float(np.float32(x)) for x in self[:3])
        return Hyperparameters(*rates)._replace(epsilon=self.epsilon)


STRONG = Hyperparameters(0.05, 0.8, 0.95, 1e-3)


def reference_step(at: Moments, gradient: Array, t: int, h: Hyperparameters) -> Moments:
    """Return what the dense kernel of the reference computes, one rounding per operation.

    The arrays are NumPy's; the computation, scalars included, is in the dtype of the moments.
    """
    p, m, v = at
    scalars = (h.learning_rate / (1 - h.beta_1**t), 1 - h.beta_1, h.beta_2, h.epsilon)
    eta, keep, decay, epsilon = (np.asarray(x, m.dtype) for x in scalars)
    g = gradient.astype(m.dtype)
    m = m + (g - m) * keep
    v = np.where(decay * v >= abs(g), decay * v, abs(g))
    return Moments((p.astype(m.dtype) - eta * (m / (v + epsilon))).astype(p.dtype), m, v)


def started(library: Library, x: Any) -> Moments:
    """Return the arrays before the first step, as NumPy's."""
    zeros = np.zeros(np.shape(x), library.wide)
    return Moments(library.rounded(x), zeros, zeros)


def on(library: Library, at: Moments) -> tuple[Array, ...]:
    return (
        library.asarray(at.p),
        library.asarray(at.m, library.wide),
        library.asarray(at.v, library.wide),
    )


def advanced(arrays: tuple[Array, ...], gradient: Array, c: Coefficients) -> tuple[Array, ...]:
    p, m, u = arrays
    return step(p, gradient, m, u, c)


def assert_same(library: Library, found: tuple[Array, ...], expected: Moments) -> None:
    dtypes = (library.dtype, library.wide, library.wide)
    for array, dtype, numbers in zip(found, dtypes, expected, strict=True):
        np.testing.assert_array_equal(library.read(array, dtype), numbers.astype(np.float64))


@pytest.mark.parametrize("h", [Hyperparameters(), STRONG, Hyperparameters(0.3, 0.0, 0.0, 0.0)])
def test_step_is_the_reference_bit_for_bit(library: Library, h: Hyperparameters) -> None:
    """50 steps of 37 elements are those of the reference's kernel, operation by operation."""
    rng = np.random.default_rng(7)
    expected = started(library, rng.normal(size=37))
    found = on(library, expected)
    for t in range(1, 51):
        gradient = library.rounded(rng.normal(size=37) * 10.0 ** rng.integers(-3, 2))
        expected = reference_step(expected, gradient, t, h)
        found = library.computed(advanced(found, library.asarray(gradient), h.at(t)))
        assert_same(library, found, expected)


RICH_GRADIENTS = [
    [[0.3, -0.2, 0], [1e-4, -5, 0.7]],
    [[-0.1, 0.4, 0], [0, 2, -0.7]],
    [[0, 0, 0], [0, 0, 0]],
    [[10, -10, 1e-8], [0.5, 0.5, 0.5]],
]

# Start, gradients and hyperparameters, and the reference's x, m and v after them: None is unknown.
GOLDEN: dict[str, tuple[str, Any, Any, Hyperparameters, Any, Any, Any]] = {
    "basic-float64": (
        "float64",
        [1, 2],
        [[0.1, 0.1]] * 3,
        Hyperparameters().as_there(),
        [0.9970000028575049, 1.9970000028575046],
        [0.02710000579357132] * 2,
        [0.1, 0.1],
    ),
    "basic-small-float64": (
        "float64",
        [3, 4],
        [[0.01, 0.01]] * 3,
        Hyperparameters().as_there(),
        [2.997000029857209, 3.997000029857209],
        [0.002710000579357132] * 2,
        [0.01, 0.01],
    ),
    "basic-float16": (
        "float16",
        [1, 2],
        [[0.1, 0.1]] * 3,
        Hyperparameters().as_there(),
        [0.9970703125, 1.9970703125],
        None,
        None,
    ),
    "rich-float64": (
        "float64",
        [[1, -2, 0.5], [0, 3, -1]],
        RICH_GRADIENTS,
        STRONG.as_there(),
        [
            [0.911035311525426, -1.9605245984602833, 0.49999983062500053],
            [-0.02468338649464283, 3.072028733312052, -1.0519207035665858],
        ],
        [
            [2.0179198807144165, -1.9692798820114137, 1.9999998807907106e-09],
            [0.10001023403938294, -0.15600000596046384, 0.08207999564170837],
        ],
        [[10, 10, 1e-8], [0.5, 4.2868748386204265, 0.6317499841451646]],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_numbers_of_the_reference(case: str) -> None:
    """With hyperparameters rounded as there, the numbers printed by TensorFlow 1.15.5 come out."""
    dtype, start, gradients, h, *expected = GOLDEN[case]
    library = Library(Usage.NUMPY, dtype)
    found = on(library, started(library, start))
    for t, gradient in enumerate(gradients, start=1):
        found = advanced(found, library.asarray(gradient), h.at(t))
    for array, numbers in zip(found, expected, strict=True):
        if numbers is not None:
            np.testing.assert_allclose(array.astype(float), numbers, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    ("start", "gradient", "expected"),
    [
        ([1, 2], 0.1, [0.9970000386238098, 1.9969998598098755]),
        ([3, 4], 0.01, [2.997000217437744, 3.997000217437744]),
    ],
)
def test_numbers_of_the_reference_in_float32(
    start: list[float], gradient: float, expected: list[float]
) -> None:
    """In float32 the reference's own rounding of the step size moves the last bit at most."""
    library, h = Library(Usage.NUMPY, "float32"), Hyperparameters().as_there()
    found = on(library, started(library, start))
    for t in (1, 2, 3):
        found = advanced(found, library.asarray([gradient, gradient]), h.at(t))
    np.testing.assert_array_max_ulp(found[0], np.asarray(expected, np.float32), maxulp=1)


@compiled_too
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (2, 3)])
def test_shape_dtype_and_kind_are_kept(library: Library, shape: tuple[int, ...]) -> None:
    """0-d and empty arrays too come back as arrays, in shape, dtype, device and library."""
    at = started(library, np.full(shape, 0.5))
    advance = library.compiled(advanced)
    found = advance(on(library, at), library.asarray(np.ones(shape)), STRONG.at(1))
    expected = reference_step(at, library.rounded(np.ones(shape)), 1, STRONG)
    assert [array.shape for array in found] == [shape] * 3
    assert_same(library, found, expected)


def test_inputs_are_left_as_they_are(library: Library) -> None:
    """A step writes to none of its arrays, and returns none of them."""
    at = Moments(library.rounded([1, 2]), *np.ones((2, 2), library.wide))
    given, gradient = on(library, at), library.asarray([3, 4])
    found = advanced(given, gradient, STRONG.at(5))
    assert_same(library, given, at)
    np.testing.assert_array_equal(library.read(gradient), [3, 4])
    assert not [new for new in found for old in (*given, gradient) if new is old]
    if library.name == "numpy":
        assert not any(np.shares_memory(new, old) for new in found for old in (*given, gradient))


@compiled_too
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gradient_that_is_not_finite_shows(library: Library, value: float) -> None:
    """NaN reaches p, m and u; an infinity reaches m and u, and p as NaN; neighbours do not care."""
    at = started(library, [1, 2, 3])
    with np.errstate(all="ignore"):
        advance = library.compiled(advanced)
        found = advance(on(library, at), library.asarray([1, value, 1]), STRONG.at(1))
        p, m, u = map(library.read, found, (library.dtype, library.wide, library.wide))
    clean = reference_step(at, library.rounded([1, 0, 1]), 1, STRONG)
    for array, numbers in zip((p, m, u), clean, strict=True):
        np.testing.assert_array_equal(array[[0, 2]], numbers.astype(float)[[0, 2]])
    assert math.isnan(p[1])
    np.testing.assert_array_equal([m[1], u[1]], [value, abs(value)])


@compiled_too
def test_moments_of_narrow_parameters_decay(library: Library) -> None:
    """u decays by beta_2 and epsilon counts in every dtype, as slots have 32 bits at least."""
    arrays, advance = on(library, started(library, [0.0])), library.compiled(advanced)
    for t in range(1, 12):
        gradient = library.asarray([float(t == 1)])
        arrays = advance(arrays, gradient, Hyperparameters().at(t))
    _, m, u = arrays
    assert library.read(u, library.wide)[0] == pytest.approx(0.999**10, rel=1e-6)
    assert library.read(m, library.wide)[0] == pytest.approx(0.1 * 0.9**10, rel=1e-6)


@compiled_too
def test_zero_gradients_move_nothing(library: Library) -> None:
    """Gradients that were 0 from the start leave the parameter as it is."""
    at = started(library, [1.5, -2])
    advance = library.compiled(advanced)
    found = advance(on(library, at), library.asarray([0, 0]), STRONG.at(1))
    assert_same(library, found, at)


@compiled_too
def test_epsilon_zero_means_zero(library: Library) -> None:
    """With epsilon 0 the first step is the learning rate, whatever the size of the gradient."""
    h = Hyperparameters(0.25, 0.5, 0.5, 0.0)
    at = started(library, [1.0, 1.0])
    # 2^-24 is a number in all dtypes, and less than the default epsilon.
    p, _, _ = library.compiled(advanced)(on(library, at), library.asarray([2.0**-24, -1]), h.at(1))
    np.testing.assert_array_equal(library.read(p), [0.75, 1.25])


def test_traced_step_number_promotes_nothing(library: Library) -> None:
    """A step size that is an array, as of a traced step number, leaves the dtypes as they are."""
    rng = np.random.default_rng(3)
    arrays, gradient = on(library, started(library, rng.normal(size=99))), rng.normal(size=99)
    found = advanced(arrays, library.asarray(gradient), STRONG.at(library.asarray(3, "int32")))
    expected = advanced(arrays, library.asarray(gradient), STRONG.at(3))
    dtypes = (library.dtype, library.wide, library.wide)
    # NumPy computes the step size in double precision, whatever the dtype of the step.
    tolerance = 1e-15 if library.name == "numpy" else 5e-7
    for array, other, dtype in zip(found, expected, dtypes, strict=True):
        numbers, expected_numbers = library.read(array, dtype), library.read(other, dtype)
        np.testing.assert_allclose(numbers, expected_numbers, rtol=0, atol=tolerance)


def test_numpy_scalars_do_not_promote() -> None:
    """Hyperparameters and a step number that are NumPy scalars count as Python's own numbers."""
    c = coefficients(
        np.int64(3),
        learning_rate=np.float64(0.1),
        beta_1=np.float64(0.9),
        beta_2=np.float64(0.99),
        epsilon=np.float64(1e-3),
    )
    plain = coefficients(3, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-3)
    library = Library(Usage.NUMPY, "float32")
    arrays, gradient = on(library, started(library, [1, 2])), library.asarray([0.1, 0.3])
    found, expected = advanced(arrays, gradient, c), advanced(arrays, gradient, plain)
    assert_same(library, found, Moments(*expected))
    assert type(bias_correction(0.9, np.int64(3))) is float


def test_arrays_of_two_libraries_are_refused(standard_only: None) -> None:
    """A gradient of another library than its parameter's is a TypeError."""
    zeros = np.zeros(2)
    with pytest.raises(TypeError, match="Multiple namespaces"):
        step(zeros, array_api_strict.ones(2), zeros, zeros, STRONG.at(1))


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**6])
@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.9, 0.9999])
def test_coefficients_are_doubles(t: int, beta_1: float) -> None:
    """The scalars are Python floats, as exact as doubles allow."""
    c = coefficients(t, learning_rate=0.1, beta_1=beta_1, beta_2=0.99, epsilon=1e-7)
    assert [type(scalar) for scalar in c] == [float] * 4
    assert (c.beta_2, c.epsilon) == (0.99, 1e-7)
    assert c.one_minus_beta_1 == float(1 - Fraction(beta_1))
    exact = Fraction(0.1) / (1 - Fraction(beta_1) ** t) if t <= 1000 else Fraction(0.1)
    # 1 - beta_1^t cancels as many digits as it is below 1: in the reference too.
    assert c.step_size == pytest.approx(float(exact), rel=2.0**-52 / (1 - beta_1))


FLOATS = {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7}


@pytest.mark.parametrize("traced", [set(FLOATS), {"beta_1"}, {"learning_rate", "epsilon"}])
@pytest.mark.parametrize("t", [1, 7, 3000])
def test_coefficients_of_tracers(traced: set[str], t: int) -> None:
    """Hyperparameters under `jax.jit`, and the step too, give the scalars that floats give."""
    jax = pytest.importorskip("jax")
    plain = {name: x for name, x in FLOATS.items() if name not in traced}
    given = {name: FLOATS[name] for name in traced}
    expected = coefficients(t, **FLOATS)
    for xp in (None, jax.numpy):
        of_step = jax.jit(lambda t, given, xp=xp: coefficients(t, **plain, **given, xp=xp))
        np.testing.assert_allclose(of_step(t, given), expected, rtol=3e-7)
        of_number = jax.jit(lambda given, xp=xp: coefficients(t, **plain, **given, xp=xp))
        np.testing.assert_allclose(of_number(given), expected, rtol=3e-7)


def test_coefficients_of_tensors() -> None:
    """Hyperparameters that are 0-d tensors of torch stay tensors, and give the floats' scalars."""
    torch = pytest.importorskip("torch")
    compat = pytest.importorskip("array_api_compat.torch")
    given = {name: torch.tensor(x, dtype=torch.float64) for name, x in FLOATS.items()}
    for xp in (None, compat):
        found = coefficients(5, **given, xp=xp)
        assert all(isinstance(x, torch.Tensor) for x in found)
        np.testing.assert_allclose([float(x) for x in found], coefficients(5, **FLOATS), rtol=2e-15)


def test_tracers_step_as_floats_do() -> None:
    """A step with traced hyperparameters is that with floats, but for roundings in 32 bits."""
    jax = pytest.importorskip("jax")
    p, g, m = jax.numpy.ones(3), jax.numpy.asarray([1.0, -2.0, 0.5]), jax.numpy.zeros(3)

    def taken(given: dict[str, Any]) -> Any:
        return step(p, g, m, m, coefficients(3, **given, xp=jax.numpy))

    for found, expected in zip(jax.jit(taken)(FLOATS), taken(FLOATS), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=5e-7)


@pytest.mark.parametrize("t", [0, -1, np.int64(0)])
def test_steps_count_from_one(t: int) -> None:
    """A step number below 1 is an error that suspects the counter."""
    with pytest.raises(ValueError, match=f"Expected t >= 1, received: {t}; was the step counter"):
        STRONG.at(t)


@pytest.mark.parametrize("t", [1, 2, 30, 4000])
@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.9, 0.9999])
def test_traced_bias_correction(library: Library, beta_1: float, t: int) -> None:
    """Of an array, 1 - beta_1^t keeps all its digits, in 32 bits too."""
    found = bias_correction(beta_1, library.asarray(t, "int32"))
    exact = float(1 - Fraction(beta_1) ** t)
    assert float(found) == pytest.approx(exact, rel=1e-6)


finite = hnp.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6, width=32))


@given(finite, st.lists(finite, min_size=1, max_size=6), st.integers(-20, 20))
def test_scale_of_gradients_does_not_matter(x: Array, gradients: list[Array], power: int) -> None:
    """Without epsilon, gradients times a power of 2 take the same steps to the last bit."""
    h = Hyperparameters(0.1, 0.9, 0.999, epsilon=0.0)
    here: tuple[Array, ...] = (x, np.zeros(5), np.zeros(5))
    scaled = here
    with np.errstate(invalid="ignore"):  # 0 / 0
        for t, gradient in enumerate(gradients, start=1):
            here = advanced(here, gradient, h.at(t))
            scaled = advanced(scaled, gradient * 2.0**power, h.at(t))
    np.testing.assert_array_equal(scaled[0], here[0])
    np.testing.assert_array_equal(scaled[1], here[1] * 2.0**power)
    np.testing.assert_array_equal(scaled[2], here[2] * 2.0**power)


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
        elements=st.floats(-100, 100, width=16),
    ),
    st.integers(1, 100),
)
def test_elements_go_their_own_ways(x: Array, t: int) -> None:
    """Shape, order and neighbours do not matter: every element takes the step it takes alone."""
    wide = np.float64 if x.dtype == np.float64 else np.float32
    m, u = np.zeros(x.shape, wide), np.full(x.shape, 3, wide)
    together = step(x, x[::-1], m, u, STRONG.at(t))
    alone = [
        step(np.asarray(a), np.asarray(b), np.asarray(wide(0)), np.asarray(wide(3)), STRONG.at(t))
        for a, b in zip(x.ravel(), x[::-1].ravel(), strict=True)
    ]
    for i, array in enumerate(together):
        assert array.shape == x.shape
        np.testing.assert_array_equal(array.ravel(), [element[i] for element in alone])
