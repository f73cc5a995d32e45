"""Draw the pictures of the pages: ``python docs/pictures.py``, which takes a few seconds.

`benchmarks.png` is drawn by ``nox -s bench``, and `loss.png` by ``adamax train``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from adamax import Adamax, Variable

IMAGES = Path(__file__).parent / "images"
STEPS = 200

Array = Any


def inside(u: Array, g: Array, epsilon: float) -> tuple[Array, Array]:
    """Return the new u and what m is divided by, as PyTorch and optax have them."""
    u = np.maximum(0.999 * u, np.abs(g) + epsilon)
    return u, u


def outside(u: Array, g: Array, epsilon: float) -> tuple[Array, Array]:
    """Return the same as Keras, MLX, MXNet and this package have them."""
    u = np.maximum(0.999 * u, np.abs(g))
    return u, u + epsilon


def on_the_old(u: Array, g: Array, epsilon: float) -> tuple[Array, Array]:
    """Return the same as Paddle has them."""
    u = np.maximum(0.999 * u + epsilon, np.abs(g))
    return u, u


def moved(
    norms: Callable[[Array, Array, float], tuple[Array, Array]], scales: Array, epsilon: float
) -> Array:
    """Return how far a parameter has moved after all steps, for every scale of its gradients."""
    p = m = u = np.zeros_like(scales)
    for t, unit in enumerate(np.random.default_rng(0).standard_normal(STEPS), start=1):
        g = scales * unit
        m = m + (g - m) * (1 - 0.9)
        u, divisor = norms(u, g, epsilon)
        p = p - m / divisor * (0.001 / (1 - 0.9**t))
    return p


def draw_epsilon() -> None:
    """Draw what the place of epsilon does to the total move, against the scale of gradients."""
    scales = np.logspace(-9, 0, 91)
    without = moved(outside, scales, 0.0)
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for label, norms, epsilon, style in (
        ("outside, 1e-7: Keras, adamax", outside, 1e-7, "-"),
        ("outside, 1e-8: MXNet", outside, 1e-8, "-"),
        ("inside, 1e-8: PyTorch, optax", inside, 1e-8, "--"),
        ("on the old u, 1e-8: Paddle", on_the_old, 1e-8, ":"),
    ):
        axes.loglog(scales, abs(moved(norms, scales, epsilon) / without - 1), style, label=label)
    apart = moved(outside, scales, 1e-8) / moved(inside, scales, 1e-8) - 1
    axes.loglog(scales, abs(apart), "k-.", label="between outside and inside, both 1e-8")
    axes.set(xlabel="scale of the gradients", ylabel="relative difference")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, "epsilon.png")


def sine_losses(learning_rate: float) -> list[float]:
    """Return the losses of the network of the page `start`, step by step."""
    rng = np.random.default_rng(0)
    x = np.linspace(-3, 3, 100)[:, None]
    y = np.sin(x)
    shapes = [(1, 16), (16,), (16, 1), (1,)]
    w1, b1, w2, b2 = variables = [Variable(rng.normal(size=shape)) for shape in shapes]

    def loss() -> Any:
        error = np.tanh(x @ w1.value + b1.value) @ w2.value + b2.value - y
        return np.mean(error**2)

    optimizer = Adamax(learning_rate)
    return [float(optimizer.minimize(loss, variables, return_loss=True)) for _ in range(501)]


def draw_rates() -> None:
    """Draw the losses of that network for several learning rates."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for rate in (1.0, 0.1, 0.01, 0.001):
        axes.semilogy(sine_losses(rate), label=f"learning_rate={rate}")
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, "rates.png")


def save(figure: Any, name: str) -> None:
    """Write a picture, in the same bytes every time."""
    figure.tight_layout()
    figure.savefig(IMAGES / name, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    draw_epsilon()
    draw_rates()
