"""The trace of a rule as a library's own calls, which write where they are told to."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from adamax._arrays import Array, Namespace, is_torch_array
from adamax.rule import Rule
from adamax_adapters.backends.trace import Instruction, buffers, trace

__all__ = ["Replay", "calls", "replay"]


class Replay(NamedTuple):
    """A rule in place: instructions whose operands and results are buffers and scalars."""

    arrays: tuple[str, ...]  # p, g and the state
    scalars: tuple[str, ...]
    scratch: tuple[str, ...]  # the buffers that are needed besides the arrays
    instructions: tuple[Instruction, ...]
    leading: frozenset[str]  # scalars that are a first operand, where torch takes a tensor alone


@cache
def replay(rule: Rule) -> Replay:
    """Return a rule as instructions that advance its arrays in place."""
    traced = trace(rule)
    chosen, count = buffers(traced)
    held = {name: name for name in (*traced.arrays, *traced.scalars)}
    found: list[Instruction] = []
    for (op, operands, result), buffer in zip(traced.instructions, chosen, strict=True):
        found.append(Instruction(op, tuple([held[name] for name in operands]), buffer))
        held[result] = buffer
    found += [
        Instruction("positive", (held[output],), name)
        for name, output in zip(traced.written, traced.outputs, strict=True)
        if held[output] != name
    ]
    first = frozenset(operands[0] for op, operands, _ in found if op != "where")
    scratch = tuple([f"s{i}" for i in range(count)])
    leading = first.intersection(traced.scalars)
    return Replay(traced.arrays, traced.scalars, scratch, tuple(found), leading)


def calls(of_rule: Replay, values: Mapping[str, Any], xp: Namespace) -> list[Callable[[], Any]]:
    """Return the calls that advance arrays by one step, in place and without temporaries.

    Parameters
    ----------
    of_rule : Replay
    values : mapping of str
        Its arrays and its scratch, of one shape and dtype; and its scalars: numbers, or 0-d arrays
        of that dtype, which are read at each call.
    xp : namespace
        Its functions take `out`.
    """
    if of_rule.leading:
        dtype = values["p"].dtype
        values = {**values, **{x: xp.asarray(values[x], dtype=dtype) for x in of_rule.leading}}
    return [
        partial(OURS.get(op) or getattr(xp, op), *[values[x] for x in operands], out=values[buffer])
        for op, operands, buffer in of_rule.instructions
    ]


def _copied(x: Array, out: Array) -> None:
    out[...] = x


def _chosen(flag: Any, x: Array, y: Array, out: Array) -> None:
    """Write `x`, or `y` where the flag is 0; torch decides on the device where its flag is."""
    if is_torch_array(flag):
        import torch

        torch.where(flag != 0, x, y, out=out)
    elif (source := x if flag else y) is not out:
        out[...] = source


OURS: Mapping[str, Callable[..., None]] = {"positive": _copied, "where": _chosen}
"""The operations for which a library has no function that writes where it is told to."""
