"""Schedules of arrays of steps: the rates of the same steps as numbers, traced or not."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from every_schedule import SCHEDULES
from hypothesis import given
from hypothesis import strategies as st
from libraries import Library, compiled_too

from adamax import Variable
from adamax._arrays import dtype_name
from adamax.counting import LAST_STEP, Floats, power, restarts, split
from adamax.schedules import CosineDecay, CosineDecayRestarts, LearningRateSchedule

EPSILON = 2.0**-23  # of float32


@pytest.mark.feature("schedules")
@compiled_too
def test_arrays_of_steps_have_the_rates_of_numbers(library: Library) -> None:
    """One step in a 0-d array, and many in a vector, give what each gives as a Python int."""
    steps = np.arange(45)
    for schedule in SCHEDULES:
        rate = library.compiled(schedule)
        expected = np.array([schedule(int(step)) for step in steps])
        many = rate(library.asarray(steps, "int32"))
        # In half of the libraries 32 bits are the default: a few roundings of the highest rate.
        tolerance = 4 * EPSILON * expected.max()
        found = library.read(many, dtype_name(many.dtype))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        one = rate(library.asarray(21, "int32"))
        assert tuple(getattr(one, "shape", ())) == ()
        assert float(one) == pytest.approx(expected[21], abs=tolerance)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(
    "kind",
    [np.int64, np.asarray, float, lambda k: Variable(np.asarray(k))],
    ids=["NumPy integer", "0-d array", "float", "Variable"],
)
def test_numbers_of_every_kind_are_python_floats(
    schedule: LearningRateSchedule, kind: Callable[[int], Any]
) -> None:
    """A counter, a number of NumPy or a float gives the very float that an int gives."""
    for step in (0, 7, 21):
        found = schedule(kind(step))
        assert type(found) is float
        assert found == schedule(step)


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ("7", TypeError, "Expected step to be a number, received: '7' of type str"),
        ([7], TypeError, "Expected step to be a number, received"),
        (math.nan, ValueError, "Expected step to be a finite number, received: nan"),
        (None, ValueError, "Expected step to be a number, received: None"),
    ],
)
def test_steps_are_checked(step: Any, error: type[Exception], message: str) -> None:
    """A step that is no number is told."""
    with pytest.raises(error, match=message):
        CosineDecay(0.1, 10)(step)


@given(st.integers(0, 10**9), st.floats(0.1, 1e6) | st.integers(1, 10**6).map(float))
def test_parts_of_periods_add_up_exactly(step: int, length: float) -> None:
    """On the host the whole periods and the part are exactly the quotient, as one division is."""
    whole, part = split(step, length, Floats)
    assert whole == math.floor(step / length)
    assert whole + part == step / length


@pytest.fixture(scope="module")
def compiled() -> Any:
    """What compiles a function of an array of steps by JAX, in 32 bits."""
    return pytest.importorskip("jax", reason="jax is not installed").jit


@pytest.mark.parametrize("length", [1.0, 3.0, 7.0, 49.0, 1000.0, 98_765.0])
def test_traced_periods_end_at_their_step(length: float, compiled: Any) -> None:
    """A compiler may divide by a reciprocal: periods still end where integers say, up to 2**24."""
    near = np.arange(0, 2**24, max(length, 999 // length * length)).astype(np.int32)
    steps = np.unique(np.clip(np.concatenate([near - 1, near, near + 1]), 0, 2**24 - 1))
    jnp = pytest.importorskip("jax.numpy")
    whole, part = compiled(lambda k: split(k.astype("float32"), length, jnp))(steps)
    np.testing.assert_array_equal(whole, steps // int(length))
    np.testing.assert_allclose(part, steps % int(length) / length, rtol=2 * EPSILON)


@pytest.mark.parametrize(("first", "ratio"), [(7, 1.0), (1, 2.0), (10, 1.5), (100, 3.0), (30, 1.1)])
def test_traced_restarts_are_at_their_step(first: int, ratio: float, compiled: Any) -> None:
    """In 32 bits, restarts are at the very step where they are on the host."""
    jnp = pytest.importorskip("jax.numpy")
    steps = np.unique(np.geomspace(1, 10**6, 500).astype(int))
    on_host = np.array([restarts(int(k), first, ratio, Floats) for k in steps])
    whole, part = compiled(lambda k: restarts(k.astype("float32"), float(first), ratio, jnp))(steps)
    np.testing.assert_array_equal(whole, on_host[:, 0])
    np.testing.assert_allclose(part, on_host[:, 1], atol=1e-4 / first)


def test_restarts_are_known_to_the_last_step(compiled: Any) -> None:
    """After two thousand million steps a traced schedule still restarts."""
    schedule = CosineDecayRestarts(0.1, 10, t_mul=2.0)
    found = compiled(schedule)(np.int32(LAST_STEP - 1))
    assert float(found) == pytest.approx(schedule(LAST_STEP - 1), abs=1e-7)


@pytest.mark.parametrize("base", [0.999, 0.5, 1.0, 1.001, 0.0])
def test_traced_powers_keep_their_digits(base: float, compiled: Any) -> None:
    """The 10,000th power of 0.999 has seven digits, and not the four of 0.999 in 32 bits."""
    jnp = pytest.importorskip("jax.numpy")
    exponents = np.array([0.0, 1.0, 12.5, 1000.0, 10_000.0], np.float32)
    found = compiled(lambda x: power(base, x, jnp))(exponents)
    expected = [base**x for x in exponents.tolist()]
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-37)
