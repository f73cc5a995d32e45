"""Task 9: a program written for the optimizer of Keras 2 runs with its import changed."""

from typing import Any

import numpy as np
from reference_model import NumpyAdamax

from adamax import Adamax, Variable, schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.3


def gradients(w: Any, b: Any) -> tuple[Any, Any]:
    error = 2 * (X @ w + b - Y) / len(X)
    return X.T @ error, error.sum()


def test_the_loop_of_an_old_program() -> None:
    """Rates are read and assigned, weights are decayed in place, and the numbers are Adamax's."""
    w, b = Variable(np.zeros(3), name="w"), Variable(np.zeros(()), name="b")
    opt = Adamax(lr=0.2, name="my_adamax")
    assert opt.name == "my_adamax"
    model = NumpyAdamax([np.zeros(3), np.zeros(())], 0.2)
    for epoch in range(3):
        if epoch == 1:
            opt.lr.assign(0.1)
        if epoch == 2:
            opt.learning_rate.assign(opt.lr.numpy() * 0.1)
        for _ in range(50):
            grads = gradients(w.numpy(), b.numpy())
            pairs = list(zip(grads, [w, b], strict=True))
            opt.apply_gradients(pairs, experimental_aggregate_gradients=False)
            w.assign_sub(1e-3 * w.numpy())
            model.step(gradients(*model.x), [0.2, 0.1, 0.01][epoch])
            model.x[0] -= 1e-3 * model.x[0]
    assert opt.iterations.numpy() == 150
    np.testing.assert_allclose(w.numpy(), model.x[0], rtol=1e-12)
    np.testing.assert_allclose(b.numpy(), model.x[1], rtol=1e-12)
    assert abs(float(opt.lr.numpy()) - 0.01) < 1e-12


def test_a_callback_that_halves_the_rate() -> None:
    """What ReduceLROnPlateau does: read the rate, compare, set a smaller one."""
    opt = Adamax(0.08)
    for _ in range(3):
        old = float(opt.lr.numpy())
        if old > 0.01:
            opt.lr.assign(max(old * 0.5, 0.01))
    assert float(opt.learning_rate) == 0.01
    assert opt.get_config()["learning_rate"] == 0.01


def test_saved_weights_go_into_a_new_optimizer() -> None:
    """get_weights, set_weights and from_config continue a run, as old programs save it."""
    w = Variable(np.zeros(3), name="w")
    opt = Adamax(schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.9))
    for _ in range(5):
        opt.minimize(lambda: np.mean((X @ w - Y) ** 2), [w])
    config, weights, values = opt.get_config(), opt.get_weights(), w.numpy()

    again, v = Adamax.from_config(config), Variable(values, name="w")
    again.build([v])
    again.set_weights(weights)
    opt.minimize(lambda: np.mean((X @ w - Y) ** 2), [w])
    again.minimize(lambda: np.mean((X @ v - Y) ** 2), [v])
    assert again.iterations == 6
    np.testing.assert_array_equal(v.numpy(), w.numpy())


def test_warm_up_alone() -> None:
    """`CosineDecay(decay_steps=0)` with a warm-up rises and then stays, as in Keras."""
    rate = schedules.CosineDecay(0.0, decay_steps=0, warmup_target=0.1, warmup_steps=10)
    assert [round(float(rate(k)), 6) for k in (0, 5, 10)] == [0.0, 0.05, 0.1]
