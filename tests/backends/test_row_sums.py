"""The sum of the gradients of one row, as each backend takes it: that of the standard's calls."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamax import IndexedSlices, Variable
from adamax.rule import ADAMAX, coefficients
from adamax.sparse import sum_duplicates
from adamax_adapters.backends import backend_for

Array = Any


def kept(p: Array, g: Array, m: Array, u: Array, c: Any, xp: Any) -> tuple[Array, ...]:
    """A rule that keeps the gradient in place of its mean, and so shows the sum."""
    return p, g, u


KEPT = ADAMAX._replace(formula=kept)
C = coefficients(1, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-3)


@pytest.mark.parametrize("backend", ["standard", "numpy", "numba"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(0, 70), min_size=1, max_size=12), seed=st.integers(0, 2**32))
def test_sums_are_those_of_the_standard(
    backend: str, dtype: str, times: list[int], seed: int
) -> None:
    """Whatever rows are listed how often, and in whatever order, all bits of the sums are equal."""
    pytest.importorskip(f"adamax_adapters.backends.{backend}")
    rng = np.random.default_rng(seed)
    indices = rng.permutation(np.repeat(np.arange(len(times)), times))
    scales = 10.0 ** rng.integers(-9, 9, (indices.size, 1))
    values = (rng.standard_normal((indices.size, 3)) * scales).astype(dtype)
    zeros = np.zeros((len(times), 3), dtype)
    target = tuple(Variable(zeros) for _ in range(3))
    slices = IndexedSlices(values, indices)
    backend_for(zeros, "table", backend).rows(target, slices, C, KEPT)()
    summed = sum_duplicates(slices, np)
    expected = zeros.copy()
    expected[summed.indices] = summed.values
    np.testing.assert_array_equal(target[1].numpy(), expected)
    np.testing.assert_array_equal(target[0].numpy(), zeros)
