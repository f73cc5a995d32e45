"""Reverse mode over the array API: a loss runs forward on stand-ins, the tape runs back.

A stand-in computes with the array it holds and notes every call that depends on a variable; going
back over the notes, the table in `adamax_adapters.gradients.derivatives` says what each
contributes. Nothing here knows a library, and nothing waits for a device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from adamax._arrays import array_namespace
from adamax.sparse import IndexedSlices
from adamax.variable import Variable, reading
from adamax_adapters.gradients import indexing
from adamax_adapters.gradients.axes import like
from adamax_adapters.gradients.derivatives import RULES, SEQUENCE_RULES
from adamax_adapters.gradients.traced import Traced, plain

__all__ = ["Tape", "value_and_gradients"]


class Call(NamedTuple):
    """One call of the loss: what is needed to go back through it."""

    name: str
    args: tuple[Any, ...]  # without stand-ins
    kwargs: dict[str, Any]
    sources: list[tuple[int, int, Any]]  # (argument, place on the tape, its array)
    result: Any


class Tape:
    """The calls of one loss in order: place i holds the call that made stand-in i."""

    def __init__(self) -> None:
        self.obstacle: str | None = None  # why there is no way back, if there is none
        self._calls: list[Call | None] = []  # None: a variable
        self._variables: dict[int, tuple[Variable, Traced]] = {}

    def read(self, variable: Variable, value: Any) -> Traced:
        """Return the stand-in for a variable that the loss reads."""
        if id(variable) not in self._variables:
            self._calls.append(None)
            stand_in = Traced(value, self, len(self._calls) - 1)
            self._variables[id(variable)] = (variable, stand_in)
        return self._variables[id(variable)][1]

    def note(self, *call: Any) -> Traced:
        """Return the stand-in for the result of a call."""
        self._calls.append(Call(*call))
        return Traced(call[-1], self, len(self._calls) - 1)

    def is_variable(self, place: int) -> bool:
        """Say whether a place holds a variable itself."""
        return self._calls[place] is None

    def back(self, result: Any) -> Callable[[Any], Any]:
        """Return a function that gives the gradient of a variable, or None if there is none.

        Raises
        ------
        NotImplementedError
            If the loss went through something that has no derivative rule.
        """
        if self.obstacle is not None:
            raise NotImplementedError(
                f"the loss {self.obstacle}, of which there is no derivative: write it with other "
                "functions of the array API, name another engine, or return (value, gradients)"
            )
        if not isinstance(result, Traced):
            return lambda variable: None
        gradients = self._sweep(result)
        places = {key: stand_in.place for key, (_, stand_in) in self._variables.items()}
        return lambda variable: gradients.get(places.get(id(variable), -1))

    def _sweep(self, result: Traced) -> dict[int, Any]:
        """Return the gradients by place; those of calls are dropped as soon as they are used."""
        xp = array_namespace(result.array)
        gradients: dict[int, Any] = {result.place: xp.ones_like(result.array)}
        for place in range(result.place, -1, -1):
            call = self._calls[place]
            if call is None or place not in gradients:
                continue
            xp = array_namespace(call.result)
            gradient = indexing.dense(xp, gradients.pop(place), call.result.shape)
            for i, source, array in call.sources:
                part = _contribution(xp, gradient, call, i)
                if not isinstance(part, IndexedSlices):
                    part = like(xp, part, array)
                if source in gradients:
                    part = indexing.added(xp, gradients[source], part, array.shape)
                gradients[source] = part
        return gradients


def _contribution(xp: Any, gradient: Any, call: Call, i: int) -> Any:
    """Return the gradient of one argument of a call, given that of its result."""
    if call.name in SEQUENCE_RULES:
        rule = SEQUENCE_RULES[call.name]
        return rule(xp, gradient, call.result, *call.args, **call.kwargs)[i]
    rules = RULES[call.name]
    derivative = rules[i] if i < len(rules) else None
    if derivative is None:
        raise NotImplementedError(f"{call.name} has no derivative with respect to argument {i}")
    return derivative(xp, gradient, call.result, *call.args, **call.kwargs)


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Any]]
) -> tuple[Any, list[Any]]:
    """Call the loss once and differentiate it, on any array library.

    Parameters and returns are those of every engine; see `adamax_adapters.gradients.engines`.
    """
    tape = Tape()
    with reading(tape.read):
        result = loss()
    gradient = tape.back(result) if not isinstance(result, tuple) else None
    return plain(result), [gradient(variable) for variable in variables()] if gradient else []
