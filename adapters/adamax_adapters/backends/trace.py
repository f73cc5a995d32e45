"""A rule as a list of instructions: it runs once on symbols, and every call is noted.

Code that executes it faster than array by array reads the list: as calls of NumPy that write into
buffers, as a loop that numba compiles, as the body of a CUDA kernel. The rule itself stays written
once.
"""

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

from adamax.rule import ADAMAX, Rule

__all__ = ["Instruction", "Trace", "buffers", "trace"]


class Instruction(NamedTuple):
    """``result = op(*operands)``, element by element; at least one operand is an array."""

    op: str  # as the array API calls it; the first operand of where is a scalar
    operands: tuple[str, ...]  # arrays or scalars of the trace, or earlier results
    result: str  # t0, t1, ...


class Trace(NamedTuple):
    """A rule: its arrays and scalars by name, its instructions in order, and their results."""

    written: tuple[str, ...]  # p, and the state: the arrays that a step writes
    scalars: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[str, ...]  # the names of the new arrays, in the order of `written`

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that a step reads: p, the gradient g, and the state."""
        return ("p", "g", *self.written[1:])


@cache
def trace(rule: Rule = ADAMAX) -> Trace:
    """Run a rule on symbols and return its instructions.

    Raises
    ------
    TypeError
        If it computes with scalars alone or with numbers that are no coefficient, lets an array
        decide, or uses an operator other than ``+ - * /`` and abs.
    AttributeError
        If it calls a function of the namespace other than abs, maximum and where.

    Examples
    --------
    >>> print(trace().instructions[0])
    Instruction(op='subtract', operands=('g', 'm'), result='t0')
    """
    instructions: list[Instruction] = []
    p, g, *state = (_Symbol(name, instructions) for name in ("p", "g", *rule.state))
    scalars = {name: _Symbol(name, instructions, is_scalar=True) for name in rule.scalars}
    new = rule.formula(p, g, *state, SimpleNamespace(**scalars), _Namespace())
    written = ("p", *rule.state)
    # An input that becomes the value of another array is copied, as it may be written to itself.
    outputs = [
        x.note("positive", x) if x.name in ("g", *written) and x.name != name else x
        for x, name in zip(new, written, strict=True)
    ]
    return Trace(written, rule.scalars, tuple(instructions), tuple(x.name for x in outputs))


def buffers(traced: Trace) -> tuple[tuple[str, ...], int]:
    """Say into which buffer each result may be written, so that few are needed.

    Returns
    -------
    (buffers, count)
        `buffers[i]` is where instruction i writes: one of the arrays that a step writes, in place,
        or one of `count` scratch buffers ``'s0'``, ``'s1'``, ...; never over what is read later.
        An output that could not be put in its own array is to be copied there at the end; no such
        copy is over what another one reads.
    """
    used = [name for _, operands, _ in traced.instructions for name in operands]
    ends = {name: len(used) - used[::-1].index(name) for name in used}  # counted in operands
    ends |= dict.fromkeys(traced.outputs, len(used) + 1)
    own = dict(zip(traced.outputs, traced.written, strict=True))
    held = {name: name for name in traced.written}  # buffer -> what is in it
    chosen: list[str] = []
    count = done = 0
    for _, operands, result in traced.instructions:
        done += len(operands)
        free = [buffer for buffer, name in held.items() if ends.get(name, 0) <= done]
        if result in own:
            mine = own[result]
            free = [mine] if mine in free else [x for x in free if x not in traced.written]
        if not free:
            free = [f"s{count}"]
            count += 1
        # The buffer of an operand is still in the cache.
        buffer = next((buffer for buffer in free if held.get(buffer) in operands), free[0])
        held[buffer] = result
        chosen.append(buffer)
    return tuple(chosen), count


def _forward(op: str) -> Callable[..., Any]:
    """Return an operator as a method that notes it."""
    return lambda self, *others: self.note(op, self, *others)


def _reflected(op: str) -> Callable[..., Any]:
    """Return an operator as a method for a symbol on its right-hand side."""
    return lambda self, other: self.note(op, other, self)


class _Symbol:
    """An array or a scalar by name alone, which notes what is computed with it."""

    def __init__(self, name: str, instructions: list[Instruction], is_scalar: bool = False) -> None:
        self.name, self.instructions, self.is_scalar = name, instructions, is_scalar

    def note(self, op: str, *operands: Any) -> "_Symbol":
        """Return the symbol of a result."""
        names = tuple(x.name if isinstance(x, _Symbol) else repr(x) for x in operands)
        if not all(isinstance(x, _Symbol) for x in operands):
            raise TypeError(f"the rule computes {op}{names}: every scalar must be a coefficient")
        if all(x.is_scalar for x in operands):
            raise TypeError(f"the rule computes {op}{names}: a scalar may only meet an array")
        result = f"t{len(self.instructions)}"
        self.instructions.append(Instruction(op, names, result))
        return _Symbol(result, self.instructions)

    def refuse(self, *others: Any) -> NoReturn:
        """Say what a trace could not follow."""
        raise TypeError(f"the rule decides by the value of {self.name}: it must not branch")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = refuse

    __abs__ = _forward("abs")
    __add__ = _forward("add")
    __radd__ = _reflected("add")
    __sub__ = _forward("subtract")
    __rsub__ = _reflected("subtract")
    __mul__ = _forward("multiply")
    __rmul__ = _reflected("multiply")
    __truediv__ = _forward("divide")
    __rtruediv__ = _reflected("divide")


class _Namespace:
    """The functions that a rule may call."""

    def abs(self, x: _Symbol, /) -> _Symbol:
        return x.note("abs", x)

    def maximum(self, x: _Symbol, y: _Symbol, /) -> _Symbol:
        return x.note("maximum", x, y)

    def where(self, flag: _Symbol, x: _Symbol, y: _Symbol, /) -> _Symbol:
        if not flag.is_scalar:
            raise TypeError(
                f"the rule decides by the value of {flag.name}: a flag is a coefficient"
            )
        return x.note("where", flag, x, y)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the rule calls {name}; a trace knows abs, maximum and where alone")
