"""PyTorch: in place, outside the graph, for tensors whose memory NumPy cannot see."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from adamax._arrays import Array
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.backends.replay import calls, replay
from adamax_adapters.backends.standard import rows

__all__ = ["dense", "rows"]

PARAMETER = "parameter"
"""The buffer in which a parameter of 16 bits is computed, in the dtype of its state."""


def dense(targets: Sequence[Target], rule: Rule = ADAMAX) -> Prepare:
    """Return what prepares a step of `targets`, in place."""
    arrays = [tuple(part.held for part in target) for target in targets]
    of_rule = replay(rule)

    def names_of(param: Array, like: Array) -> tuple[str, ...]:
        """Return the names of the buffers that a parameter needs."""
        of_narrow = () if param.dtype == like.dtype else (PARAMETER,)
        return of_narrow + of_rule.scratch

    largest: dict[tuple[str, Any, Any], int] = defaultdict(int)  # elements of the buffers
    for param, *_, like in arrays:
        for name in names_of(param, like):
            kind = name, like.dtype, like.device
            largest[kind] = max(largest[kind], like.numel())

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        # All tensors of a kind share a scratch, which is taken before the first one is written to.
        taken = {
            kind: torch.empty(size, dtype=kind[1], device=kind[2]) for kind, size in largest.items()
        }
        scalars = dict(zip(rule.scalars, rule.scalars_of(c), strict=True))

        def write() -> None:
            with torch.no_grad():
                for (param, *state), grad in zip(arrays, gradients, strict=True):
                    like = state[-1]
                    buffers = {
                        name: taken[name, like.dtype, like.device][: like.numel()].view(like.shape)
                        for name in names_of(param, like)
                    }
                    p = buffers[PARAMETER].copy_(param) if PARAMETER in buffers else param
                    values = dict(zip(of_rule.arrays, (p, grad, *state), strict=True))
                    for call in calls(of_rule, values | buffers | scalars, torch):
                        call()
                    if p is not param:
                        param.copy_(p)

        return write

    return prepare
