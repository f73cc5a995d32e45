"""The trace of the rule replayed in a library's own calls, which write where they are told to."""

from typing import Any

from adamax._arrays import Array, Namespace
from adamax.rule import Coefficients
from adamax_adapters.backends.trace import places, trace

__all__ = ["SCRATCH", "replay"]

_TRACE = trace()
_PLACES, _count = places(_TRACE)  # p, m and u end in their own places

SCRATCH = tuple(f"s{i}" for i in range(_count))
"""Names of the buffers that are needed beside p, g, m and u."""


def replay(buffers: dict[str, Array], c: Coefficients, xp: Namespace) -> None:
    """Advance arrays by one step, in place and without temporaries.

    Parameters
    ----------
    buffers : dict of str to Array
        ``'p'``, ``'g'``, ``'m'``, ``'u'`` and the scratch, all of one shape and dtype.
    c : Coefficients
        The scalars of this step.
    xp : namespace
        Its functions take `out`.
    """
    values: dict[str, Any] = buffers | c._asdict()
    for (op, operands, result), place in zip(_TRACE.instructions, _PLACES, strict=True):
        function = getattr(xp, op)
        values[result] = function(*[values[name] for name in operands], out=buffers[place])
