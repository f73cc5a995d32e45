"""The trace of the rule as a library's own calls, which write where they are told to."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from adamax._arrays import Namespace
from adamax_adapters.backends.trace import places, trace

__all__ = ["SCRATCH", "calls"]

_TRACE = trace()
_PLACES, _count = places(_TRACE)  # p, m and u end in their own places

SCRATCH = tuple(f"s{i}" for i in range(_count))
"""Names of the buffers that are needed beside p, g, m and u."""


def calls(values: Mapping[str, Any], xp: Namespace) -> list[Callable[[], Any]]:
    """Return the calls that advance arrays by one step, in place and without temporaries.

    Parameters
    ----------
    values : mapping of str
        ``'p'``, ``'g'``, ``'m'``, ``'u'`` and the scratch, arrays of one shape and dtype; and the
        coefficients: numbers, or 0-d arrays of that dtype, which are read at each call.
    xp : namespace
        Its functions take `out`.
    """
    known = dict(values)
    found: list[Callable[[], Any]] = []
    for (op, operands, result), place in zip(_TRACE.instructions, _PLACES, strict=True):
        known[result] = known[place]
        arguments = [known[name] for name in operands]
        found.append(partial(getattr(xp, op), *arguments, out=known[place]))
    return found
