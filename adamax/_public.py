"""The name under which users import a class or a function, whichever file defines it."""

from typing import TypeVar

__all__ = ["public"]

T = TypeVar("T")


def public(named: T) -> T:
    """Name `adamax` as the module of a public class or function, and return it.

    Help, tracebacks and pickles then show a path that users can import, and files can be split or
    renamed: no pickle refers to them.
    """
    named.__module__ = "adamax"
    return named
