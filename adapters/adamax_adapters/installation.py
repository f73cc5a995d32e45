"""How to install what an optional feature needs, written once for all messages."""

__all__ = ["install"]


def install(extra: str) -> str:
    """Return the command that installs adamax with the libraries of an extra.

    There is no release yet, so no package index has adamax: pip installs it from a clone.

    >>> install("numba")
    "python -m pip install '.[numba]' in a clone of adamax"
    """
    return f"python -m pip install '.[{extra}]' in a clone of adamax"
