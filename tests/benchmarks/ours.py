"""One step of ours on parameters of given shapes, and the limits of the memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from adamax import Adamax, IndexedSlices, Variable, init, update
from adamax_adapters.backends import BackendName
from adamax_adapters.backends.threads import share_out

__all__ = ["copied", "jitted_step", "rows_step", "step", "streamed"]

Step = Callable[[], object]


def step(shapes: Sequence[tuple[int, ...]], xp: Any, backend: BackendName | None = None) -> Step:
    """Return a step on arrays of a library, by the backend that is named or the fastest."""
    params = [Variable(xp.ones(shape, dtype=xp.float32)) for shape in shapes]
    gradients = [xp.full(shape, 0.5, dtype=xp.float32) for shape in shapes]
    pairs = list(zip(gradients, params, strict=True))
    optimizer = Adamax(backend=backend)

    def take() -> None:
        optimizer.apply_gradients(pairs)
        if hasattr(params[-1].value, "block_until_ready"):  # JAX returns before it is done
            for param in params:
                param.value.block_until_ready()

    return take


def jitted_step(shapes: Sequence[tuple[int, ...]]) -> Step:
    """Return a step of the pure form under `jax.jit`, which gives the old arrays away."""
    import jax
    import jax.numpy as jnp

    params = [jnp.ones(shape) for shape in shapes]
    gradients = [jnp.full(shape, 0.5) for shape in shapes]
    held = [params, init(params)]
    compiled = jax.jit(
        lambda params, state, gradients: update(params, gradients, state), donate_argnums=(0, 1)
    )

    def take() -> None:
        held[:] = compiled(*held, gradients)
        jax.block_until_ready(held)

    return take


def rows_step(rows: int, width: int, indices: Any, backend: BackendName) -> Step:
    """Return a step for some rows of a NumPy table."""
    table = Variable(np.ones((rows, width), np.float32))
    slices = IndexedSlices(np.full((len(indices), width), 0.5, np.float32), indices)
    optimizer = Adamax(backend=backend)
    return lambda: optimizer.apply_gradients([(slices, table)])


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def _stream(p: Any, g: Any, m: Any, u: Any) -> None:
    for i in range(p.size):
        p[i], m[i], u[i] = p[i] + g[i], m[i] + g[i], u[i] + g[i]


def streamed(size: int) -> Step:
    """Return a pass over the memory of a step that hardly computes: 4 words read, 3 written."""
    arrays = [np.ones(size, np.float32) for _ in range(4)]
    return lambda: share_out(lambda a, b: _stream(*(x[a:b] for x in arrays)), size)


def copied(size: int) -> Step:
    """Return a copy that moves the bytes of a step: half of its 7 words read, half written."""
    source, target = np.ones(7 * size // 2, np.float32), np.ones(7 * size // 2, np.float32)
    return lambda: share_out(lambda a, b: np.copyto(target[a:b], source[a:b]), source.size)
