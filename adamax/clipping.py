"""Gradient clipping: by value, by the norm of one gradient, by the norm of all together.

Each function takes arrays or `IndexedSlices`, whose values are clipped as they are given, before
duplicate rows are summed. NaN stays NaN, and nothing waits for a device.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeVar, overload

from adamax import validation
from adamax._arrays import Namespace, array_namespace, compute_dtype, device_of, in_dtype
from adamax.layout import elsewhere, is_spread, kind_of
from adamax.sparse import Gradient, IndexedSlices
from adamax.typing import Array

__all__ = ["clip_all", "clip_by_global_norm", "clip_by_norm", "clip_by_value"]

A = TypeVar("A", bound=Array)
G = TypeVar("G", bound=Array | IndexedSlices)

SMALL_ELEMENTS = 1 << 16
"""Up to this size of a gradient, calling functions costs more than copying it."""


def clip_all(
    grads: Sequence[Gradient],
    norm: float | None,
    value: float | None,
    global_norm: float | None,
) -> list[Gradient]:
    """Return `grads` clipped in the order of the reference: norm, value, then global norm.

    A limit that is None clips nothing.
    """
    if norm is not None:
        grads = [clip_by_norm(grad, norm) for grad in grads]
    if value is None and global_norm is None:
        return list(grads)
    groups = _groups(grads)
    gathered = [_gathered([grads[index] for index in group]) for group in groups]
    if value is not None:
        gathered = [clip_by_value(grad, value) for grad in gathered]
    if global_norm is not None:
        gathered = clip_by_global_norm(gathered, global_norm)
    clipped = list(grads)
    for group, together in zip(groups, gathered, strict=True):
        parts = _apart(together, [grads[index] for index in group])
        for index, part in zip(group, parts, strict=True):
            clipped[index] = part
    return clipped


def clip_by_value(grad: G, limit: float) -> G:
    """Return `grad` with every element in ``[-limit, limit]``.

    Parameters
    ----------
    grad : Array or IndexedSlices
        Real floating dtype.
    limit : float, >= 0
        In gradient units.

    Returns
    -------
    Array or IndexedSlices
        New values; shape and dtype of `grad`. NaN stays NaN.

    Raises
    ------
    TypeError, ValueError
        If the gradient is not an array of a real floating dtype, or the limit is not a number >= 0.
    """
    limit = validation.non_negative(limit, "limit")
    x = _values(grad)
    xp = array_namespace(x)
    limit = _in_range(limit, x, xp)
    return _with_values(grad, xp.clip(x, -limit, limit))


def clip_by_norm(grad: G, limit: float) -> G:
    """Return `grad` scaled down to an L2 norm of at most `limit`.

    Parameters
    ----------
    grad : Array or IndexedSlices
        Real floating dtype.
    limit : float, >= 0
        In gradient units. 0 gives zeros.

    Returns
    -------
    Array or IndexedSlices
        New values; shape and dtype of `grad`. A NaN makes all of them NaN; an infinity makes the
        finite ones 0 and itself NaN, as in `tf.clip_by_norm`.

    Raises
    ------
    TypeError, ValueError
        If the gradient is not an array of a real floating dtype, or the limit is not a number >= 0.
    """
    limit = validation.non_negative(limit, "limit")
    x = _values(grad)
    xp = array_namespace(x)
    scale = _shrinkage(_norm(x, xp), limit, xp)
    return _with_values(grad, x * in_dtype(scale, x.dtype, xp))


@overload
def clip_by_global_norm(grads: Sequence[A], limit: float) -> list[A]: ...
@overload
def clip_by_global_norm(grads: Sequence[Array | IndexedSlices], limit: float) -> list[Any]: ...
def clip_by_global_norm(grads: Sequence[Any], limit: float) -> list[Any]:
    """Return all `grads` scaled by one factor, so that their common L2 norm is at most `limit`.

    Parameters
    ----------
    grads : sequence of Array or IndexedSlices
        Of one library and one device.
    limit : float, >= 0
        In gradient units. 0 gives zeros.

    Returns
    -------
    list of Array or IndexedSlices
        New values. All NaN where the norm is not finite, as in `tf.clip_by_global_norm`.

    Raises
    ------
    ValueError
        If the gradients are on several devices, whose norms could only be added on the host; if
        one is not of a real floating dtype, or the limit is below 0.
    TypeError
        If they are from several libraries, or one is not an array.
    """
    limit = validation.non_negative(limit, "limit")
    if not grads:
        return []
    arrays = [_values(grad) for grad in grads]
    xp = array_namespace(*arrays)
    if any(elsewhere(x, arrays[0]) for x in arrays):
        devices = sorted({str(device_of(x)) for x in arrays})
        raise ValueError(
            f"Expected gradients on one device, received {', '.join(devices)}, for clipping by "
            "global norm: norms on several devices can only be added on the host"
        )
    norms = [_norm(x, xp) for x in arrays]
    widest = max((norm.dtype for norm in norms), key=lambda dtype: xp.finfo(dtype).bits)
    norm = _norm(xp.stack([in_dtype(norm, widest, xp) for norm in norms]), xp)
    scale = xp.where(xp.isfinite(norm), _shrinkage(norm, limit, xp), xp.nan)
    return [
        _with_values(grad, x * in_dtype(scale, x.dtype, xp))
        for grad, x in zip(grads, arrays, strict=True)
    ]


def _groups(grads: Sequence[Gradient]) -> list[list[int]]:
    """Return the indices of gradients that are clipped as one array, being small and alike."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, grad in enumerate(grads):
        alone = (
            isinstance(grad, IndexedSlices)
            or is_spread(grad)
            or math.prod(grad.shape) > SMALL_ELEMENTS
        )
        groups[index if alone else kind_of(grad)].append(index)
    return list(groups.values())


def _gathered(grads: Sequence[Gradient]) -> Gradient:
    """Return gradients concatenated in one array; a single one as it is."""
    if len(grads) == 1:
        return grads[0]
    return array_namespace(grads[0]).concat(grads, axis=None)


def _apart(together: Gradient, like: Sequence[Any]) -> Iterator[Gradient]:
    """Yield the parts of what `_gathered` made of gradients of the shapes of `like`."""
    if len(like) == 1:
        yield together
        return
    xp, start = array_namespace(together), 0
    for grad in like:
        stop = start + math.prod(grad.shape)
        yield xp.reshape(together[start:stop], grad.shape)
        start = stop


def _norm(x: Any, xp: Namespace) -> Any:
    """Return the L2 norm of `x`, a 0-d array."""
    if 0 in x.shape:
        return xp.sum(x)
    # Squares overflow long before the norm does: divide by the largest element first, or by the
    # nearest number that has a reciprocal, by which some libraries multiply.
    limits = xp.finfo(x.dtype)
    unit = xp.clip(xp.max(xp.abs(x)), float(limits.smallest_normal), float(limits.max) / 4)
    scaled = x / unit
    return xp.sqrt(xp.sum(scaled * scaled)) * unit


def _shrinkage(norm: Any, limit: float, xp: Namespace) -> Any:
    """Return the factor that brings `norm` down to `limit`: 1 where it is there already."""
    limit = _in_range(limit, norm, xp)
    within = norm <= limit
    return xp.where(within, 1.0, xp.full_like(norm, limit) / xp.where(within, 1.0, norm))


def _in_range(limit: float, x: Any, xp: Namespace) -> float:
    """Return `limit`, or infinity if the dtype of `x` cannot hold it, which torch refuses."""
    return limit if limit <= float(xp.finfo(x.dtype).max) else math.inf


def _values(grad: Any) -> Any:
    """Return the values of `grad` in their compute dtype."""
    values = grad.values if isinstance(grad, IndexedSlices) else grad
    xp = array_namespace(validation.parameter(values, "the gradient"))
    return in_dtype(values, compute_dtype(values.dtype, xp), xp)


def _with_values(grad: G, new: Any) -> G:
    """Return `grad` with `new` for its values, in their dtype."""
    if isinstance(grad, IndexedSlices):
        return grad._replace(values=_with_values(grad.values, new))
    xp = array_namespace(grad)
    values: G = xp.asarray(in_dtype(new, grad.dtype, xp))  # NumPy's 0-d arrays come as scalars
    return values
