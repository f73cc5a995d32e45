"""The pictures of the pages are of the numbers that stand on the pages."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
DOCS = Path(__file__).parent.parent / "docs"
SCRIPT = DOCS / "pictures.py"

if not SCRIPT.is_file():
    pytest.skip("the pages are not beside this copy of the tests", allow_module_level=True)


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, which draws into a folder of the test."""
    spec = spec_from_file_location("pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "IMAGES", tmp_path)
    plt.switch_backend("agg")
    return module


def printed(page: str, pattern: str) -> list[tuple[str, ...]]:
    """Return the groups of the lines of a page that match."""
    found = re.findall(f"^{pattern}$", (DOCS / page).read_text(), re.MULTILINE)
    assert found
    return found


def test_losses_are_those_of_the_first_page(pictures: Any) -> None:
    """The script trains the network that the page shows, to the losses that it prints."""
    losses = pictures.sine_losses(0.1)
    lines = printed("start.md", r"(\d00|0) (\d\.\d{3})")
    assert [step for step, _ in lines[:6]] == ["0", "100", "200", "300", "400", "500"]
    for step, loss in lines[:6]:  # further down the page has losses of another run
        assert f"{losses[int(step)]:.3f}" == loss


def test_moves_are_those_of_the_rules_page(pictures: Any) -> None:
    """The script's places of epsilon differ as much as the page prints."""
    lines = printed("rule.md", r"(\de[+-]\d\d) (\de-\d\d)")
    scales = np.array([float(scale) for scale, _ in lines])
    moved = [pictures.moved(norms, scales, 1e-7) for norms in (pictures.inside, pictures.outside)]
    assert [f"{x:.0e}" for x in abs(moved[0] / moved[1] - 1)] == [apart for _, apart in lines]


def test_pictures_are_drawn(pictures: Any, tmp_path: Path) -> None:
    """Drawn again, a picture has the size of the one on the page, and is below 60 kB."""
    pictures.draw_epsilon()
    pictures.draw_rates()
    drawn = sorted(tmp_path.iterdir())
    assert [path.name for path in drawn] == ["epsilon.png", "rates.png"]
    for path in drawn:
        kept = DOCS / "images" / path.name
        assert plt.imread(path).shape == plt.imread(kept).shape
        assert kept.stat().st_size < 60_000
