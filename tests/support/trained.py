"""Runs of `adamax train` in a test's own process: started, interrupted, and what they leave."""

import io
import signal
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from adamax_adapters.checkpoint.manager import CheckpointManager
from adamax_adapters.cli.train.history import History
from adamax_adapters.cli.train.run import FILES, train

Array = Any

SMALL: dict[str, Any] = {"steps": 12, "batch": 8, "embedding": 3, "hidden": 5, "context": 2}


class Terminal(io.StringIO):
    """What is printed to it is kept; it is a terminal."""

    def isatty(self) -> bool:
        """Return True, which commands ask for to print a live line."""
        return True


def run(folder: Path, resume: bool = False, terminal: bool = False, **given: Any) -> str:
    """Train, and return what is printed."""
    with redirect_stdout(Terminal() if terminal else io.StringIO()) as out:
        train(folder, given, resume)
    return out.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a run."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def end(folder: Path) -> dict[str, bytes]:
    """Return every file of a run except the older checkpoints, which tell where it was stopped."""
    older = list(CheckpointManager(folder / FILES["checkpoints"]).checkpoints().values())[:-1]
    names = {path.relative_to(folder).as_posix() for path in older}
    return {name: data for name, data in contents(folder).items() if name not in names}


def interrupted(after: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> None:
    """Send a signal, as Ctrl-C does, when that many more steps have been taken."""
    add, count = History.add, [0]

    def counted(self: History, loss: Array) -> None:
        add(self, loss)
        count[0] += 1
        if count[0] == after:
            signal.raise_signal(number)

    monkeypatch.setattr(History, "add", counted)
