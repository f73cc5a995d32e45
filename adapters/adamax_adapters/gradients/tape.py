"""Reverse mode over the array API: a loss runs forward on stand-ins, the tape runs back.

A stand-in computes with the array it holds and notes every call that depends on a variable; going
back over the notes, the table in `adamax_adapters.gradients.derivatives` says what each
contributes. Nothing here knows a library, and nothing waits for a device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from adamax._arrays import array_namespace, read_only
from adamax.reading import read_by
from adamax.sparse import IndexedSlices
from adamax.variable import Variable
from adamax_adapters.gradients import indexing
from adamax_adapters.gradients.axes import like
from adamax_adapters.gradients.cupy_refusals import advised
from adamax_adapters.gradients.derivatives import RULES, SEQUENCE_RULES
from adamax_adapters.gradients.traced import Traced, is_real, plain

__all__ = ["Tape", "value_and_gradients"]


class Call(NamedTuple):
    """One call of the loss: what is needed to go back through it."""

    name: str
    args: tuple[Any, ...]  # without stand-ins
    kwargs: dict[str, Any]
    sources: list[tuple[int, Traced]]  # the stand-ins, with the arguments that they were
    result: Any


class Tape:
    """The calls of one loss in order: place i holds the call that made stand-in i."""

    def __init__(self) -> None:
        self.is_open = True
        self._obstacle: str | None = None  # why there is no way back, if there is none
        self._calls: list[Call | None] = []  # None: a variable
        self._variables: dict[int, tuple[Variable, Traced]] = {}

    def read(self, variable: Variable, value: Any) -> Any:
        """Return the stand-in for a variable that the loss reads; integers are constants."""
        if id(variable) not in self._variables:
            if not is_real(value.dtype):
                return value
            self._calls.append(None)
            stand_in = Traced(read_only(value), self, len(self._calls) - 1)
            self._variables[id(variable)] = (variable, stand_in)
        return self._variables[id(variable)][1]

    def note(self, name: str, args: Any, kwargs: Any, sources: Any, result: Any) -> Traced:
        """Return the stand-in for the result of a call."""
        self._calls.append(Call(name, args, kwargs, sources, result))
        return Traced(result, self, len(self._calls) - 1)

    def refuse(self, reason: str) -> None:
        """Note that there is no way back; it matters only if the loss returns no gradients."""
        self._obstacle = self._obstacle or reason

    def is_variable(self, place: int) -> bool:
        """Say whether a place holds a variable itself."""
        return self.is_open and self._calls[place] is None

    def back(self, result: Any) -> Callable[[Any], Any]:
        """Return a function that gives the gradient of a variable, or None if there is none.

        Raises
        ------
        NotImplementedError
            If the loss went through something that has no derivative rule.
        """
        if self._obstacle is not None:
            raise _refusal(self._obstacle)
        own = isinstance(result, Traced) and result.tape is self
        gradients = self._sweep(result) if own else {}
        places = {key: stand_in.place for key, (_, stand_in) in self._variables.items()}
        return lambda variable: gradients.get(places.get(id(variable), -1))

    def _sweep(self, result: Traced) -> dict[int, Any]:
        """Return the gradients by place; calls and their gradients are dropped when used."""
        xp = array_namespace(result.array)
        gradients: dict[int, Any] = {result.place: xp.ones_like(result.array)}
        while self._calls:
            call = self._calls.pop()
            if call is None or len(self._calls) not in gradients:
                continue
            gradient = gradients.pop(len(self._calls))
            if isinstance(gradient, IndexedSlices):
                gradient = indexing.dense(xp, gradient, call.result.shape)
            for i, source in call.sources:
                part = _contribution(xp, gradient, call, i)
                if not isinstance(part, IndexedSlices):
                    part = like(xp, part, source.array)
                if source.place in gradients:
                    part = indexing.added(xp, gradients[source.place], part, source.shape)
                gradients[source.place] = part
        return gradients

    def close(self) -> None:
        """Let go of all arrays; stand-ins that are still around are constants from now on."""
        self.is_open = False
        self._calls.clear()
        self._variables.clear()


def _contribution(xp: Any, gradient: Any, call: Call, i: int) -> Any:
    """Return the gradient of one argument of a call, given that of its result."""
    given = (xp, gradient, call.result, *call.args)
    try:
        if call.name in SEQUENCE_RULES:
            return SEQUENCE_RULES[call.name](*given, **call.kwargs)[i]
        derivative = RULES[call.name][i] if i < len(RULES[call.name]) else None
        if derivative is not None:
            return derivative(*given, **call.kwargs)
    except TypeError as error:  # an option of the function that the rule does not have
        raise _refusal(f"calls {call.name} in a way that has no rule ({error})") from error
    raise _refusal(f"calls {call.name} with a variable in argument {i}")


def _refusal(reason: str) -> NotImplementedError:
    return NotImplementedError(
        f"the loss {reason}, of which there is no derivative: write it with other functions of "
        "the array API, name another engine, or return (value, gradients)"
    )


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Any]]
) -> tuple[Any, list[Any]]:
    """Call the loss once and differentiate it, on any array library.

    Parameters and returns are those of every engine; see `adamax_adapters.gradients`.
    """
    tape = Tape()
    try:
        result = read_by(tape.read, partial(advised, loss))
        gradient = tape.back(result) if not isinstance(result, tuple) else None
        return plain(result), [gradient(variable) for variable in variables()] if gradient else []
    finally:
        tape.close()
