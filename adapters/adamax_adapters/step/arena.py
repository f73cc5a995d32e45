"""Many arrays side by side in one buffer, so that one pass over memory reaches all of them."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from math import prod

from adamax._arrays import Array, array_namespace, compute_dtype
from adamax.layout import is_spread, kind_of
from adamax.variable import Variable

__all__ = ["move_together", "zeros_together"]


def zeros_together(variables: Sequence[Variable]) -> list[Array]:
    """Return zeros in the shape and compute dtype of each variable.

    Those of one library, dtype and device are parts of one buffer, the smallest first; what is
    sharded or in chunks is an array of its own, spread as its variable is.
    """
    parts: dict[int, Array] = {}
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, variable in enumerate(variables):
        if is_spread(variable.held):
            xp = array_namespace(variable.held)
            parts[i] = xp.zeros_like(variable.held, dtype=compute_dtype(variable.dtype, xp))
        else:
            groups[kind_of(variable.held)].append(i)
    for group in groups.values():
        first = variables[group[0]]
        xp = array_namespace(first.held)
        sizes = {i: prod(variables[i].shape) for i in group}
        dtype = compute_dtype(first.dtype, xp) or first.dtype
        buffer = xp.zeros(sum(sizes.values()), dtype=dtype, device=first.device)
        start = 0
        for i in sorted(group, key=sizes.__getitem__):
            parts[i] = xp.reshape(buffer[start : start + sizes[i]], variables[i].shape)
            start += sizes[i]
    return [parts[i] for i in range(len(variables))]


def move_together(variables: Sequence[Variable]) -> None:
    """Let the values of variables be side by side, but for what is sharded or in chunks."""
    loose = [variable for variable in variables if not is_spread(variable.held)]
    for variable, part in zip(loose, zeros_together(loose), strict=True):
        part[...] = variable.held
        variable.held = part
