"""Warnings that point at the line of the user's program, however deep in here they arise."""

import sys
import warnings

__all__ = ["warn"]

OURS = ("adamax", "adamax_adapters")


def warn(message: str) -> None:
    """Give a UserWarning for the nearest caller outside of this project."""
    depth = 1
    while sys._getframe(depth).f_globals.get("__name__", "").partition(".")[0] in OURS:
        depth += 1
    warnings.warn(message, UserWarning, stacklevel=depth + 1)
