"""Task 7, in part: fit five parameters, and stop when the loss no longer falls."""

import numpy as np

from adamax import Adamax, Variable, schedules

RNG = np.random.default_rng(0)
X = np.linspace(-1, 1, 80)
BASIS = np.stack([np.cos(k * np.arccos(X)) for k in range(5)], axis=1)  # Chebyshev polynomials
Y = np.exp(X) + 0.05 * RNG.normal(size=80)


def test_a_fit_stops_near_the_least_squares() -> None:
    """Steps end by the tolerance, before their limit, and near what NumPy solves exactly."""
    parameters = Variable(np.zeros(5), name="coefficients")
    optimizer = Adamax(schedules.ExponentialDecay(0.1, decay_steps=50, decay_rate=0.8))
    tolerance, window = 1e-6, 20
    losses: list[float] = []
    while len(losses) < 5000:
        value = optimizer.minimize(
            lambda: np.mean((BASIS @ parameters - Y) ** 2), [parameters], return_loss=True
        )
        losses.append(float(value))
        if len(losses) > window and losses[-window - 1] - losses[-1] < tolerance * losses[-1]:
            break
    exact, *_ = np.linalg.lstsq(BASIS, Y)
    smallest = float(np.mean((BASIS @ exact - Y) ** 2))
    assert window < len(losses) < 1000
    assert optimizer.iterations == len(losses)
    assert smallest <= losses[-1] < smallest * (1 + 1e-3)
    np.testing.assert_allclose(parameters.numpy(), exact, atol=2e-3)
