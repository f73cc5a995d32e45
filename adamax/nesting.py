"""Nested parameters: containers of arrays, flattened leaf by leaf with their paths.

Containers are sequences, mappings, dataclasses and whatever class JAX knows as a pytree. Mappings
are read in the order of their sorted keys, so that two of them with the same keys line up however
they were filled.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from adamax._arrays import is_array
from adamax.sparse import IndexedSlices

__all__ = ["Structure", "flatten"]


class _Node(NamedTuple):
    """A container, taken apart."""

    keys: list[Any]  # of its children: keys, indices, or attributes such as ``.bias``
    children: list[Any]
    unflatten: Callable[[list[Any]], Any]  # makes such a container of other children
    form: str = "[{!r}]"  # how a key continues a path


class Structure:
    """The containers that hold the leaves of a tree, and how they are nested."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._node = _node(tree)
        self._parts = [Structure(child) for child in self._node.children] if self._node else []

    def flatten(self, tree: Any, path: str) -> Iterator[tuple[str, Any]]:
        """Yield every leaf of `tree`, which has this structure, with its path.

        Where this structure has a leaf, `tree` may have anything.

        Raises
        ------
        ValueError
            If `tree` has another structure; the message contains the path of the difference.
        """
        if self._node is None:
            yield path, tree
            return
        keys, form = self._node.keys, self._node.form
        node = self._node if tree is self._tree else _node(tree)
        if node is None or node.keys != keys:
            expected, received = _summary(self._tree), _summary(tree)
            raise ValueError(f"Expected {expected}, received {received}, for {path}")
        for key, part, child in zip(keys, self._parts, node.children, strict=True):
            yield from part.flatten(child, path + form.format(key))

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """Return `leaves`, in the order of `flatten`, in containers of the same types."""
        remaining = iter(leaves)
        if self._node is None:
            return next(remaining)
        return self._node.unflatten([part.unflatten(remaining) for part in self._parts])


def flatten(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf of `tree` with its path, such as ``params['layer'][2]``; None is a leaf."""
    return Structure(tree).flatten(tree, path)


def _node(tree: Any) -> _Node | None:
    """Return `tree` taken apart, or None if it is a leaf."""
    if isinstance(tree, Mapping):
        return _mapping(tree)
    if tree is None or isinstance(tree, (str, bytes, IndexedSlices)):
        return None
    if isinstance(tree, Sequence):
        return _sequence(tree)
    return None if is_array(tree) else _pytree(tree) or _dataclass(tree)


def _mapping(tree: Mapping[Any, Any]) -> _Node:
    keys = sorted(tree, key=str)

    def unflatten(children: list[Any]) -> Any:
        by_key = dict(zip(keys, children, strict=True))
        # A defaultdict is made of more than its items.
        if isinstance(tree, MutableMapping) and type(tree) is not dict:
            nested = copy(tree)
            for key, child in by_key.items():
                nested[key] = child
            return nested
        return type(tree)({key: by_key[key] for key in tree})  # type: ignore[call-arg]

    return _Node(keys, [tree[key] for key in keys], unflatten)


def _sequence(tree: Sequence[Any]) -> _Node:
    make: Any = type(tree)

    def unflatten(children: list[Any]) -> Any:
        return make(*children) if hasattr(tree, "_fields") else make(children)

    return _Node(list(range(len(tree))), list(tree), unflatten)


def _pytree(tree: Any) -> _Node | None:
    """Return an object taken apart by JAX, if that is in use and the class is registered there."""
    jax: Any = sys.modules.get("jax.tree_util")
    if jax is None or jax.all_leaves((tree,)):
        return None
    found, definition = jax.tree_flatten_with_path(tree, is_leaf=lambda part: part is not tree)
    keys = [jax.keystr(path) for path, _ in found]
    return _Node(keys, [child for _, child in found], definition.unflatten, "{}")


def _dataclass(tree: Any) -> _Node | None:
    """Return an object of a dataclass taken apart, without the fields that JAX calls static."""
    if not is_dataclass(tree) or isinstance(tree, type):
        return None
    names = [x.name for x in fields(tree) if x.init and not x.metadata.get("static")]

    def unflatten(children: list[Any]) -> Any:
        return replace(tree, **dict(zip(names, children, strict=True)))

    return _Node([f".{x}" for x in names], [getattr(tree, x) for x in names], unflatten, "{}")


def _summary(tree: Any) -> str:
    """Return what an error says of the structure of `tree`."""
    node = _node(tree)
    if node is None:
        return type(tree).__name__
    if isinstance(tree, Mapping):
        return f"the keys {sorted(map(str, node.keys))}"
    if isinstance(tree, Sequence):
        return f"a sequence of {len(tree)}"
    return f"{type(tree).__name__} with {', '.join(node.keys)}"
