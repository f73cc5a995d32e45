"""Nothing is read on the host but by `numpy()`, `get_weights`, files and whoever reads the loss.

Everything else an optimizer does is done here where a look at a number fails: on arrays that note
it, that hold no numbers, that are traced, or that nobody may compute.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import fake_device
import numpy as np
import pytest
from array_api_compat import array_namespace
from touched import each_setting

from adamax import Adamax, IndexedSlices, Variable, init, update

Array = Any
Made = Callable[[Any], Array]
Use = Callable[[Made], None]

W = np.array([[1.0, -2.0], [3.0, 0.5], [0.25, 4.0]], np.float32)
G = np.array([[0.5, -3.0], [1.0, 0.25], [-2.0, 1.0]], np.float32)
ROWS = np.array([2, 0, 2], np.int32)


def refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("a number was read on the host")


def on_a_fake_device(use: Use) -> None:
    """Run on a fake device, which records what waits for it."""
    with fake_device.synchronisations() as recorded:
        use(fake_device.namespace.asarray)
    if recorded:
        refuse()


def without_numbers(use: Use) -> None:
    """Run on torch's tensors that have no elements, only shapes."""
    torch = pytest.importorskip("torch")
    use(lambda x: torch.asarray(x, device="meta"))


def traced(use: Use) -> None:
    """Run under a trace of JAX, where numbers are not known yet.

    `jax.transfer_guard_device_to_host` would not tell: on a CPU it lets everything pass.
    """
    jax = pytest.importorskip("jax")

    def run(one: Array) -> None:
        use(lambda x: jax.numpy.asarray(x) * one)

    jax.jit(run)(1)


def lazily(use: Use) -> None:
    """Run on arrays of dask, which are computed when their numbers are asked for."""
    dask, array = pytest.importorskip("dask"), pytest.importorskip("dask.array")
    with dask.config.set(scheduler=refuse):
        use(array.asarray)


BLIND = [on_a_fake_device, without_numbers, traced, lazily]


def steps(made: Made, settings: dict[str, Any]) -> None:
    """Do what an optimizer does between reading and writing its state."""
    w, table = Variable(made(W)), Variable(made(W))
    optimizer = Adamax(**{"learning_rate": 0.1} | settings)
    optimizer.build([w, table])
    for _ in range(2):
        slices = IndexedSlices(made(G), made(ROWS))
        optimizer.apply_gradients([(made(G), w), (slices, table)])
    optimizer.apply_gradients([(G.tolist(), w), (IndexedSlices(G.tolist(), [2, 0, 2]), table)])
    w.constraint = lambda x: array_namespace(x).clip(x, -1.0, 1.0)
    optimizer.apply_gradients([(made(G), w)])


def other_calls(made: Made) -> None:
    """Do what else a program does with an optimizer and its variables."""
    w, optimizer = Variable(made(W)), Adamax(0.1)

    def loss() -> Array:
        return array_namespace(w).sum(w**2)

    optimizer.minimize(loss, [w])
    optimizer.get_gradients(loss, [w])
    w.assign(optimizer.get_slot(w, "m"))
    optimizer.add_slot(w, "best", w)
    optimizer.add_slot(w, "count", "ones")
    assert optimizer.get_slot(w, "best").shape == optimizer.weights[-1].shape == w.shape


def pure(made: Made) -> None:
    """Take steps of the pure form, with a learning rate that is on the device too."""
    params, rate = [made(W), made(W)], made(np.float32(0.1))
    state = init(params)
    for _ in range(2):
        slices = IndexedSlices(made(G), made(ROWS))
        params, state = update(params, [made(G), slices], state, learning_rate=rate)


@pytest.mark.parametrize("backend", [None, "standard"])
@each_setting
@pytest.mark.parametrize("blind", BLIND)
def test_steps_read_nothing(
    blind: Callable[[Use], None], settings: dict[str, Any], backend: str | None
) -> None:
    """Dense, sparse and constrained steps, clipped or not, never look at an array's numbers."""
    blind(lambda made: steps(made, settings | {"backend": backend}))


@pytest.mark.parametrize("use", [other_calls, pure])
@pytest.mark.parametrize("blind", BLIND)
def test_nor_does_what_is_around_them(blind: Callable[[Use], None], use: Use) -> None:
    """Losses, slots, assignment and the pure form work without a number being known."""
    blind(use)


@pytest.mark.parametrize(
    "read",
    [
        lambda w, optimizer: w.numpy(),
        lambda w, optimizer: optimizer.get_weights(),
        lambda w, optimizer: float(w[0, 0]),
    ],
    ids=["numpy", "get_weights", "float"],
)
@pytest.mark.parametrize("blind", BLIND)
def test_a_look_would_fail(blind: Callable[[Use], None], read: Callable[..., Any]) -> None:
    """Calls that read numbers fail on each of these arrays: the tests above can fail."""

    def use(made: Made) -> None:
        w, optimizer = Variable(made(W)), Adamax(0.1)
        optimizer.build([w])
        read(w, optimizer)

    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        blind(use)
