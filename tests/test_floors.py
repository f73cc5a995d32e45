"""The floors of the house: a table of what each room imports, in which every import goes down."""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest
from sources import LAZY_FACE, SOURCES, imported, module_of, room

BELOW_A_FACE = "adamax step"
TO_COME = ("torch", "optax", "keras", "thinc", "scipy", "ranks")
TABLE = {
    "adamax": "",
    "adamax_adapters": "",
    "installation": "",  # a leaf, which every room may import
    "backends": "adamax",
    "gradients": "adamax",
    "step": "adamax backends",
    "keras_style": "adamax backends gradients step",
    **dict.fromkeys(TO_COME, BELOW_A_FACE),
    "checkpoint": "adamax step",
    "convert": "adamax checkpoint step",
}
"""Every room, from the lowest floor up, and the rooms that it imports."""

ROOF = "cli"  # imports every room
EXCEPT = (LAZY_FACE, "adamax/__main__.py")  # hand on what the adapters define
ALLOWED = {(of, other) for of, others in TABLE.items() for other in others.split()}


def edges(sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield which room imports which other one."""
    for path, source in sources.items():
        of = room(module_of(path))
        others = {room(name) for name in imported(path, source)} - {of}
        yield from ((of, other) for other in others if path not in EXCEPT)


def forbidden(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the imports that are not in the table."""
    rooms = {*TABLE, ROOF}
    free = {(of, "installation") for of in rooms} | {(ROOF, other) for other in TABLE}
    return {*edges(sources)} - ALLOWED - free


def circle(sources: Mapping[str, str]) -> list[str]:
    """Return the rooms of a circle of imports, if there is one."""
    graph: dict[str, set[str]] = {}
    for of, other in edges(sources):
        graph.setdefault(of, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_imports_are_those_of_the_table() -> None:
    """No room imports another that the table does not list, not even for type checkers."""
    assert forbidden(SOURCES) == set()


def test_table_lists_what_is_there() -> None:
    """Every room is in the table, and every entry of a room that is there is used."""
    rooms = {room(module_of(path)) for path in SOURCES}
    assert rooms.isdisjoint(TO_COME)
    assert rooms | {*TO_COME} == {*TABLE, ROOF}
    assert {(of, other) for of, other in ALLOWED - {*edges(SOURCES)} if of in rooms} == set()


def test_table_goes_down() -> None:
    """In the table, a room imports only rooms that come before it: those of lower floors."""
    floors = list(TABLE)
    assert all(floors.index(other) < floors.index(of) for of, other in ALLOWED)


def test_no_rooms_import_each_other() -> None:
    """The imports of all files have no circle of rooms."""
    assert circle(SOURCES) == []


HIDDEN = {
    "a name": "from adamax_adapters.step.slots import Slots",
    "a module": "from adamax_adapters.step import slots",
    "a room": "from adamax_adapters import step",
    "a relative name": "from ..step.slots import Slots",
    "a relative room": "from .. import step",
    "import": "import adamax_adapters.step.slots as s",
    "inside a function": "def f():\n    from adamax_adapters.step import slots",
    "for type checkers": "if TYPE_CHECKING:\n    from adamax_adapters.step.slots import Slots",
    "import_module": "import_module('adamax_adapters.step.slots')",
    "import_module of a name": "import_module(f'adamax_adapters.step.{name}')",
}
LAZY = {
    "a lazy name": "from adamax import Adamax",
    "an attribute": "import adamax\nadamax.Adamax",
}


@pytest.mark.parametrize("source", HIDDEN.values(), ids=HIDDEN)
def test_upward_import_is_found(source: str) -> None:
    """However a lower room imports a higher one, the table forbids it."""
    assert forbidden({"adamax_adapters/backends/bad.py": source}) == {("backends", "step")}


@pytest.mark.parametrize("source", LAZY.values(), ids=LAZY)
def test_upward_import_through_the_lazy_face_is_found(source: str) -> None:
    """A lazy name of `adamax` is an import of the room that defines it."""
    assert ("step", "keras_style") in forbidden({"adamax_adapters/step/bad.py": source})


def test_unknown_room_is_found() -> None:
    """A room that the table does not list may import nothing, and be imported by nobody."""
    assert forbidden({"adamax_adapters/new.py": "import adamax"}) == {("new", "adamax")}
    assert forbidden({"adamax_adapters/step/a.py": "import adamax_adapters.new"})


def test_circle_is_found() -> None:
    """Three rooms that import each other in turn are a circle."""
    bad = {
        "adamax_adapters/a.py": "from adamax_adapters import b",
        "adamax_adapters/b/x.py": "from adamax_adapters import c",
        "adamax_adapters/c/y.py": "def f():\n    import adamax_adapters.a",
    }
    assert {*circle(bad)} == {"a", "b", "c"}
