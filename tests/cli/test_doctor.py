"""`adamax doctor`: one verdict for each library, and its exit status."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adamax_adapters.backends import BACKENDS
from adamax_adapters.cli.doctor import doctor
from adamax_adapters.cli.train.library import LIBRARIES


def verdicts(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what has been printed of each library, without its name."""
    _, *rows, _ = capsys.readouterr().out.splitlines()
    return {name: " ".join(rest) for name, *rest in map(str.split, rows)}


def test_every_library_has_one_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """Each library is usable, not installed, or installed without a device; the status says so."""
    status = doctor()
    printed = verdicts(capsys)
    assert printed.keys() == {*LIBRARIES, "numba"}
    kinds = ("usable", "not installed: ", "installed, without a usable device: ")
    assert all(sum(kind in line for kind in kinds[1:]) <= 1 for line in printed.values())
    assert status == any(kinds[2] in line for line in printed.values())
    assert printed["numpy"].startswith(np.__version__)
    assert printed["numpy"].endswith("numpy, standard usable on cpu")


def test_libraries_cover_the_backends() -> None:
    """Every backend except the standard one is named after a library that has a row."""
    named = {name.partition("_")[0] for name in BACKENDS}
    assert named - {"standard"} <= {*LIBRARIES, "numba"}


def broken(shape: int) -> None:
    raise RuntimeError("no driver\nat line 1")


FAKES: dict[str, tuple[Any, str, int]] = {
    "missing": (None, "not installed: python -m pip install '.[cupy-cuda13]' in a clone", 0),
    "without a device": (
        SimpleNamespace(__version__="9", zeros=broken),
        "9 installed, without a usable device: no driver",
        1,
    ),
}


@pytest.mark.parametrize("fake", FAKES)
def test_library_that_cannot_be_used(
    fake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library without a device is told in its own words, with status 1; a missing one is 0."""
    module, expected, status = FAKES[fake]
    monkeypatch.setattr("adamax_adapters.cli.doctor.LIBRARIES", {"cupy": LIBRARIES["cupy"]})
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert doctor() == status
    printed = verdicts(capsys)
    assert printed["cupy"].startswith(expected)
    assert printed["numba"].startswith("not installed: python -m pip install '.[numba]'")
