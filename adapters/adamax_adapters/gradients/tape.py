"""Reverse mode over the array API: a loss runs forward on tracers, the tape runs back.

A tracer computes with the array it holds and records every call that depends on a variable. The
backward pass looks up the contribution of each call in `adamax_adapters.gradients.derivatives`.
Nothing here knows a library, and nothing waits for a device.
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
from adamax_adapters.gradients.protection import may_be_view
from adamax_adapters.gradients.tracer import Tracer, is_real, plain

__all__ = ["Tape", "value_and_gradients"]


class Call(NamedTuple):
    """One call of the loss, with all that the backward pass needs."""

    name: str
    args: tuple[Any, ...]  # without tracers
    kwargs: dict[str, Any]
    sources: list[tuple[int, Tracer]]  # the tracers, with the arguments that they were
    result: Any


class Tape:
    """The calls of one loss in order: tracer i holds the result of call i."""

    def __init__(self) -> None:
        self.is_open = True
        self._obstacles: list[tuple[str, list[int]]] = []  # reasons, and the tracers they concern
        self._calls: list[Call | None] = []  # None: a variable
        self._variables: dict[Variable, Tracer] = {}

    def read(self, variable: Variable, value: Any) -> Any:
        """Return the tracer of a variable that the loss reads; integers are constants."""
        if variable not in self._variables:
            if isinstance(value, Tracer):  # a variable that the loss has made of a tracer
                return value
            if not is_real(value.dtype):
                return value
            self._calls.append(None)
            self._variables[variable] = Tracer(read_only(value), self, len(self._calls) - 1)
        return self._variables[variable]

    def record(self, name: str, args: Any, kwargs: Any, sources: Any, result: Any) -> Tracer:
        """Return the tracer of the result of a call."""
        self._calls.append(Call(name, args, kwargs, sources, result))
        return Tracer(result, self, len(self._calls) - 1)

    def refuse(self, reason: str, *sources: Tracer) -> None:
        """Note that the loss loses the trace of tracers, unless it returns gradients itself."""
        if self.is_open:
            self._obstacles.append((reason, [source.index for source in sources]))

    def variable_behind(self, tracer: Tracer) -> Variable | None:
        """Return the variable that a tracer is or may be a view of, if any."""
        if not self.is_open:
            return None
        index = tracer.index
        while (call := self._calls[index]) is not None:
            if not may_be_view(call.name, call.args):
                return None
            index = call.sources[0][1].index
        return next(variable for variable, x in self._variables.items() if x.index == index)

    def back(self, result: Any, variables: list[Any]) -> list[Any]:
        """Return the gradients of variables, None where the result does not depend on one.

        Raises
        ------
        NotImplementedError
            If the loss used one of them in a way that has no derivative rule.
        """
        given = [self._variables.get(x) if isinstance(x, Variable) else None for x in variables]
        indices = [None if tracer is None else tracer.index for tracer in given]
        self._check(set(indices))
        own = isinstance(result, Tracer) and result.tape is self
        gradients = self._sweep(result) if own else {}
        return [gradients.get(index) for index in indices]

    def _check(self, dependent: set[int | None]) -> None:
        """Raise if an obstacle depends on the variables with these indices."""
        for i, call in enumerate(self._calls if self._obstacles else ()):
            if call is not None and any(x.index in dependent for _, x in call.sources):
                dependent.add(i)
        for reason, sources in self._obstacles:
            if dependent.intersection(sources):
                raise _refusal(reason)

    def _sweep(self, result: Tracer) -> dict[int | None, Any]:
        """Return the gradients by index; calls and their gradients are dropped when used."""
        xp = array_namespace(result.array)
        gradients: dict[int | None, Any] = {result.index: xp.ones_like(result.array)}
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
                if source.index in gradients:
                    part = indexing.added(xp, gradients[source.index], part, source.shape)
                gradients[source.index] = part
        return gradients

    def close(self) -> None:
        """Release all arrays; tracers that are still around are constants from now on."""
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
        f"Expected a loss that the tape can differentiate, received one that {reason}; use other "
        "array API functions, pass another engine=, or return (value, gradients)"
    )


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Any]]
) -> tuple[Any, list[Any]]:
    """Call the loss once and differentiate it, on any array library.

    Parameters and returns are those of every engine; see `adamax_adapters.gradients`.
    """
    tape = Tape()
    try:
        result = read_by(tape.read, partial(advised, loss), variables)
        if isinstance(result, tuple):
            return plain(result), []
        value = plain(result)
        if isinstance(result, Tracer) and tape.variable_behind(result) is not None:
            value = array_namespace(value).asarray(value, copy=True)  # a step would change a view
        return value, tape.back(result, variables())
    finally:
        tape.close()
