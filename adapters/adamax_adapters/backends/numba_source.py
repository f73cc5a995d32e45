"""A rule as loops in Python that numba compiles: their source, generated from its trace.

Names of the trace end in an underscore there, so that none is a name of the loop's own.
"""

from collections.abc import Sequence
from textwrap import indent
from typing import NamedTuple

from adamax.rule import Rule
from adamax_adapters.backends.trace import Trace, trace

__all__ = ["Sources", "sources"]

OPERATIONS = {
    "abs": "np.abs({})",
    "add": "{} + {}",
    "divide": "{} / {}",
    "maximum": "np.maximum({}, {})",
    "multiply": "{} * {}",
    "positive": "{}",
    "subtract": "{} - {}",
    "where": "{1} if {0} else {2}",
}

DENSE = """\
def dense({arrays}, c):
    {scalars} = c
    for i in range(p_array.size):
{body}
"""

# Calls the loop above for parameters at addresses, whose gradients and states are in a row.
SCATTERED = """\
def scattered(addresses, ends, {others}, c):
    start = 0
    for address, end in zip(addresses, ends):
        p = numba.carray(pointer(address), end - start, g_array.dtype)
        dense(p, {parts}, c)
        start = end
"""

# `order` lists rows of g in the order of `indices`, and `first` where each row of p begins there.
ROWS = """\
def rows(first, indices, order, {arrays}, c):
    {scalars} = c
    for i in range(first.size - 1):
        start, stop = first[i], first[i + 1]
        row, total = indices[start], g_array[order[start]]
        if stop - start > 1:
            sums = g_array[order[start:stop]]
            distance = 1
            while distance < stop - start:
                for j in range(0, stop - start - distance, 2 * distance):
                    sums[j] += sums[j + distance]
                distance *= 2
            total = sums[0]
        for k in range(p_array.shape[1]):
{body}
"""


class Sources(NamedTuple):
    """The source of three functions, of which `scattered` calls `dense`."""

    dense: str
    scattered: str
    rows: str


def sources(rule: Rule) -> Sources:
    """Return the sources of the loops of a rule.

    They find numba, NumPy as `np`, and `pointer`, which makes a pointer of an address.

    Examples
    --------
    >>> from adamax.rule import ADAMAX
    >>> "t6_ = t5_ + epsilon_" in sources(ADAMAX).dense
    True
    """
    traced = trace(rule)
    _, *others = arrays = [f"{name}_array" for name in traced.arrays]
    scalars = "".join(f"{name}_, " for name in traced.scalars)
    return Sources(
        DENSE.format(
            arrays=", ".join(arrays),
            scalars=f"({scalars})",
            body=indent(_body(traced, "i", "g_array[i]"), 8 * " "),
        ),
        SCATTERED.format(
            others=", ".join(others), parts=", ".join(f"{x}[start:end]" for x in others)
        ),
        ROWS.format(
            arrays=", ".join(arrays),
            scalars=f"({scalars})",
            body=indent(_body(traced, "row, k", "total[k]"), 12 * " "),
        ),
    )


def _body(traced: Trace, index: str, gradient: str) -> str:
    """Return the statements that advance one element by a gradient."""
    held = {name: f"{name}_array[{index}]" for name in traced.written}
    elements = held | {"g": gradient}
    lines = [f"{name}_ = {elements[name]}" for name in traced.arrays]
    lines += [
        f"{result}_ = " + OPERATIONS[op].format(*_underlined(operands))
        for op, operands, result in traced.instructions
    ]
    outputs = _underlined(traced.outputs)
    lines += [f"{x} = {output}" for x, output in zip(held.values(), outputs, strict=True)]
    return "\n".join(lines)


def _underlined(names: Sequence[str]) -> list[str]:
    return [f"{name}_" for name in names]
