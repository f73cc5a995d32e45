"""Default names, each given once in a process."""

import itertools
from collections import defaultdict

__all__ = ["auto_name"]

_counts: dict[str, "itertools.count[int]"] = defaultdict(itertools.count)


def auto_name(base: str) -> str:
    """Return `base`, then base_1, base_2, ...: a name not given out before in this process."""
    number = next(_counts[base])
    return f"{base}_{number}" if number else base
