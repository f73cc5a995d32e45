"""Private names stay in their room: none is used outside of the folder that defines it."""

import ast
import re
from collections.abc import Iterator, Mapping

import pytest
from sources import SOURCES, module_of, room

PRIVATE = re.compile(r"_(?!_)\w+")
OF_PYTHON = {"_asdict", "_fields", "_make", "_replace", "_getframe"}
ASKING = {"delattr", "getattr", "hasattr", "setattr", "__getattribute__", "__setattr__"}

OF_OTHERS = {
    ("adamax_adapters/gradients/autograd.py", "_value"): "a box of autograd has no public value",
    ("adamax_adapters/gradients/torch.py", "_is_view"): "torch has no public name for it",
    ("adamax_adapters/gradients/cupy_refusals.py", "_implementation"): "NumPy's mark of functions "
    "that ask their arguments",
}
"""Private names of other libraries, by file, and why nothing else will do."""


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a file defines: in a module, in a class, on ``self`` or ``cls``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Module | ast.ClassDef):
            plain = [x for x in node.body if not isinstance(x, ast.FunctionDef | ast.ClassDef)]
            inside = [x for statement in plain for x in ast.walk(statement)]
            yield from (x.id for x in inside if _is_stored(x) and isinstance(x, ast.Name))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
            yield from [node.attr] * _is_stored(node)


def _is_stored(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


def used(tree: ast.Module, here: str) -> Iterator[str]:
    """Yield the names that a file asks objects for, or imports from other rooms than its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and room(str(node.module)) != here:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ASKING:
            strings = [x.value for x in node.args if isinstance(x, ast.Constant)]
            yield from (x for x in strings if isinstance(x, str))


def reaching(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the files that use a private name of another room, with that name."""
    trees = {path: ast.parse(source) for path, source in sources.items()}
    own: dict[str, set[str]] = {}
    for path, tree in trees.items():
        own.setdefault(room(module_of(path)), set()).update(defined(tree))
    return {
        (path, name)
        for path, tree in trees.items()
        for here in [room(module_of(path))]
        for name in {*used(tree, here)} - own[here] - OF_PYTHON
        if PRIVATE.fullmatch(name)
    }


def test_private_names_stay_in_their_room() -> None:
    """No file uses a private name of another room; of other libraries, only those of the list."""
    found = reaching(SOURCES)
    assert found == OF_OTHERS.keys()


REACHING = {
    "an attribute": "def f(x):\n    return x._y",
    "an attribute that is set": "def f(x):\n    x._y = 1",
    "an attribute of a module": "from adamax_adapters.step import slots\nslots._y()",
    "an attribute of the base class": "class A(B):\n    def f(self):\n        return self._y",
    "a name that is imported": "from adamax_adapters.step.slots import _y",
    "getattr": "def f(x):\n    return getattr(x, '_y')",
    "setattr": "def f(x):\n    object.__setattr__(x, '_y', 1)",
    "a local variable has the name": "def f(x):\n    _y = x._y",
}


@pytest.mark.parametrize("source", REACHING.values(), ids=REACHING)
def test_private_name_of_another_room_is_found(source: str) -> None:
    """However a file reaches for a private name that another room defines, it is found."""
    path, other = "adamax_adapters/checkpoint/bad.py", "class B:\n    def _y(self): ..."
    assert reaching({path: source, "adamax_adapters/step/slots.py": other}) == {(path, "_y")}


OWN = {
    "a class attribute": ("class A:\n    _y = 1", "def f(a):\n    return a._y"),
    "annotated": ("class A:\n    _y: int", "def f(a):\n    return a._y"),
    "a method": (
        "class A:\n    def _y(self): ...",
        "class B(A):\n    def f(self):\n        self._y()",
    ),
    "on self": ("class A:\n    def f(self):\n        self._y = 1", "def f(a):\n    a._y"),
    "imported": ("def _y(): ...", "from adamax_adapters.step.a import _y"),
    "of a module": ("_y = 1", "def f(module):\n    return getattr(module, '_y')"),
    "of a named tuple": ("", "def f(x):\n    return x._replace(y=1)._asdict()"),
    "special": ("", "def f(x):\n    return x.__dict__"),
}


@pytest.mark.parametrize(("defining", "using"), OWN.values(), ids=OWN)
def test_private_name_of_the_same_room_is_free(defining: str, using: str) -> None:
    """Files of one room share their private names; those of Python are nobody's."""
    paths = ("adamax_adapters/step/a.py", "adamax_adapters/step/b.py")
    assert reaching(dict(zip(paths, (defining, using), strict=True))) == set()
