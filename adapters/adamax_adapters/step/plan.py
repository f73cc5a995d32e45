"""How a step of many variables is executed: by which backends, and in which turns."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from adamax._arrays import Array, array_namespace
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable
from adamax_adapters.backends import backend_for
from adamax_adapters.backends.contract import Prepare, Target, Write

__all__ = ["indices_of_slices", "planned"]

Part: TypeAlias = tuple[list[int], Prepare]
"""Indices of variables, and the function that prepares their step, given their gradients."""

Turn: TypeAlias = list[Part]
"""Parts of a step of which none reads memory that another one writes."""


def indices_of_slices(gradients: Sequence[Any]) -> tuple[int, ...]:
    """Return the indices of the gradients that list rows."""
    if IndexedSlices not in map(type, gradients):
        return ()
    return tuple(i for i, grad in enumerate(gradients) if type(grad) is IndexedSlices)


def planned(
    targets: Sequence[Target],
    sparse: Sequence[int] = (),
    backend: Any = None,
    rule: Rule = ADAMAX,
) -> Prepare:
    """Return what prepares a step of variables, each in the fastest way there is.

    Parameters
    ----------
    targets : sequence of Target
    sparse : sequence of int
        Indices of the variables whose gradients are `IndexedSlices`.
    backend : str or object, optional
        The backend to take for all of them, or its name.
    rule : Rule

    Returns
    -------
    callable (gradients, c) -> callable ()
        Gradients are checked, in the dtype of the state, and share no memory with the targets.
        What it returns writes; it raises what a constraint raises, and has changed nothing then.
        What a backend of the caller's own raises in it, that backend alone knows how to undo.

    Raises
    ------
    ValueError, ModuleNotFoundError
        If the named backend cannot update a variable, or is not installed.
    """
    in_turns, turns = _turns(targets, sparse, backend, rule)
    if in_turns:
        prepare: Prepare = partial(_in_turns, targets, turns)
    elif len(turns[0]) == 1:
        prepare = turns[0][0][1]
    else:
        prepare = partial(_together, turns[0])
    return partial(_quiet, prepare)


def _quiet(prepare: Prepare, gradients: Sequence[Gradient], c: Coefficients) -> Write:
    # NumPy alone would warn of overflow, or raise between two variables if told to.
    with np.errstate(all="ignore"):
        write = prepare(gradients, c)
    return partial(_quietly, write)


def _quietly(write: Write) -> None:
    with np.errstate(all="ignore"):
        write()


def _turns(
    targets: Sequence[Target], sparse: Sequence[int], wanted: Any, rule: Rule
) -> tuple[bool, list[Turn]]:
    """Return the turns of a step, and whether each must be written before the next is prepared."""
    one_by_one = any(target[0].constraint is not None for target in targets)
    # A variable that is given twice takes its second turn when all have taken their first.
    parts: dict[int, dict[tuple[Any, int | None], list[int]]] = defaultdict(dict)
    given: Counter[int] = Counter()
    for index, (variable, *state) in enumerate(targets):
        # A constraint may look at other variables, and finds those before it advanced.
        turn = index if one_by_one else given[id(state[0])]
        backend = backend_for(variable.held, variable.name, wanted)
        part = backend, index if index in sparse else None
        parts[turn].setdefault(part, []).append(index)
        given[id(state[0])] += 1
    turns = [
        [
            (indices, _job(backend, [targets[i] for i in indices], row is not None, rule))
            for (backend, row), indices in parts[turn].items()
        ]
        for turn in sorted(parts)
    ]
    return one_by_one or len(turns) > 1, turns


def _job(backend: Any, targets: Sequence[Target], of_rows: bool, rule: Rule) -> Prepare:
    # A backend of the caller's own may know the default rule alone, and no argument for others.
    of_rule = () if rule is ADAMAX else (rule,)
    if not of_rows:
        prepare: Prepare = backend.dense(targets, *of_rule)
        return prepare
    (target,) = targets
    return lambda gradients, c: backend.rows(target, gradients[0], c, *of_rule)


def _together(turn: Turn, gradients: Sequence[Gradient], c: Coefficients) -> Write:
    """Prepare all parts of a turn before any of them is written."""
    writes = [prepare([gradients[i] for i in indices], c) for indices, prepare in turn]

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
                for indices, _ in turn:
                    _constrain(targets[i][0] for i in indices)
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
