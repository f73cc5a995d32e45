"""The sources of both packages as texts: in which room a file is, and what it imports of ours."""

import ast
import re
from collections.abc import Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path

import adamax
import adamax_adapters

__all__ = ["LAZY_FACE", "SOURCES", "imported", "room"]

LAZY_FACE = "adamax/__init__.py"
SOURCES: Mapping[str, str] = {
    path.relative_to(root).as_posix(): path.read_text()
    for package in (adamax, adamax_adapters)
    for root in [Path(str(package.__file__)).parents[1]]
    for path in sorted((root / package.__name__).rglob("*.py"))
}
"""Every file of both packages, by its path from the folder that its package is in."""

OURS = re.compile(r"adamax(_adapters)?(\.[\w*.]*)?")


def room(module: str) -> str:
    """Return the room of a module: `adamax`, or a folder or a file of `adamax_adapters`."""
    package, *inside = module.removesuffix(".__init__").split(".")
    return inside[0] if package == "adamax_adapters" and inside else package


def module_of(path: str) -> str:
    """Return the name of the module that a file defines."""
    return path.removesuffix(".py").replace("/", ".")


def _lazy_names() -> dict[str, str]:
    """Return where the names are that `adamax` imports when they are asked for."""
    return {
        f"adamax.{alias.name}": f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(SOURCES[LAZY_FACE]))
        if isinstance(node, ast.ImportFrom) and room(str(node.module)) != "adamax"
        for alias in node.names
    }


def imported(path: str, source: str) -> set[str]:
    """Return what a file imports of ours, as dotted names.

    Imports inside functions and for type checkers count; so do strings that are dotted names, which
    `import_module` may be given, and lazy names of `adamax`, which are imported from elsewhere.
    """
    lazy, package = _lazy_names(), module_of(path).rpartition(".")[0]
    return {lazy.get(name, name) for name in _names(source, package) if OURS.fullmatch(name)}


def _names(source: str, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            yield node.value
