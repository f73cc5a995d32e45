"""Pages and messages install adamax in the way that works: from a clone, as no index has it."""

import re
import tomllib
from pathlib import Path

import pytest

import adamax
import adamax_adapters

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for package in (adamax, adamax_adapters)
    for path in sorted(Path(str(package.__file__)).parent.rglob("*.py"))
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BY_NAME = re.compile(r"adamax\[[a-z]|pip install (-\S+ )*'?adamax\b")
EXTRA = re.compile(r"""['\"]\.\[([a-z0-9-]+)\]['\"]|\binstall\(['\"]([a-z0-9-]+)""")

if not all(path.is_file() for path in PAGES):
    pytest.skip("the README is not beside this copy of the tests", allow_module_level=True)


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: "/".join(path.parts[-2:]))
def test_extras_exist_and_come_from_a_clone(path: Path) -> None:
    """No line has pip fetch adamax by name, and every extra that one names exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = path.read_text()
    assert not BY_NAME.findall(text)
    named = {name for pair in EXTRA.findall(text) for name in pair if name}
    assert named <= project["optional-dependencies"].keys()


def test_extras_are_found() -> None:
    """The search finds extras on pages and in messages: the test above is about something."""
    text = "".join(path.read_text() for path in (*PAGES, *SOURCES))
    assert {"numba", "cli", "cupy-cuda13", "keras-files"} <= {
        name for pair in EXTRA.findall(text) for name in pair
    }
