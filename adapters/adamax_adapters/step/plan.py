"""One step of many variables: prepared once, for as long as they are the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from adamax._arrays import Array, array_namespace
from adamax.rule import Coefficients
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable
from adamax_adapters.backends import backend_for
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.step.targets import RECENT, Targets

__all__ = ["prepared"]

Turn: TypeAlias = list[tuple[list[int], Prepare]]
"""Which gradients are given to what; these parts of a step do not read what another one writes."""


def prepared(
    targets: Targets, gradients: Sequence[Gradient], c: Coefficients, wanted: Any = None
) -> Write:
    """Return what advances variables and their slots by one step, each in the fastest way there is.

    Parameters
    ----------
    targets : Targets
    gradients : sequence of Array or IndexedSlices
        Checked, in the dtype of the slots; they share no memory with the targets.
    c : Coefficients
        The scalars of this step.
    wanted : str or object, optional
        The backend to take for all of them, or its name.

    Returns
    -------
    callable ()
        It raises what a constraint raises; nothing has changed then. What a backend of the
        caller's own raises in it, that backend alone knows how to undo.

    Raises
    ------
    RuntimeError
        Inside a loss that is being differentiated.
    ValueError, ModuleNotFoundError
        If the named backend cannot update a variable, or is not installed.
    MemoryError, Exception
        Whatever a backend raises before it writes.
    """
    targets[0][0].refuse_in_loss()
    sparse: tuple[int, ...] = ()
    if IndexedSlices in map(type, gradients):
        sparse = tuple(i for i, grad in enumerate(gradients) if type(grad) is IndexedSlices)
    constrained = [variable.constraint for variable in targets.variables].count(None) < len(targets)
    key = (wanted, sparse, constrained)
    if key not in targets.prepared:
        if len(targets.prepared) >= RECENT:
            targets.prepared.clear()
        targets.prepared[key] = _plan(targets, sparse, wanted, constrained)
    # NumPy alone would warn of overflow, or raise between two variables if told to.
    with np.errstate(all="ignore"):
        write = targets.prepared[key](gradients, c)
    return partial(_quietly, write)


def _quietly(write: Write) -> None:
    with np.errstate(all="ignore"):
        write()


def _plan(targets: Sequence[Target], sparse: Sequence[int], wanted: Any, one_by_one: bool) -> Any:
    # A variable that is given twice takes its second turn when all have taken their first.
    places: dict[int, dict[tuple[Any, int | None], list[int]]] = defaultdict(dict)
    given: Counter[int] = Counter()
    for place, (variable, m, _) in enumerate(targets):
        # A constraint may look at other variables, and finds those before it advanced.
        turn = place if one_by_one else given[id(m)]
        backend = backend_for(variable.held, variable.name, wanted)
        part = backend, place if place in sparse else None
        places[turn].setdefault(part, []).append(place)
        given[id(m)] += 1

    def turn_of(parts: dict[tuple[Any, int | None], list[int]]) -> Turn:
        return [
            (of_part, _job(backend, [targets[place] for place in of_part], row is not None))
            for (backend, row), of_part in parts.items()
        ]

    turns = [turn_of(places[turn]) for turn in sorted(places)]
    if one_by_one or len(turns) > 1:
        return partial(_in_turns, targets, turns)
    if len(turns[0]) == 1:
        return turns[0][0][1]
    return partial(_together, turns[0])


def _job(backend: Any, targets: Sequence[Target], of_rows: bool) -> Prepare:
    if not of_rows:
        prepare: Prepare = backend.dense(targets)
        return prepare
    (target,) = targets
    return lambda gradients, c: backend.rows(target, gradients[0], c)


def _together(turn: Turn, gradients: Sequence[Gradient], c: Coefficients) -> Write:
    """Prepare all parts of a turn before any of them is written."""
    writes = [prepare([gradients[place] for place in places], c) for places, prepare in turn]

    def write() -> None:
        for one in writes:
            one()

    return write


def _in_turns(
    targets: Sequence[Target], turns: Sequence[Turn], gradients: Sequence[Gradient], c: Coefficients
) -> Write:
    """Prepare turns, of which each reads what those before it have written.

    As the later ones may fail, or a constraint, there is a copy of everything to go back to.
    """
    before = [(part, _copy(part)) for target in targets for part in target]

    def write() -> None:
        try:
            for turn in turns:
                _together(turn, gradients, c)()
                for places, _ in turn:
                    _constrain(targets[place][0] for place in places)
        except BaseException:
            for part, value in before:
                part.assign(value)
            raise

    return write


def _constrain(variables: Iterable[Variable]) -> None:
    for variable in variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(_copy(variable)))


def _copy(variable: Variable) -> Array:
    return array_namespace(variable.held).asarray(variable.held, copy=True)
