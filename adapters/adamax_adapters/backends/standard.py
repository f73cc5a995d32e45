"""The rule executed in plain array calls: for every library, and the measure for faster ways."""

from collections.abc import Iterable, Sequence
from functools import partial

from adamax._arrays import Array, array_namespace, is_immutable, rows_assignable
from adamax.layout import owner_of
from adamax.rule import ADAMAX, Coefficients, Rule, advanced
from adamax.sparse import IndexedSlices, rows_of, set_rows
from adamax_adapters.backends.contract import Prepare, Target, Write

__all__ = ["dense", "rows"]


def dense(targets: Sequence[Target], rule: Rule = ADAMAX) -> Prepare:
    """Return what prepares a step of `targets`."""
    written = [variable.held for variable, *_ in targets if not is_immutable(variable.held)]
    # Of arrays that share memory, the next may read what the last has written.
    shared = len(set(map(owner_of, written))) < len(written)

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        pairs = zip(targets, gradients, strict=True)
        new = ((target, _advanced(rule, target, grad, c)) for target, grad in pairs)
        return partial(_assign, new if shared else list(new))

    return prepare


def _advanced(rule: Rule, target: Target, grad: Array, c: Coefficients) -> tuple[Array, ...]:
    param, *state = (part.held for part in target)
    return advanced(rule, param, grad, state, c, array_namespace(param, grad))


def _assign(new: Iterable[tuple[Target, Sequence[Array]]]) -> None:
    for target, values in new:
        for part, value in zip(target, values, strict=True):
            part.assign(value)


def rows(target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX) -> Write:
    """Prepare a step of the listed rows of a table, in place if its library can write to rows."""
    param, *state = (part.held for part in target)
    xp = array_namespace(param)
    indices, *new_rows = rows_of(param, slices, state, c, rule=rule, xp=xp)
    in_place = [rows_assignable(part.held) for part in target]
    new = [
        row if is_in_place else set_rows(part.held, indices, row, xp)
        for part, row, is_in_place in zip(target, new_rows, in_place, strict=True)
    ]

    def write() -> None:
        for part, value, is_in_place in zip(target, new, in_place, strict=True):
            if is_in_place:
                part.held[indices] = value
            else:
                part.assign(value)

    return write
