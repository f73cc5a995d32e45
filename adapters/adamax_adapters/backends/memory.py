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
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax_adapters.backends.contract import Prepare, Target, Write

__all__ = ["Kernel", "Together", "dense", "is_plain", "tell_torch", "tensors_of", "whole"]

Run: TypeAlias = Callable[[Sequence[Array], Sequence[float]], None]
"""Advances contiguous arrays of one dtype, in one dimension, in place.

It is given p, g and the state, and the scalars in the order of the rule."""

Kernel: TypeAlias = Callable[[Rule, Any, int], Run]
"""From a rule, a dtype and a number of elements to what advances arrays that have no more.

All memory that it needs is taken here: what it returns does not fail for want of it."""

Together: TypeAlias = Callable[
    [Rule, Sequence[Array], Sequence[Array]], Callable[[Sequence[float]], None]
]
"""From a rule, small parameters, and buffers for p and g with the state in a row, to what advances
them once the gradients are in their buffer."""

BLOCK_ELEMENTS = 1 << 14
"""How many are converted at a time, where arrays are not as the kernel wants them."""

SMALL_ELEMENTS = 1 << 14
"""Size of an array below which calling the kernel costs more than copying the array."""

TOGETHER_ELEMENTS = 1 << 18
"""How many, of small arrays, are gathered at most for one call of the kernel."""


def dense(
    kernel: Kernel, together: Together, targets: Sequence[Target], rule: Rule = ADAMAX
) -> Prepare:
    """Return what prepares a step of `targets`, in place."""
    arrays = [tuple(np.asarray(part.held) for part in target) for target in targets]
    overlap = _overlap([p for p, *_ in arrays if p.size])
    # Of arrays that overlap, the next reads what the last has written.
    groups = [] if overlap else list(_groups(arrays))
    begin = _later if overlap else whole
    buffers = _buffers(groups, arrays)
    jobs = [_gathered(rule, together, group, arrays, buffers) for group in groups]
    gathered = {index for group in groups for index in group}
    single = [(i, _dtype(x), *x) for i, x in enumerate(arrays) if i not in gathered]
    largest: dict[Any, int] = defaultdict(int)
    for _, dtype, p, *_ in single:
        largest[dtype] = max(largest[dtype], p.size)
    tensors = tensors_of(targets)

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        scalars = rule.scalars_of(c)
        if tensors or single:
            gradients = [np.asarray(grad) for grad in gradients]
        runs = {dtype: kernel(rule, dtype, size) for dtype, size in largest.items()}
        writes = [
            begin(runs[dtype], (p, gradients[i], *state), scalars) for i, dtype, p, *state in single
        ]

        def write() -> None:
            for job in jobs:
                job(gradients, scalars)
            for one in writes:
                one()
            tell_torch(tensors)

        return write

    return prepare


def whole(run: Run, arrays: Sequence[Array], scalars: Sequence[float]) -> Write:
    """Return what advances one array, of any strides and dtype."""
    dtype = _dtype(arrays)
    if all(is_plain(x, dtype) for x in arrays):
        return partial(run, [x.reshape(-1) for x in arrays], scalars)
    # Converted, aligned and made contiguous block by block, and written back.
    wanted = ["aligned", "contig", "nbo"]
    modes = ["readonly" if i == 1 else "readwrite" for i in range(len(arrays))]
    iterator: Any = np.nditer  # whose types misspell an option
    blocks = iterator(
        arrays,
        ["external_loop", "buffered", "zerosize_ok"],
        [[mode, *wanted] for mode in modes],
        op_dtypes=[dtype] * len(arrays),
        casting="same_kind",
        buffersize=BLOCK_ELEMENTS,
    )

    def write() -> None:
        with blocks:
            for block in blocks:
                run(block, scalars)

    return write


def _later(*how: Any) -> Write:
    """Return what calls `whole` and then what it returns."""
    return lambda: whole(*how)()


def is_plain(x: Array, dtype: Any) -> bool:
    """Say whether a kernel can work on the memory of `x` as it is."""
    return bool(x.flags.c_contiguous and x.flags.aligned and x.dtype == dtype)


def _dtype(arrays: Sequence[Array]) -> Any:
    """Return the dtype in which a parameter with its state is advanced."""
    return arrays[-1].dtype


def _groups(arrays: Sequence[tuple[Array, ...]]) -> Iterator[list[int]]:
    """Yield the indices of small arrays, two or more, whose states are neighbours in memory."""
    small = [
        index
        for index, of_one in enumerate(arrays)
        if 0 < of_one[0].size <= SMALL_ELEMENTS and all(is_plain(x, _dtype(of_one)) for x in of_one)
    ]
    group: list[int] = []
    size, ends = 0, None
    for index in sorted(small, key=lambda index: _address(arrays[index][-1])):
        p, *state = arrays[index]
        starts = p.dtype, [_address(x) for x in state]
        if ends != starts or size + p.size > TOGETHER_ELEMENTS:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(index)
        size += p.size
        ends = p.dtype, [_address(x) + x.nbytes for x in state]
    if len(group) > 1:
        yield group


def _buffers(
    groups: Sequence[Sequence[int]], arrays: Sequence[tuple[Array, ...]]
) -> dict[Any, Array]:
    """Return memory for the parameters and the gradients of one group at a time, by dtype."""
    sizes: dict[Any, int] = defaultdict(int)
    for group in groups:
        dtype = _dtype(arrays[group[0]])
        sizes[dtype] = max(sizes[dtype], sum(arrays[index][0].size for index in group))
    return {dtype: np.empty((2, size), dtype) for dtype, size in sizes.items()}


def _gathered(
    rule: Rule,
    together: Together,
    group: Sequence[int],
    arrays: Sequence[tuple[Array, ...]],
    buffers: Mapping[Any, Array],
) -> Callable[[Sequence[Array], Sequence[float]], None]:
    """Return what advances small arrays all at once."""
    params = [arrays[index][0] for index in group]
    size = sum(p.size for p in params)
    p, g = buffers[params[0].dtype][:, :size]
    # States that lie one behind the other are one array already.
    state = [as_strided(x.reshape(-1), (size,)) for x in arrays[group[0]][1:]]
    job = together(rule, params, (p, g, *state))
    of_group = itemgetter(*group)

    def advance(gradients: Sequence[Array], scalars: Sequence[float]) -> None:
        np.concatenate(of_group(gradients), axis=None, out=g)
        job(scalars)

    return advance


def tensors_of(targets: Sequence[Target]) -> list[Array]:
    """Return what is torch's of these variables and their states."""
    return [part.held for target in targets for part in target if is_torch_array(part.held)]


def tell_torch(tensors: Sequence[Array]) -> None:
    """Let torch know which tensors have changed, as a graph may have to do without them now."""
    if tensors:
        from torch.autograd.graph import increment_version

        increment_version(tensors)


def _overlap(arrays: Sequence[Array]) -> bool:
    """Say whether any two arrays may share memory."""
    bounds = sorted(np.lib.array_utils.byte_bounds(x) for x in arrays)
    return any(end > start for (_, end), (start, _) in pairwise(bounds))


def _address(x: Array) -> int:
    return int(x.__array_interface__["data"][0])
