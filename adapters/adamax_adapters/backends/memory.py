"""A kernel at work on the host's memory: on NumPy arrays, and torch tensors of the CPU alike.

A kernel advances contiguous arrays of one dtype, in one dimension, in place, and releases the
interpreter's lock. Here is what leads arrays of any shape, stride and dtype to it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from adamax._arrays import Array, is_torch_array
from adamax.rule import Coefficients
from adamax_adapters.backends.contract import Prepare, Target, Write

__all__ = ["Kernel", "Together", "dense", "is_plain", "tell_torch", "tensors_of", "whole"]

Run: TypeAlias = Callable[[Array, Array, Array, Array, Coefficients], None]
"""What advances contiguous arrays of one dtype, in one dimension, in place."""

Kernel: TypeAlias = Callable[[Any, int], Run]
"""From a dtype and a number of elements to what advances arrays of it that have no more.

All memory that it needs is taken here: what it returns does not fail for want of it."""

Together: TypeAlias = Callable[
    [Sequence[Array], Array, Array, Array, Array], Callable[[Coefficients], None]
]
"""From small parameters, buffers for them and their gradients, and their moments in a row, to
what advances them once the gradients are in their buffer."""

BLOCK = 1 << 14
"""Elements that are converted at a time, where arrays are not as the kernel wants them."""

SMALL = 1 << 14
"""Elements of an array below which calling the kernel costs more than copying the array."""

TOGETHER = 1 << 18
"""Elements of small arrays that are gathered for one call of the kernel."""


def dense(kernel: Kernel, together: Together, targets: Sequence[Target]) -> Prepare:
    """Return what prepares a step of `targets`, in place."""
    arrays = [tuple(np.asarray(part.held) for part in target) for target in targets]
    overlap = _overlap([p for p, _, _ in arrays if p.size])
    # Of arrays that overlap, the next reads what the last has written.
    groups = [] if overlap else list(_groups(arrays))
    begin = _later if overlap else whole
    buffers = {m.dtype: np.empty((2, TOGETHER), m.dtype) for _, m, _ in arrays} if groups else {}
    jobs = [_gathered(together, group, arrays, buffers) for group in groups]
    gathered = {place for group in groups for place in group}
    tensors = tensors_of(targets)
    single = [place for place in range(len(arrays)) if place not in gathered]
    largest: dict[Any, int] = defaultdict(int)
    for place in single:
        _, m, _ = arrays[place]
        largest[m.dtype] = max(largest[m.dtype], m.size)

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        if tensors:
            gradients = [np.asarray(grad) for grad in gradients]
        runs = {dtype: kernel(dtype, size) for dtype, size in largest.items()}
        writes: list[Write] = []
        for place in single:
            p, m, u = arrays[place]
            writes.append(begin(runs[m.dtype], p, np.asarray(gradients[place]), m, u, c))

        def write() -> None:
            for job in jobs:
                job(gradients, c)
            for one in writes:
                one()
            tell_torch(tensors)

        return write

    return prepare


def whole(run: Run, p: Array, g: Array, m: Array, u: Array, c: Coefficients) -> Write:
    """Return what advances one array, of any strides and dtype."""
    if all(is_plain(x, m.dtype) for x in (p, g, m, u)):
        return partial(run, p.reshape(-1), g.reshape(-1), m.reshape(-1), u.reshape(-1), c)
    # Converted, aligned and made contiguous block by block, and written back.
    wanted = ["aligned", "contig", "nbo"]
    iterator: Any = np.nditer  # whose types misspell an option
    blocks = iterator(
        [p, g, m, u],
        ["external_loop", "buffered", "zerosize_ok"],
        [[mode, *wanted] for mode in ("readwrite", "readonly", "readwrite", "readwrite")],
        op_dtypes=[m.dtype] * 4,
        casting="same_kind",
        buffersize=BLOCK,
    )

    def write() -> None:
        with blocks:
            for p, g, m, u in blocks:
                run(p, g, m, u, c)

    return write


def _later(*how: Any) -> Write:
    """Return what calls `whole` and then what it returns."""
    return lambda: whole(*how)()


def is_plain(x: Array, dtype: Any) -> bool:
    """Say whether a kernel can work on the memory of `x` as it is."""
    return bool(x.flags.c_contiguous and x.flags.aligned and x.dtype == dtype)


def _groups(arrays: Sequence[tuple[Array, ...]]) -> Iterator[list[int]]:
    """Yield the places of small arrays, two or more, whose moments are neighbours in memory."""
    small = [
        place
        for place, (p, m, u) in enumerate(arrays)
        if 0 < m.size <= SMALL and all(is_plain(x, m.dtype) for x in (p, m, u))
    ]
    group: list[int] = []
    size, ends = 0, None
    for place in sorted(small, key=lambda place: _address(arrays[place][1])):
        _, m, u = arrays[place]
        follows = ends == (m.dtype, _address(m), _address(u)) and size + m.size <= TOGETHER
        if not follows:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(place)
        size += m.size
        ends = (m.dtype, _address(m) + m.nbytes, _address(u) + u.nbytes)
    if len(group) > 1:
        yield group


def _gathered(
    together: Together,
    group: Sequence[int],
    arrays: Sequence[tuple[Array, ...]],
    buffers: Mapping[Any, Array],
) -> Callable[[Sequence[Array], Coefficients], None]:
    """Return what advances small arrays all at once."""
    params = [arrays[place][0] for place in group]
    size = sum(p.size for p in params)
    p, g = buffers[params[0].dtype][:, :size]
    # Moments that lie one behind the other are one array already.
    m, u = (as_strided(arrays[group[0]][i].reshape(-1), (size,)) for i in (1, 2))
    job = together(params, p, g, m, u)
    of_group = itemgetter(*group)

    def advance(gradients: Sequence[Array], c: Coefficients) -> None:
        np.concatenate(of_group(gradients), axis=None, out=g)
        job(c)

    return advance


def tensors_of(targets: Sequence[Target]) -> list[Array]:
    """Return what is torch's of these variables and moments."""
    return [part.held for target in targets for part in target if is_torch_array(part.held)]


def tell_torch(tensors: Sequence[Array]) -> None:
    """Let torch know which tensors have changed, as a graph may have to do without them now."""
    if tensors:
        from torch.autograd.graph import increment_version

        increment_version(tensors)


def _overlap(arrays: Sequence[Array]) -> bool:
    """Say whether any two arrays may share memory."""
    places = sorted(np.lib.array_utils.byte_bounds(x) for x in arrays)
    return any(end > start for (_, end), (start, _) in pairwise(places))


def _address(x: Array) -> int:
    return int(x.__array_interface__["data"][0])
