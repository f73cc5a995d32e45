"""Shapes and axes of gradients: of reductions, broadcasts and moved axes."""

import math
from collections.abc import Sequence
from typing import Any

from adamax._arrays import in_dtype

__all__ = ["inverse", "kept", "like", "split", "transposed"]


def kept(xp: Any, g: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """Return `g`, a reduction of `x` along `axis`, with the axes that it took away as 1."""
    if keepdims:
        return g
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, Sequence) else (axis,)
    gone = {i % max(1, x.ndim) for i in axes}
    return xp.reshape(g, tuple(1 if i in gone else n for i, n in enumerate(x.shape)))


def like(xp: Any, g: Any, x: Any) -> Any:
    """Return `g` in the shape and dtype of `x`, summed over what broadcasting repeated."""
    shape = tuple(x.shape)
    if tuple(g.shape) != shape:
        extra = len(g.shape) - len(shape)
        repeated = [i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1]
        g = xp.sum(g, axis=(*range(extra), *repeated), keepdims=True)
        g = xp.reshape(g, g.shape[extra:]) if extra else g
    return in_dtype(g, x.dtype, xp)


def inverse(axes: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the permutation that undoes `axes`; None is the reversal."""
    if axes is None:
        return tuple(reversed(range(ndim)))
    positions = {axis % ndim: i for i, axis in enumerate(axes)}
    return tuple(positions[i] for i in range(ndim))


def transposed(xp: Any, x: Any) -> Any:
    """Return the matrices of `x` transposed."""
    return xp.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def split(xp: Any, g: Any, parts: Sequence[Any], axis: int | None) -> list[Any]:
    """Return the pieces of `g` that belong to the concatenated `parts`."""
    pieces = []
    start = 0
    for part in parts:
        if axis is None:
            piece = slice(start, start + math.prod(part.shape))
            pieces.append(xp.reshape(g[piece], part.shape))
            start += math.prod(part.shape)
        else:
            lead = (slice(None),) * (axis % part.ndim)
            pieces.append(g[(*lead, slice(start, start + part.shape[axis]), ...)])
            start += part.shape[axis]
    return pieces
