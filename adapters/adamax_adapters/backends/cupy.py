"""CuPy: kernels generated from a rule, in place, one launch for many arrays.

The addresses of the arrays are passed by value with the launch itself: nothing is uploaded, and
nothing waits for the device. Launches are on the current stream of the arrays' own device.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import Any

import cupy
import numpy as np

from adamax._arrays import Array, array_namespace, in_dtype
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.sparse import IndexedSlices
from adamax_adapters.backends import standard
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.backends.cuda_source import DENSE, OPTIONS, ROWS, capacity, source
from adamax_adapters.backends.trace import trace

if cupy.cuda.runtime.is_hip:
    raise ImportError("the kernels are CUDA's, and this CuPy is for the GPUs of AMD")

__all__ = ["dense", "rows", "scalars_from"]

THREADS = 256
SMALL_ELEMENTS = 1 << 16
"""Elements of an array that shares a launch; a larger one keeps the device busy by itself."""

# Of the code that runs at present, and of no other thread.
_scalars: ContextVar[Mapping[str, Mapping[str, Array]] | None] = ContextVar("scalars", default=None)


def dense(targets: Sequence[Target], rule: Rule = ADAMAX) -> Prepare:
    """Return what prepares a step of `targets`, in place.

    A gradient is in the dtype of its slots or in that of its parameter.
    """
    arrays = [tuple(part.held for part in target) for target in targets]
    jobs: list[tuple[list[int], Prepare]] = []
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    apart = not _overlap([parts[0] for parts in arrays])
    for index, parts in enumerate(arrays):
        p, m = parts[:2]
        if not _contiguous(*parts):
            jobs.append(([index], standard.dense([targets[index]], rule)))
        elif p.size:
            # Of arrays that overlap, the next reads what the last has written.
            kind = (p.data.device_id, p.dtype, m.dtype) if apart else (index,)
            groups[kind].append(index)
    for group in groups.values():
        jobs += [
            (batch, _batch(rule, [arrays[index] for index in batch]))
            for batch in _split(group, arrays, capacity(rule))
        ]
    jobs.sort(key=lambda job: job[0])

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        writes: list[tuple[int, Write]] = []
        for indices, job in jobs:
            p, m = arrays[indices[0]][:2]
            with cupy.cuda.Device(p.data.device_id):
                write = job([gradients[index] for index in indices], _from_memory(c, m.dtype))
            writes.append((p.data.device_id, write))

        def launch() -> None:
            for device, write in writes:
                with cupy.cuda.Device(device):
                    write()

        return launch

    return prepare


def rows(target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX) -> Write:
    """Prepare a step of the listed rows of a table, in place; the others are not read.

    Duplicate rows are summed, always in the same order; those outside the table are left out.
    """
    p, *state = arrays = [part.held for part in target]
    listed = slices.indices.shape[0]
    if listed == 0 or p.size == 0:
        return lambda: None
    compute = state[0].dtype
    c = _from_memory(c, compute)
    with cupy.cuda.Device(p.data.device_id):
        if not _contiguous(*arrays):
            return standard.rows(target, slices, c, rule)
        xp = array_namespace(p)
        values = xp.broadcast_to(in_dtype(slices.values, compute, xp), (listed, *p.shape[1:]))
        indices = cupy.ascontiguousarray(in_dtype(slices.indices, xp.int64, xp))
        order = xp.argsort(indices, stable=True)
        return _rows(rule, p, cupy.ascontiguousarray(values), indices, order, state, c)


@contextmanager
def scalars_from(arrays: Mapping[str, Mapping[str, Array]]) -> Iterator[None]:
    """Let what the block launches read scalars from device memory, instead of the caller's.

    `arrays` has, by the name of a scalar, a 0-d array for every compute dtype.
    """
    token = _scalars.set(arrays)
    try:
        yield
    finally:
        _scalars.reset(token)


def _from_memory(c: Coefficients, compute: Any) -> Any:
    arrays = _scalars.get() or {}
    return c._replace(**{name: by_dtype[compute.name] for name, by_dtype in arrays.items()})


def _rows(
    rule: Rule,
    p: Array,
    g: Array,
    indices: Array,
    order: Array,
    state: Sequence[Array],
    c: Coefficients,
) -> Write:
    """Prepare a step of the rows ``indices[order]``, which ascend."""
    width = math.prod(p.shape[1:])
    sizes = map(np.int64, (indices.size, p.shape[0], width))
    address = np.array([(*(x.data.ptr for x in (p, g, *state)), g.size)], _address(rule))
    kernel, scalars = _kernel_and_scalars(rule, ROWS, p, g, state[0], c)
    threads = min(THREADS, -(-width // 32) * 32)
    arguments = (address, indices, order, *sizes, *scalars)

    def launch() -> None:
        g  # noqa: B018 - whose memory the launch reads
        with cupy.cuda.Device(p.data.device_id):
            kernel(indices.shape, (threads,), arguments)

    return launch


def _split(
    group: Sequence[int], arrays: Sequence[tuple[Array, ...]], most: int
) -> Iterator[list[int]]:
    """Yield the indices of arrays that share a launch: many small ones, or a large one."""
    small = [index for index in group if arrays[index][0].size <= SMALL_ELEMENTS]
    for start in range(0, len(small), most):
        yield small[start : start + most]
    yield from ([index] for index in group if arrays[index][0].size > SMALL_ELEMENTS)


def _batch(rule: Rule, arrays: Sequence[tuple[Array, ...]]) -> Prepare:
    """Return what prepares a step of arrays of the same dtypes, in one launch."""
    p, m = arrays[0][:2]
    table = np.zeros(1, [("arrays", _address(rule), capacity(rule))])
    addresses = table["arrays"][0, : len(arrays)]
    for name, parts in zip(trace(rule).written, zip(*arrays, strict=True), strict=True):
        addresses[name] = [part.data.ptr for part in parts]
    addresses["size"] = [parts[0].size for parts in arrays]
    grid = (-(-int(addresses["size"].max()) // THREADS), len(arrays))

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        stored = p.dtype if all(g.dtype == p.dtype for g in gradients) else m.dtype
        xp = array_namespace(p)
        given = [cupy.ascontiguousarray(in_dtype(g, stored, xp)) for g in gradients]
        addresses["g"] = [g.data.ptr for g in given]
        kernel, scalars = _kernel_and_scalars(rule, DENSE, p, given[0], m, c)

        def launch() -> None:
            given  # noqa: B018 - whose memory the launch reads
            kernel(grid, (THREADS,), (table, *scalars))

        return launch

    return prepare


def _kernel_and_scalars(
    rule: Rule, name: str, p: Array, g: Array, m: Array, c: Coefficients
) -> tuple[Any, list[Any]]:
    """Return a kernel for the dtypes of the arrays, and the scalars as it takes them."""
    scalars = {
        x: in_dtype(value, m.dtype, array_namespace(m))
        if isinstance(value, cupy.ndarray)
        else m.dtype.type(value)
        for x, value in zip(rule.scalars, rule.scalars_of(c), strict=True)
    }
    from_device = tuple(x for x, value in scalars.items() if isinstance(value, cupy.ndarray))
    kernel = _kernel(rule, name, p.dtype.name, g.dtype.name, m.dtype.name, from_device)
    return kernel, list(scalars.values())


@cache
def _kernel(
    rule: Rule, name: str, p: str, g: str, compute: str, from_device: tuple[str, ...]
) -> Any:
    """Return a kernel, which CuPy compiles for each kind of device and keeps on disk."""
    return cupy.RawKernel(source(rule, p, g, compute, from_device), name, OPTIONS)


@cache
def _address(rule: Rule) -> Any:
    """Return the struct of a kernel's that holds the addresses of the arrays of one parameter.

    CuPy passes a NumPy array of one by value.
    """
    return np.dtype([(name, np.int64) for name in (*trace(rule).arrays, "size")])


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
