"""CuPy: kernels generated from the rule, in place, one launch for many arrays.

The addresses of the arrays are passed by value with the launch itself: nothing is uploaded, and
nothing waits for the device. Launches are on the current stream of the arrays' own device.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from itertools import pairwise
from typing import Any

import cupy
import numpy as np

from adamax._arrays import Array, array_namespace, in_dtype
from adamax.rule import Coefficients
from adamax.sparse import IndexedSlices
from adamax_adapters.backends import standard
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.backends.cuda_source import CAPACITY, DENSE, OPTIONS, ROWS, source
from adamax_adapters.backends.trace import ARRAYS

if cupy.cuda.runtime.is_hip:
    raise ImportError("the kernels are CUDA's, and this CuPy is for the GPUs of AMD")

__all__ = ["dense", "rows", "step_size_from"]

ADDRESS = np.dtype([(name, np.int64) for name in (*ARRAYS, "size")])
TABLE = np.dtype([("arrays", ADDRESS, CAPACITY)])
"""The structs of the kernels; CuPy passes a NumPy array of one by value."""

THREADS = 256
SMALL = 1 << 16
"""Elements of an array that shares a launch; a larger one keeps the device busy by itself."""

# Of the code that runs at present, and of no other thread.
_step_sizes: ContextVar[Mapping[str, Array] | None] = ContextVar("step_sizes", default=None)


def dense(targets: Sequence[Target]) -> Prepare:
    """Return what prepares a step of `targets`, in place.

    A gradient is in the dtype of its slots or in that of its parameter.
    """
    arrays = [tuple(part.held for part in target) for target in targets]
    jobs: list[tuple[list[int], Prepare]] = []
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    apart = not _overlap([p for p, _, _ in arrays])
    for place, (p, m, u) in enumerate(arrays):
        if not _contiguous(p, m, u):
            jobs.append(([place], standard.dense([targets[place]])))
        elif p.size:
            # Of arrays that overlap, the next reads what the last has written.
            kind = (p.data.device_id, p.dtype, m.dtype) if apart else (place,)
            groups[kind].append(place)
    for group in groups.values():
        jobs += [
            (batch, _batch([arrays[place] for place in batch])) for batch in _split(group, arrays)
        ]
    jobs.sort(key=lambda job: job[0])

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        writes: list[tuple[int, Write]] = []
        for places, job in jobs:
            p, m, _ = arrays[places[0]]
            with cupy.cuda.Device(p.data.device_id):
                write = job([gradients[place] for place in places], _with_step_size(c, m.dtype))
            writes.append((p.data.device_id, write))

        def launch() -> None:
            for device, write in writes:
                with cupy.cuda.Device(device):
                    write()

        return launch

    return prepare


def rows(target: Target, slices: IndexedSlices, c: Coefficients) -> Write:
    """Prepare a step of the listed rows of a table, in place; the others are not read.

    Duplicate rows are summed, always in the same order; those outside the table are left out.
    """
    p, m, u = (part.held for part in target)
    listed = slices.indices.shape[0]
    if listed == 0 or p.size == 0:
        return lambda: None
    c = _with_step_size(c, m.dtype)
    with cupy.cuda.Device(p.data.device_id):
        if not _contiguous(p, m, u):
            return standard.rows(target, slices, c)
        xp = array_namespace(p)
        values = xp.broadcast_to(in_dtype(slices.values, m.dtype, xp), (listed, *p.shape[1:]))
        indices = cupy.ascontiguousarray(in_dtype(slices.indices, xp.int64, xp))
        order = xp.argsort(indices, stable=True)
        return partial(_advance_rows, p, cupy.ascontiguousarray(values), indices, order, m, u, c)


@contextmanager
def step_size_from(arrays: Mapping[str, Array]) -> Iterator[None]:
    """Let what the block launches read the step size from a 0-d array of its compute dtype."""
    token = _step_sizes.set(arrays)
    try:
        yield
    finally:
        _step_sizes.reset(token)


def _with_step_size(c: Coefficients, compute: Any) -> Coefficients:
    arrays = _step_sizes.get()
    return c if arrays is None else c._replace(step_size=arrays[compute.name])


def _advance_rows(
    p: Array, g: Array, indices: Array, order: Array, m: Array, u: Array, c: Coefficients
) -> None:
    """Advance the rows ``indices[order]``, which ascend."""
    width = math.prod(p.shape[1:])
    sizes = map(np.int64, (indices.size, p.shape[0], width))
    address = np.array([(p.data.ptr, g.data.ptr, m.data.ptr, u.data.ptr, g.size)], ADDRESS)
    kernel, scalars = _kernel_and_scalars(ROWS, p, g, m, c)
    threads = min(THREADS, -(-width // 32) * 32)
    with cupy.cuda.Device(p.data.device_id):
        kernel(indices.shape, (threads,), (address, indices, order, *sizes, *scalars))


def _split(group: Sequence[int], arrays: Sequence[tuple[Array, ...]]) -> Iterator[list[int]]:
    """Yield the places of arrays that share a launch: many small ones, or a large one."""
    small = [place for place in group if arrays[place][0].size <= SMALL]
    for start in range(0, len(small), CAPACITY):
        yield small[start : start + CAPACITY]
    yield from ([place] for place in group if arrays[place][0].size > SMALL)


def _batch(arrays: Sequence[tuple[Array, ...]]) -> Prepare:
    """Return what prepares a step of arrays of the same dtypes, in one launch."""
    p, m, _ = arrays[0]
    table = np.zeros(1, TABLE)
    addresses = table["arrays"][0, : len(arrays)]
    for name, parts in zip(("p", "m", "u"), zip(*arrays, strict=True), strict=True):
        addresses[name] = [part.data.ptr for part in parts]
    addresses["size"] = [param.size for param, _, _ in arrays]
    grid = (-(-int(addresses["size"].max()) // THREADS), len(arrays))

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        stored = p.dtype if all(g.dtype == p.dtype for g in gradients) else m.dtype
        xp = array_namespace(p)
        given = [cupy.ascontiguousarray(in_dtype(g, stored, xp)) for g in gradients]
        addresses["g"] = [g.data.ptr for g in given]
        kernel, scalars = _kernel_and_scalars(DENSE, p, given[0], m, c)

        def launch() -> None:
            given  # noqa: B018 - whose memory the launch reads
            kernel(grid, (THREADS,), (table, *scalars))

        return launch

    return prepare


def _kernel_and_scalars(
    name: str, p: Array, g: Array, m: Array, c: Coefficients
) -> tuple[Any, list[Any]]:
    """Return a kernel for the dtypes of the arrays, and the coefficients as it takes them."""
    scalars = [x if isinstance(x, cupy.ndarray) else m.dtype.type(x) for x in c]
    from_device = isinstance(c.step_size, cupy.ndarray)
    return _kernel(name, p.dtype.name, g.dtype.name, m.dtype.name, from_device), scalars


@cache
def _kernel(name: str, p: str, g: str, compute: str, from_device: bool) -> Any:
    """Return a kernel, which CuPy compiles for each kind of device and keeps on disk."""
    return cupy.RawKernel(source(p, g, compute, from_device), name, OPTIONS)


def _contiguous(*arrays: Array) -> bool:
    return all(x.flags.c_contiguous for x in arrays)


def _overlap(arrays: Sequence[Array]) -> bool:
    """Say whether any two arrays may share memory."""
    spans = sorted(map(_span, arrays))
    return any(end > start for (_, end), (start, _) in pairwise(spans))


def _span(x: Array) -> tuple[int, int]:
    """Return the first address of an array and that behind its last."""
    reach = [(length - 1) * stride for length, stride in zip(x.shape, x.strides, strict=True)]
    first, last = (sum(pick(0, way) for way in reach) for pick in (min, max))
    return x.data.ptr + first, x.data.ptr + last + x.itemsize
