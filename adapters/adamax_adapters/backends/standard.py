"""The rule executed in plain array calls: for every library, and the measure for faster ways."""

from collections.abc import Callable, Sequence

from adamax import rule, sparse
from adamax._arrays import Array, array_namespace, rows_assignable
from adamax.rule import Coefficients
from adamax.sparse import IndexedSlices
from adamax_adapters.optimizer.slots import Target

__all__ = ["dense", "rows"]


def dense(targets: Sequence[Target]) -> Callable[[Sequence[Array], Coefficients], None]:
    """Return what advances `targets` by their gradients, one after the other."""

    def advance(gradients: Sequence[Array], c: Coefficients) -> None:
        for target, grad in zip(targets, gradients, strict=True):
            param, m, u = (part.value for part in target)
            for part, new in zip(target, rule.step(param, grad, m, u, c), strict=True):
                part.assign(new)

    return advance


def rows(target: Target, slices: IndexedSlices, c: Coefficients) -> None:
    """Advance the listed rows of a table, in place where its library can write to rows."""
    param, m, u = (part.value for part in target)
    xp = array_namespace(param)
    indices, *new_rows = sparse.rows_of(param, slices, m, u, c, xp=xp)
    for part, new in zip(target, new_rows, strict=True):
        if rows_assignable(part.value):
            part.value[indices] = new
        else:
            part.assign(sparse.set_rows(part.value, indices, new, xp))
