"""What a step changes: variables with their moments, and what has been prepared for them."""

from collections.abc import Hashable, Sequence
from typing import Any

from adamax.variable import Variable
from adamax_adapters.backends.contract import Target
from adamax_adapters.step.identity import Watched

__all__ = ["RECENT", "Targets"]

RECENT = 16
"""Sets of variables for which what has been prepared is kept."""


class Targets(list[Target]):
    """The targets of a step, with what has been prepared for them, by what it depends on."""

    def __init__(self, variables: Sequence[Variable], records: Sequence[Any]) -> None:
        super().__init__(
            (variable, record.slots["m"], record.slots["v"])
            for variable, record in zip(variables, records, strict=True)
        )
        self.variables, self.records = variables, records
        self.prepared: dict[Hashable, Any] = {}
        self.watched = Watched(variables)
