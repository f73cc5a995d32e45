"""One step of many variables: prepared once, for as long as they are the same."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from adamax._arrays import Array, array_namespace
from adamax.rule import Coefficients
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable
from adamax_adapters.backends import backend_for
from adamax_adapters.optimizer.slots import RECENT, Target, Targets

__all__ = ["advance"]

Plan: TypeAlias = Callable[[Sequence[Gradient], Coefficients], None]
"""What advances certain variables and their slots by one step, given their gradients."""


def advance(
    targets: Targets, gradients: Sequence[Gradient], c: Coefficients, wanted: Any = None
) -> None:
    """Advance variables and their slots by one step, each in the fastest way there is.

    Parameters
    ----------
    targets : Targets
    gradients : sequence of Array or IndexedSlices
        Checked, in the dtype of the slots; they share no memory with the targets.
    c : Coefficients
        The scalars of this step.
    wanted : str or object, optional
        The backend to take for all of them, or its name.

    Raises
    ------
    RuntimeError
        Inside a loss that is being differentiated.
    ValueError, ModuleNotFoundError
        If the named backend cannot update a variable, or is not installed.
    Exception
        What a constraint raises; nothing has changed then. What a backend of the caller's own
        raises; it alone knows what it has changed.
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
    with np.errstate(all="ignore"), _restored_on_error(targets) if constrained else nullcontext():
        targets.prepared[key](gradients, c)


def _plan(targets: Sequence[Target], sparse: Sequence[int], wanted: Any, one_by_one: bool) -> Plan:
    # A variable that is given twice takes its second turn when all have taken their first.
    turns: dict[tuple[int, Any, int | None], list[int]] = defaultdict(list)
    given: Counter[int] = Counter()
    for place, (variable, m, _) in enumerate(targets):
        # A constraint may look at other variables, and finds those before it advanced.
        turn = place if one_by_one else given[id(m)]
        backend = backend_for(variable.value, variable.name, wanted)
        turns[turn, backend, place if place in sparse else None].append(place)
        given[id(m)] += 1
    jobs: list[tuple[list[int], Plan]] = []
    for (_, backend, row), places in sorted(turns.items(), key=lambda item: item[0][0]):
        part = [targets[place] for place in places]
        if row is not None:
            jobs.append((places, _rows(backend, *part)))
        elif one_by_one:
            jobs.append((places, _constrained(backend, *part)))
        else:
            jobs.append((places, backend.dense(part)))

    if len(jobs) == 1:
        return jobs[0][1]

    def plan(gradients: Sequence[Gradient], c: Coefficients) -> None:
        for places, job in jobs:
            job([gradients[place] for place in places], c)

    return plan


def _constrained(backend: Any, target: Target) -> Plan:
    unconstrained, variable = backend.dense([target]), target[0]

    def plan(gradients: Sequence[Gradient], c: Coefficients) -> None:
        unconstrained(gradients, c)
        if variable.constraint is not None:
            variable.assign(variable.constraint(_copy(variable)))

    return plan


def _rows(backend: Any, target: Target) -> Plan:
    def plan(gradients: Sequence[Gradient], c: Coefficients) -> None:
        (slices,) = gradients
        backend.rows(target, slices, c)

    return plan


@contextmanager
def _restored_on_error(targets: Sequence[Target]) -> Iterator[None]:
    """Undo everything if a constraint raises."""
    before = [(part, _copy(part)) for target in targets for part in target]
    try:
        yield
    except BaseException:
        for part, value in before:
            part.assign(value)
        raise


def _copy(variable: Variable) -> Array:
    return array_namespace(variable.value).asarray(variable.value, copy=True)
