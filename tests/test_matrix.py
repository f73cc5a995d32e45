"""The page of the matrix: what it is made of, and that the one in the documentation is whole."""

from pathlib import Path

import pytest
from libraries import Usage
from matrix import ABSENT, FEATURES, USAGES, Matrix, Position

PAGE = Path(__file__).parents[1] / "docs" / "portability.md"


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of the table, by the name of their row."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    return {name.strip("`"): cells for name, *cells in lines}


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    """A run in which every cell has a test that passes, but for those that cannot."""
    matrix = Matrix(tmp_path / "page.md")
    for position, cell in matrix.cells.items():
        if position not in ABSENT:
            cell.outcomes["passed"] = 2
    return matrix


@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not beside this copy of the tests")
def test_page_of_the_documentation_is_whole(request: pytest.FixtureRequest) -> None:
    """It has every library and feature, and no cell that fails or that no test has reached."""
    if request.config.getoption("--matrix"):
        pytest.skip("the page is being written")
    page = PAGE.read_text(encoding="utf-8")
    for what in (*USAGES.values(), *FEATURES.values(), *ABSENT.values()):
        assert what in page
    head, _, *body = (line for line in page.splitlines() if line.startswith("|"))
    assert head.strip("| ").split(" | ") == [*FEATURES]
    assert [line.split("`")[1] for line in body] == [*map(str, Usage)]
    for name, cells in rows("\n".join(body)).items():
        assert not {"FAIL", "MISSING"} & {*cells}, name
        there = not any(cell.startswith("not run") for cell in cells)
        assert there or name == str(Usage.CUPY), "write the page where all libraries are"


def test_every_usage_is_described() -> None:
    """The page says of each row what it is."""
    assert [*USAGES] == [*Usage]


def test_a_whole_matrix_has_no_faults(matrix: Matrix) -> None:
    """Cells hold the number of tests that passed, or the note that says why there can be none."""
    page = matrix.page()
    assert matrix.faults == []
    cells = dict(zip(FEATURES, rows(page)["numpy"], strict=True))
    assert cells["dense"] == "pass (2)"
    assert cells["jit"].startswith("n/a [^")
    assert f"{cells['jit'].removeprefix('n/a ')}: {ABSENT[Usage.NUMPY, 'jit']}" in page


def test_a_reason_to_skip_is_a_note(matrix: Matrix) -> None:
    """Where all tests were skipped, the cell gives their reasons, each once."""
    cell = matrix.cells[Position(Usage.NUMPY, "sparse")]
    cell.outcomes.update({"passed": -2, "skipped": 3})
    cell.reasons.update({"no rows today": None, "nor tomorrow": None})
    page = matrix.page()
    assert matrix.faults == []
    assert rows(page)["numpy"][1] == "n/a [^1] [^2]"
    assert "[^1]: no rows today\n[^2]: nor tomorrow\n" in page


@pytest.mark.parametrize(
    ("feature", "outcome", "shown", "fault"),
    [
        ("dense", "failed", "FAIL", "numpy, dense: 1 fail"),
        ("jit", "passed", "pass (1)", "numpy, jit: passes, and is said not to"),
    ],
)
def test_faults_are_told(
    matrix: Matrix, feature: str, outcome: str, shown: str, fault: str
) -> None:
    """One test that fails makes a cell fail, and one that passes shows that a note is wrong."""
    matrix.cells[Position(Usage.NUMPY, feature)].outcomes[outcome] += 1
    assert shown in rows(matrix.page())["numpy"]
    assert matrix.faults == [fault]


def test_a_cell_without_tests_is_a_fault(matrix: Matrix) -> None:
    """The table cannot have holes."""
    matrix.cells[Position(Usage.NUMPY, "dense")].outcomes.clear()
    assert rows(matrix.page())["numpy"][0] == "MISSING"
    assert matrix.faults == ["numpy, dense: no test has run"]


def test_libraries_that_are_not_installed_are_told() -> None:
    """A row says what is missing on this machine, and is no fault."""
    always = (Usage.NUMPY, Usage.STRICT_2024, Usage.STRICT_2025, Usage.FAKE_DEVICE)
    assert not [usage for usage in always if usage.missing]
    for reason in filter(None, (usage.missing for usage in Usage)):
        assert reason == "no GPU" or reason.endswith("is not installed")
