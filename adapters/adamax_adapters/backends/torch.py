"""PyTorch: in place, outside the graph, for tensors whose memory NumPy cannot see."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from adamax._arrays import Array
from adamax.rule import Coefficients
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.backends.replay import SCRATCH, calls
from adamax_adapters.backends.standard import rows

__all__ = ["dense", "rows"]

PARAMETER = "parameter"
"""The buffer in which a parameter of 16 bits is computed, in the dtype of its moments."""


def dense(targets: Sequence[Target]) -> Prepare:
    """Return what prepares a step of `targets`, in place."""
    arrays = [tuple(part.held for part in target) for target in targets]
    largest: dict[tuple[str, Any, Any], int] = defaultdict(int)  # elements of the buffers
    for param, m, _ in arrays:
        for name in _buffers(param, m):
            kind = name, m.dtype, m.device
            largest[kind] = max(largest[kind], m.numel())

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        # All tensors of a kind share a scratch, which is taken before the first one is written to.
        scratch = {
            kind: torch.empty(size, dtype=kind[1], device=kind[2]) for kind, size in largest.items()
        }

        def write() -> None:
            with torch.no_grad():
                for (param, m, u), grad in zip(arrays, gradients, strict=True):
                    buffers = {
                        name: scratch[name, m.dtype, m.device][: m.numel()].view(m.shape)
                        for name in _buffers(param, m)
                    }
                    p = buffers[PARAMETER].copy_(param) if PARAMETER in buffers else param
                    values = buffers | {"p": p, "g": grad, "m": m, "u": u} | c._asdict()
                    for call in calls(values, torch):
                        call()
                    if p is not param:
                        param.copy_(p)

        return write

    return prepare


def _buffers(param: Array, m: Array) -> Sequence[str]:
    return SCRATCH if param.dtype == m.dtype else (PARAMETER, *SCRATCH)
