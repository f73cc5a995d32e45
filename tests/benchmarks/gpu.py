"""What a step costs on a GPU: ours on CuPy beside torch and optax, and beside a copy."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import cupy
import jax
from interleaved import take_turns
from peers import optax_step, sparse_adam_step, torch_step

from adamax import Adamax, IndexedSlices, Variable
from adamax_adapters.keras_style.cuda_graph import captured

LARGE = 100_000_000
SMALL = [(1000,)] * 200
TABLE, LISTED = (1_000_000, 64), 8192

Ways = dict[str, Callable[[], object]]


def steps(pairs: Sequence[tuple[Any, Any]]) -> Ways:
    """Return a step of ours that ends when the device has ended it, and the same as a graph."""
    optimizer, recorded = Adamax(), Adamax()
    graph = captured(recorded, partial(recorded.apply_gradients, pairs))
    return {
        "ours, CuPy": lambda: _waited(optimizer.apply_gradients(pairs)),
        "ours, CUDA graph": lambda: _waited(graph()),
    }


def dense(shapes: Sequence[tuple[int, ...]]) -> Ways:
    """Return all ways to advance arrays of some shapes."""
    params = [Variable(cupy.ones(shape, cupy.float32)) for shape in shapes]
    ways = steps([(cupy.full(param.shape, 0.5, cupy.float32), param) for param in params])
    if jax.default_backend() == "gpu":  # on a CPU it would be no peer
        ways["optax, jit"] = optax_step(shapes)
    return ways | {
        f"torch {kind}": torch_step(shapes, kind, "cuda")
        for kind in ("loop", "foreach", "compiled")
    }


def large() -> Ways:
    """Return the ways to advance one large array, and a copy of the bytes that each moves."""
    # Half of the 7 words of a step are read, half are written.
    source = cupy.ones(7 * LARGE // 2, cupy.float32)
    target = cupy.empty_like(source)
    return {"memory: copy": lambda: _waited(cupy.copyto(target, source)), **dense([(LARGE,)])}


def rows() -> Ways:
    """Return the ways to advance some rows of a table."""
    indices = cupy.random.randint(0, TABLE[0], LISTED)
    values = cupy.full((LISTED, TABLE[1]), 0.5, cupy.float32)
    table = Variable(cupy.ones(TABLE, cupy.float32))
    optimizer = Adamax()
    slices = IndexedSlices(values, indices)
    return {
        "ours, CuPy": lambda: _waited(optimizer.apply_gradients([(slices, table)])),
        "torch SparseAdam": sparse_adam_step(*TABLE, indices.get(), "cuda"),
    }


def _waited(result: Any) -> Any:
    cupy.cuda.get_current_stream().synchronize()
    return result


def main() -> None:
    """Measure and print all parts, with the device and the versions."""
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "optax", "torch"))
    print(f"{device}; cupy {cupy.__version__}, {libraries}")
    for title, ways, rounds, calls in (
        (f"one array of {LARGE:,} float32", large, 31, 5),
        ("200 arrays of 1,000 float32", partial(dense, SMALL), 51, 20),
        (f"{LISTED:,} random rows of a table of {TABLE} float32", rows, 31, 5),
    ):
        print(f"{title}: quartiles in milliseconds")
        for name, taken in take_turns(ways(), rounds, calls).items():
            print(f"{name:16}{taken.low:10.4g}{taken.median:10.4g}{taken.high:10.4g}")


if __name__ == "__main__":
    main()
