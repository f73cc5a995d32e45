"""The state of an optimizer as plain data: names, numbers of NumPy, and no object that acts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from adamax._public import public

__all__ = [
    "HasState",
    "LoadReport",
    "OptimizerState",
    "StateError",
    "VariableState",
    "duplicates",
]


class VariableState(NamedTuple):
    """One variable and its slots."""

    name: str
    dtype: str
    """Plain name of the variable's dtype."""
    shape: tuple[int, ...]
    value: Any = None
    """A NumPy copy, in which a bfloat16 of torch is a float32; None if it was not taken out."""
    slots: Mapping[str, Any] = {}
    """NumPy copies by name, in the order in which the slots were made."""


@public
class OptimizerState(NamedTuple):
    """The state of an optimizer between two steps, as `Adamax.get_state` returns it.

    It can be pickled, compared and edited: ``state._replace(step=0)``.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Adamax, Variable
    >>> w, opt = Variable(np.ones(2), name="w"), Adamax(learning_rate=0.5)
    >>> _ = opt.apply_gradients([(np.array([1.0, -2.0]), w)])
    >>> state = opt.get_state()
    >>> state.step, state.slots["w"]["v"], state.hyperparameters["learning_rate"]
    (1, array([1., 2.]), 0.5)
    """

    step: int
    """Number of steps taken."""
    variables: Sequence[VariableState]
    """In the order in which the optimizer first saw them; their names need not be unique."""
    weights: Sequence[VariableState]
    """Those that `add_weight` made; they have no slots."""
    hyperparameters: Mapping[str, Any]
    """As `get_config` returns them."""
    class_name: str
    """The class of the optimizer."""
    epsilon_in: Literal["division", "maximum"] = "division"
    """Where epsilon is added: to the infinity norm at the division, or to |g| in the maximum."""

    @property
    def slots(self) -> dict[str, Mapping[str, Any]]:
        """The slots by name of variable, then by name of slot; ValueError if a name is not unique.

        `variables` has them in order, under any names.
        """
        if twice := duplicates(entry.name for entry in self.variables):
            raise ValueError(
                "Expected variables of unique names, received duplicates: "
                f"{', '.join(map(repr, twice))}; read the slots of `variables`, which are in order"
            )
        return {entry.name: entry.slots for entry in self.variables}


class LoadReport(NamedTuple):
    """What a state and an optimizer with its variables do not have in common.

    Each is named as in a checkpoint: variable/<name>, <slot>/<name>, weight/<name>.
    """

    missing: list[str]  # not in the state
    unexpected: list[str]  # only in the state
    misfits: dict[str, str]  # in both, with what keeps them from being assigned


class StateError(ValueError):
    """A state does not fit the optimizer and its variables; `report` says what does not."""

    def __init__(self, report: LoadReport, hint: str = "") -> None:
        super().__init__(report, hint)
        self.report, self.hint = report, hint

    def __str__(self) -> str:
        return self.told("the state", "the state")

    def told(self, name: str, kind: str) -> str:
        """Return the message for a state that is called `name` and, further on, `kind`."""
        parts = [f"{part!r} {misfit}" for part, misfit in self.report.misfits.items()]
        for where, names in (
            ("missing in", self.report.missing),
            ("only in", self.report.unexpected),
        ):
            parts += [f"{where} {kind}: {', '.join(map(repr, names))}"] if names else []
        return f"{name} does not fit: {'; '.join(parts)}{self.hint}"


class HasState(Protocol):
    """An optimizer whose state can be taken out and put back; see `Adamax`."""

    def get_state(self, variables: Any = None) -> OptimizerState:
        """Return copies of everything, all of one step; values are those of `variables`."""

    def set_state(
        self, state: OptimizerState, variables: Any = None, *, strict: bool = True
    ) -> LoadReport:
        """Assign everything, or nothing."""


def duplicates(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
