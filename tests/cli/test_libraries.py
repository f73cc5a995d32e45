"""`adamax train` with each array library that it can compute with: to its end, and resumed."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from any_cupy import FAKE, in_place
from trained import SMALL, contents, end, interrupted, run

from adamax_adapters.cli.train.library import LIBRARIES, namespace
from adamax_adapters.cli.train.run import FILES
from adamax_adapters.cli.train.settings import UserError


@pytest.fixture(
    params=[FAKE, *[pytest.param(x, marks=[pytest.mark.gpu] * (x == "cupy")) for x in LIBRARIES]]
)
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the name of an array library that can be used on this machine; a fake is CuPy's."""
    if request.param == FAKE:
        with in_place(FAKE):
            yield "cupy"
        return
    pytest.importorskip(request.param)
    try:
        namespace(request.param)
    except UserError as error:
        pytest.skip(str(error))
    yield request.param


def losses(folder: Path) -> list[float]:
    with (folder / FILES["history"]).open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_each_library_learns_the_same(library: str, tmp_path: Path, text: str) -> None:
    """A run ends with a perplexity, and its losses are those of NumPy up to rounding."""
    printed = run(tmp_path / library, text=text, library=library, **SMALL)
    assert "unigram baseline" in printed
    assert contents(tmp_path / library).keys() >= {FILES["picture"], FILES["optimizer"]}
    run(tmp_path / "plain", text=text, **SMALL)
    np.testing.assert_allclose(losses(tmp_path / library), losses(tmp_path / "plain"), rtol=1e-5)


def test_each_library_is_resumed_exactly(
    library: str, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is interrupted and resumed leaves the bytes of one that was not, in all files."""
    given = {"text": text, "library": library, **SMALL}
    run(tmp_path / "whole", **given)
    with monkeypatch.context() as patch:
        interrupted(5, patch)
        run(tmp_path / "parts", **given)
    assert len(losses(tmp_path / "parts")) == 5
    run(tmp_path / "parts", resume=True)
    assert end(tmp_path / "parts") == end(tmp_path / "whole")
