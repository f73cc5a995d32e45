"""The methods of the optimizer that give its state and take it, as plain data."""

from typing import Any

from adamax_adapters.step import transfer
from adamax_adapters.step.state import LoadReport, OptimizerState, VariableState

__all__ = ["describe", "get_state", "set_state"]


def get_state(optimizer: Any, variables: Any = None) -> OptimizerState:
    """Return copies of iterations, slots, weights and hyperparameters, all of one step.

    Parameters
    ----------
    variables : variables, nested in any way, optional
        Those whose values to copy too. Default: all that have slots.

    Returns
    -------
    OptimizerState
        Plain data: NumPy arrays, numbers and names, that no later step changes.

    Raises
    ------
    TypeError
        If something in `variables` is no variable.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Adamax, Variable
    >>> w, opt = Variable(np.ones(2), name="w"), Adamax()
    >>> opt.build([w])
    >>> opt.get_state().variables[0].value
    array([1., 1.])
    """

    def copies() -> OptimizerState:
        entries, weights = transfer.copied(optimizer._slots, optimizer._added, variables)
        return OptimizerState(
            int(optimizer.iterations),
            entries,
            weights,
            optimizer.get_config(),
            type(optimizer).__name__,
        )

    state: OptimizerState = optimizer._slots.read(copies)
    return state


def set_state(
    optimizer: Any, state: OptimizerState, variables: Any = None, *, strict: bool = True
) -> LoadReport:
    """Assign iterations, slots, weights and values of variables: all of them, or nothing.

    Hyperparameters stay as they are: `from_config` builds an optimizer with those of a state.

    Parameters
    ----------
    state : OptimizerState
        From an optimizer on arrays of any library. It is copied.
    variables : variables, nested in any way, optional
        Those whose values are assigned. Default: all that have slots. They are found by name;
        several of one name by their order in `variables`. Slots that are missing are made.
    strict : bool
        Whether the state must hold exactly what `get_state` would return for the same variables,
        in the same shapes and dtypes. If not, what they have in common is assigned.

    Returns
    -------
    LoadReport
        `missing`, `unexpected` and `misfits`: the names that were left out; none if `strict`.

    Raises
    ------
    TypeError
        If `state` is no OptimizerState, or something in `variables` is no variable.
    ValueError
        If a name does not tell which of several variables is meant, epsilon is not added at the
        division, or, if `strict`, because of anything that would be reported.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Adamax, Variable
    >>> w, opt = Variable(np.ones(2), name="w"), Adamax()
    >>> state = opt.apply_gradients([(np.ones(2), w)]) and opt.get_state()
    >>> other, resumed = Variable(np.zeros(2), name="w"), Adamax()
    >>> resumed.set_state(state, [other])
    LoadReport(missing=[], unexpected=[], misfits={})
    >>> int(resumed.iterations), np.array_equal(other, w)
    (1, True)
    """

    def prepare() -> Any:
        slots, iterations, added = optimizer._slots, optimizer.iterations, optimizer._added
        return transfer.loading(state, slots, iterations, added, variables, strict=strict)

    report: LoadReport = optimizer._slots.change(prepare)
    return report


def describe(optimizer: Any, variables: Any = None) -> list[VariableState]:
    """Return names, dtypes and shapes of variables, and their slots by name, without numbers.

    Parameters
    ----------
    variables : variables, nested in any way, optional
        In the order in which they are returned. Default: all that have slots, in the order in
        which they were first seen.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Adamax, Variable
    >>> Adamax().describe([Variable(np.ones(2), name="w")])
    [VariableState(name='w', dtype='float64', shape=(2,), value=None, slots={})]
    """
    found: list[VariableState] = optimizer._slots.read(
        lambda: transfer.described(optimizer._slots, variables)
    )
    return found
