"""A backend that counts what it is asked to prepare, as a backend of a user's own could."""

from collections.abc import Sequence
from typing import Any

from adamax_adapters.backends import standard


class Counting:
    """The standard backend; `prepared` is the number of sets of variables that it prepared."""

    def __init__(self) -> None:
        self.prepared = 0

    def dense(self, targets: Sequence[Any], *rule: Any) -> Any:
        self.prepared += 1
        return standard.dense(targets, *rule)

    def rows(self, *arguments: Any) -> Any:
        return standard.rows(*arguments)
