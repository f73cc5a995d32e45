"""The README and the documentation say what is so: their code runs and prints what they show."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from any_cupy import cupy
from cuda_emulator import GXX

import adamax
from adamax_adapters.step.prepared import KEPT_STEPS

__all__ = ["cupy"]  # a fixture

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
START = ROOT / "docs" / "start.md"

if not README.is_file() or not (ROOT / "docs").is_dir():
    pytest.skip("the README is not beside this copy of the tests", allow_module_level=True)

PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
# A block of Python, and the block of text right below it, if there is one: what it prints.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
OPTIONAL = re.compile(
    r"^\s*(?:import|from) (autograd|cupy|dask|jax|keras|numba|optax|scipy|torch)\b", re.MULTILINE
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TEST_COMMAND = "python -m pip install nox && python -m nox"


class Block(NamedTuple):
    page: Path
    number: int
    code: str
    printed: str | None

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}-{self.number}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text())):
            yield Block(page, number, match[1], match[2])


BLOCKS = list(blocks())


def run(code: str, names: dict[str, Any]) -> str:
    """Run a block among the names of those before it; return what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "<documentation>", "exec"), names)
    return out.getvalue()


def skip_unless_usable(library: str) -> Any:
    module = pytest.importorskip(
        library, reason=f"{library} is not installed", exc_type=ImportError
    )
    if module.__file__ is None:  # the folder of Keras's files, where Keras itself is missing
        pytest.skip(f"{library} is not installed")
    if library == "cupy" and not module.is_available():
        pytest.skip("there is no GPU for cupy")
    return module


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_code_prints_what_the_page_shows(
    block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A block runs after those above it on its page, and prints the text below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "numpy")  # on others, Keras itself has NumPy warn
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    above = [other for other in BLOCKS if other.page == block.page and other.number < block.number]
    for library in OPTIONAL.findall(block.code):
        skip_unless_usable(library)
    for other in above:
        if not OPTIONAL.search(other.code):
            run(other.code, names)
    assert run(block.code, names) == (block.printed or "")


def test_pages_have_code() -> None:
    """The search for blocks finds them, in the README and in the pages."""
    assert {README, ROOT / "docs" / "rule.md", ROOT / "docs" / "keras.md"} <= {
        block.page for block in BLOCKS
    }
    assert sum(block.printed is not None for block in BLOCKS) >= 10
    fences = sum(page.read_text().count("```python") for page in PAGES)
    assert len(BLOCKS) == fences


FOR_CUPY = [block for block in BLOCKS if "cupy" in OPTIONAL.findall(block.code)]


@pytest.mark.parametrize("block", FOR_CUPY, ids=lambda block: block.id)
def test_code_for_cupy_prints_what_the_page_shows_without_a_gpu(
    block: Block, cupy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever calls CuPy calls what CuPy has, in a way that CuPy takes, on arrays of the host."""
    if "captured" in block.code and GXX is None:
        pytest.skip("a graph launches kernels, and there is no g++ to build them for the host")
    monkeypatch.chdir(tmp_path)
    assert run(block.code, {"__name__": "__main__"}) == (block.printed or "")


def run_readme_on(library: str) -> None:
    """Run the README's first example with one import changed: it prints the same."""
    first = next(block for block in BLOCKS if block.page == README)
    code = first.code.replace("import numpy as np", f"import {library} as np")
    assert code != first.code
    assert run(code, {}) == first.printed


def run_first_page_on(library: str) -> None:
    """Run every block of the first page with one import changed: each prints the same."""
    blocks = [block for block in BLOCKS if block.page == START]
    assert "import numpy as xp" in blocks[0].code
    names: dict[str, Any] = {}
    for block in blocks:
        code = block.code.replace("import numpy as xp", f"import {library} as xp")
        assert run(code, names) == block.printed


@pytest.mark.parametrize("library", ["cupy", "jax.numpy", "torch"])
def test_first_example_is_the_same_elsewhere(library: str) -> None:
    """On other libraries, the README's first example takes one change."""
    skip_unless_usable(library.partition(".")[0])
    run_readme_on(library)


@pytest.mark.parametrize("library", ["cupy", "jax.numpy", "torch"])
def test_first_page_is_the_same_elsewhere(
    library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On other libraries, the first page takes one change."""
    skip_unless_usable(library.partition(".")[0])
    monkeypatch.chdir(tmp_path)
    run_first_page_on(library)


def test_first_pages_are_the_same_on_cupy_without_a_gpu(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On CuPy, the README's first example and the first page take one change."""
    monkeypatch.chdir(tmp_path)
    run_readme_on("cupy")
    run_first_page_on("cupy")


def test_code_comes_early() -> None:
    """The first code that runs begins by line 20 of the README."""
    lines = README.read_text().splitlines()
    assert lines.index("```python") < 20
    assert lines[0] == "# adamax"


def test_figures_are_those_of_the_pages_that_prove_them() -> None:
    """Every reason of the README has a link, and its decimal figures are on the linked pages."""
    section = README.read_text().partition("## Why\n")[2].partition("\n## ")[0]
    reasons = section.strip().split("\n- ")
    assert len(reasons) == 5
    for reason in reasons:
        proofs = [ROOT / link.partition("#")[0] for link in LINK.findall(reason)]
        assert proofs
        text = "".join(proof.read_text() for proof in proofs)
        unproven = [x for x in re.findall(r"\d+\.\d+", LINK.sub("", reason)) if x not in text]
        assert not unproven, reason


def test_the_documented_test_command_is_what_ci_runs() -> None:
    """The README's test command stands in .ci/run, character by character."""
    ci = ROOT / ".ci" / "run"
    if not ci.is_file():
        pytest.skip("an unpacked source distribution has no .ci")
    assert f"\n{TEST_COMMAND}\n" in README.read_text()
    commands = [line for line in ci.read_text().splitlines() if not line.startswith("#")]
    assert any(line.startswith(TEST_COMMAND) for line in commands)
    assert ci.stat().st_mode & 0o111


def anchors(page: Path) -> set[str]:
    """Return the fragments that lead to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_fits_80_columns(page: Path) -> None:
    """Programs and commands of pages are read without scrolling."""
    code = re.findall(r"^```(?:python|console|sh)\n(.*?)^```", page.read_text(), re.M | re.S)
    assert not [line for block in code for line in block.splitlines() if len(line) > 80]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the project names one that exists, and a heading that it has."""
    missing = []
    for link in [link for link in LINK.findall(page.read_text()) if ":" not in link]:
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            missing.append(link)
    assert not missing


def test_every_member_is_documented() -> None:
    """The page on the Keras-style optimizer names every public member of `Adamax`."""
    text = (ROOT / "docs" / "keras.md").read_text()
    members = [name for name in dir(adamax.Adamax) if not name.startswith("_")]
    assert members
    assert not [name for name in members if not re.search(rf"`{name}\b", text)]


def test_every_public_name_is_documented() -> None:
    """Every name in ``adamax.__all__`` stands somewhere in the documentation."""
    text = "".join(page.read_text() for page in PAGES)
    assert not [name for name in adamax.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_page_names_how_many_sets_are_remembered() -> None:
    """The bound on the page about performance is that of prepared steps."""
    page = (ROOT / "docs" / "performance.md").read_text()
    (told,) = re.findall(r"up to (\d+) sets are\s+remembered", page)
    assert int(told) == KEPT_STEPS
