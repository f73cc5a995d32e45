"""PyTorch: in place, outside the graph, for tensors whose memory NumPy cannot see."""

from collections.abc import Callable, Sequence

import torch

from adamax._arrays import Array
from adamax.rule import Coefficients
from adamax_adapters.backends.replay import SCRATCH, calls
from adamax_adapters.backends.standard import rows
from adamax_adapters.optimizer.slots import Target

__all__ = ["dense", "rows"]


def dense(targets: Sequence[Target]) -> Callable[[Sequence[Array], Coefficients], None]:
    """Return what advances `targets` by their gradients, in place."""

    def advance(gradients: Sequence[Array], c: Coefficients) -> None:
        with torch.no_grad():
            for target, grad in zip(targets, gradients, strict=True):
                param, m, u = (part.value for part in target)
                p = param.to(m.dtype)  # itself, but for 16 bits
                scratch = {name: torch.empty_like(m) for name in SCRATCH}
                values = {"p": p, "g": grad, "m": m, "u": u} | scratch | c._asdict()
                for call in calls(values, torch):
                    call()
                if p is not param:
                    param.copy_(p)

    return advance
