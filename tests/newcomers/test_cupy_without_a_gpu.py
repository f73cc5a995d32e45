"""Task 6: somebody without a GPU follows the page of CuPy and learns what is missing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_process import ENVIRONMENT

INSTALLED = importlib.util.find_spec("cupy") is not None


def command(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in a new process, as from a shell."""
    line = [sys.executable, "-m", "adamax", *arguments]
    return subprocess.run(line, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def _no_gpu() -> None:
    if INSTALLED and pytest.importorskip("cupy").is_available():
        pytest.skip("there is a GPU")


def test_doctor_gives_one_verdict(tmp_path: Path) -> None:
    """CuPy has one row, which says what is missing; the exit status is 1 if it is installed."""
    run = command("doctor", cwd=tmp_path)
    (row,) = [line for line in run.stdout.splitlines() if line.startswith("cupy")]
    missing = "installed, without a usable device" if INSTALLED else "not installed: python -m pip"
    assert missing in row
    assert "usable on" not in row
    assert run.returncode == INSTALLED
    assert run.stderr == ""


def test_training_says_what_is_missing_and_writes_nothing(tmp_path: Path) -> None:
    """The error is one line with the cause, or with the command that installs CuPy."""
    run = command("train", "--backend", "cupy", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("adamax: ")
    assert ("cuda" if INSTALLED else "python -m pip install '.[cupy-cuda13]'") in line
    assert list(tmp_path.iterdir()) == []
