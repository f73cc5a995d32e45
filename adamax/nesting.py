"""Nested parameters: sequences and mappings of arrays, read leaf by leaf with their paths.

Mappings are read in the order of their sorted keys, so that two of them with the same keys line
up however they were filled.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from typing import Any

from adamax.sparse import IndexedSlices

__all__ = ["along", "leaves", "rebuilt"]


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf of `tree` with its path, such as ``params['layer'][2]``."""
    if isinstance(tree, Mapping):
        for key in _keys(tree):
            yield from leaves(tree[key], f"{path}[{key!r}]")
    elif _is_sequence(tree):
        for i, child in enumerate(tree):
            yield from leaves(child, f"{path}[{i}]")
    else:
        yield path, tree


def along(like: Any, tree: Any, path: str) -> Iterator[Any]:
    """Yield what `tree` holds at every leaf of `like`, in the same order.

    Raises
    ------
    ValueError
        If `tree` is not nested as `like` is; the message holds the path of the difference.
    """
    if isinstance(like, Mapping):
        if not isinstance(tree, Mapping) or tree.keys() != like.keys():
            got = sorted(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
            raise ValueError(f"{path} must have the keys {sorted(map(str, like))}, got {got}")
        for key in _keys(like):
            yield from along(like[key], tree[key], f"{path}[{key!r}]")
    elif _is_sequence(like):
        if not _is_sequence(tree) or len(tree) != len(like):
            got = f"{len(tree)}" if _is_sequence(tree) else type(tree).__name__
            raise ValueError(f"{path} must be a sequence of {len(like)}, got {got}")
        for i, (inner, child) in enumerate(zip(like, tree, strict=True)):
            yield from along(inner, child, f"{path}[{i}]")
    else:
        yield tree


def rebuilt(tree: Any, new: Iterator[Any]) -> Any:
    """Return the `new` leaves, in the order of `leaves`, nested as `tree` is, in its own types."""
    if isinstance(tree, Mapping):
        by_key = {key: rebuilt(tree[key], new) for key in _keys(tree)}
        # A defaultdict is made of more than its items.
        if isinstance(tree, MutableMapping) and type(tree) is not dict:
            nested = copy(tree)
            for key, child in by_key.items():
                nested[key] = child
            return nested
        return type(tree)({key: by_key[key] for key in tree})  # type: ignore[call-arg]
    if _is_sequence(tree):
        children = [rebuilt(child, new) for child in tree]
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    return next(new)


def _keys(tree: Mapping[Any, Any]) -> list[Any]:
    return sorted(tree, key=str)


def _is_sequence(tree: Any) -> bool:
    return isinstance(tree, Sequence) and not isinstance(tree, (str, bytes, IndexedSlices))
