"""The rule executed in plain array calls: for every library, and the measure for faster ways."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from adamax import rule, sparse
from adamax._arrays import Array, array_namespace, rows_assignable
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable
from adamax_adapters.slots import Target

__all__ = ["apply_steps"]


def apply_steps(
    targets: Sequence[Target], gradients: Sequence[Gradient], c: rule.Coefficients
) -> None:
    """Advance variables and their slots by one step, in place where their library can write.

    Parameters
    ----------
    targets : sequence of (variable, m, u)
    gradients : sequence of Array or IndexedSlices
        Checked, in the dtype of the slots.
    c : Coefficients
        The scalars of this step.

    Raises
    ------
    Exception
        What a constraint raises; nothing has changed then.
    """
    # NumPy alone would warn of overflow, or raise between two variables if told to.
    with np.errstate(all="ignore"), _restored_on_error(targets):
        for target, grad in zip(targets, gradients, strict=True):
            if isinstance(grad, IndexedSlices):
                _apply_rows(target, grad, c)
            else:
                _apply_dense(target, grad, c)


def _apply_dense(target: Target, grad: Array, c: rule.Coefficients) -> None:
    variable, m, u = target
    new = rule.step(variable.value, grad, m.value, u.value, c)
    variable.assign(new[0] if variable.constraint is None else variable.constraint(new[0]))
    m.assign(new[1])
    u.assign(new[2])


def _apply_rows(target: Target, grad: IndexedSlices, c: rule.Coefficients) -> None:
    param, m, u = (part.value for part in target)
    xp = array_namespace(param)
    indices, *rows = sparse.rows_of(param, grad, m, u, c, xp=xp)
    for part, new in zip(target, rows, strict=True):
        if rows_assignable(part.value):
            part.value[indices] = new
        else:
            part.assign(sparse.set_rows(part.value, indices, new, xp))


@contextmanager
def _restored_on_error(targets: Sequence[Target]) -> Iterator[None]:
    """Undo everything if a constraint, the only foreign code in a step, raises."""
    parts = [part for target in targets for part in target]
    constrained = any(variable.constraint is not None for variable, _, _ in targets)
    before = [_copy(part) for part in parts] if constrained else []
    try:
        yield
    except BaseException:
        for part, value in zip(parts, before, strict=False):
            part.assign(value)
        raise


def _copy(variable: Variable) -> Array:
    return array_namespace(variable.value).asarray(variable.value, copy=True)
