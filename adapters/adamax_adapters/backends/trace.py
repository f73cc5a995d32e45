"""The rule as a list of instructions: it runs once on symbols, and every call is noted.

What executes it faster than array by array reads the list: as calls of NumPy that write into
buffers, as the body of a CUDA kernel. The rule itself stays written once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from adamax.rule import Coefficients, rule

__all__ = ["ARRAYS", "OUTPUTS", "SCALARS", "Trace", "places", "trace"]

ARRAYS = ("p", "g", "m", "u")
SCALARS = Coefficients._fields
OUTPUTS = ("p", "m", "u")


class Instruction(NamedTuple):
    """``result = op(*operands)``, element by element; at least one operand is an array."""

    op: str  # as the array API calls it
    operands: tuple[str, ...]  # names in ARRAYS or SCALARS, or earlier results
    result: str  # t0, t1, ...


class Trace(NamedTuple):
    """The rule: its instructions in order, and the names of the new p, m and u."""

    instructions: tuple[Instruction, ...]
    outputs: tuple[str, ...]


def trace(function: Callable[..., Any] = rule) -> Trace:
    """Run a rule on symbols and return what it does.

    Parameters
    ----------
    function : callable (p, g, m, u, c, xp) -> (p, m, u)
        Default: the rule of this package.

    Returns
    -------
    Trace

    Raises
    ------
    TypeError
        If it computes with scalars alone or with numbers that are no coefficient, or uses an
        operator other than ``+ - * /`` and abs.
    AttributeError
        If it calls a function of the namespace other than abs and maximum.

    Examples
    --------
    >>> print(trace().instructions[0])
    Instruction(op='subtract', operands=('g', 'm'), result='t0')
    """
    instructions: list[Instruction] = []
    arrays = (_Symbol(name, instructions) for name in ARRAYS)
    scalars = Coefficients(*(_Symbol(name, instructions) for name in SCALARS))  # type: ignore[arg-type]
    outputs = function(*arrays, scalars, _Namespace())
    return Trace(tuple(instructions), tuple(symbol.name for symbol in outputs))


def places(traced: Trace) -> tuple[tuple[str, ...], int]:
    """Say where each result may be written, so that few buffers are needed.

    Returns
    -------
    (places, count)
        `places[i]` is where instruction i writes: ``'p'``, ``'m'`` or ``'u'``, in place, or one of
        `count` scratch buffers ``'s0'``, ``'s1'``, ...; never over what is read later. An output
        that could not be put in its own place is to be copied there at the end.
    """
    used = [name for _, operands, _ in traced.instructions for name in operands]
    ends = {name: len(used) - used[::-1].index(name) for name in used}  # counted in operands
    ends |= dict.fromkeys(traced.outputs, len(used) + 1)
    own = dict(zip(traced.outputs, OUTPUTS, strict=True))
    held = {name: name for name in OUTPUTS}  # place -> what is in it
    chosen: list[str] = []
    count = done = 0
    for _, operands, result in traced.instructions:
        done += len(operands)
        free = [place for place, name in held.items() if ends.get(name, 0) <= done]
        if result in own:
            mine = own[result]
            free = [mine] if mine in free else [place for place in free if place not in OUTPUTS]
        if not free:
            free = [f"s{count}"]
            count += 1
        # What an operand leaves is still in the cache.
        place = next((place for place in free if held.get(place) in operands), free[0])
        held[place] = result
        chosen.append(place)
    return tuple(chosen), count


def _forward(op: str) -> Callable[..., Any]:
    """Return an operator as a method that notes it."""
    return lambda self, *others: self.note(op, self, *others)


def _reflected(op: str) -> Callable[..., Any]:
    """Return an operator as a method for a symbol on its right-hand side."""
    return lambda self, other: self.note(op, other, self)


class _Symbol:
    """A stand-in for an array or a scalar, which notes what is computed with it."""

    def __init__(self, name: str, instructions: list[Instruction]) -> None:
        self.name, self.instructions = name, instructions

    def note(self, op: str, *operands: Any) -> "_Symbol":
        """Return the symbol of a result."""
        names = tuple(x.name if isinstance(x, _Symbol) else repr(x) for x in operands)
        if not all(isinstance(x, _Symbol) for x in operands):
            raise TypeError(f"the rule computes {op}{names}: every scalar must be a coefficient")
        if set(names) <= set(SCALARS):
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

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the rule calls {name}; a trace knows abs and maximum alone")
