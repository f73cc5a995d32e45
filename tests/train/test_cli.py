"""The command `adamax`: its exit status, its one-line errors, and a default run interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adamax
from adamax_adapters.cli import main
from adamax_adapters.train import backend

TEXT = "the cat sat on the mat and the dog sat by the door . " * 200
SMALL = "--steps 4 --batch 4 --embedding 2 --hidden 2 --context 1".split()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run every test in an empty folder of its own, but for one text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def end(folder: Path) -> dict[str, bytes]:
    """Return the files of a run but its older checkpoints, which tell where it was stopped."""
    newest = max(folder.glob("checkpoints/step-*")).name
    return {
        name: data
        for name, data in files(folder).items()
        if "/step-" not in name or name.endswith(newest)
    }


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version; --help lists every option with its default."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"adamax {adamax.__version__}\n"
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = capsys.readouterr().out
    for option in ("--text", "--backend", "--steps", "--learning-rate", "--global-clipnorm"):
        assert option in text
    assert "(2000)" in text


def test_train_and_resume(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run ends with status 0 and names its files; resumed from elsewhere, it finds its text."""
    assert main(["train", "--text", "text.txt", "--output", "run", *SMALL]) == 0
    out = capsys.readouterr()
    assert "written to run: checkpoints, history.csv" in out.out
    assert out.err == ""
    os.chdir(here / "run")
    assert main(["train", "--resume", "--output", str(here / "run")]) == 0


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint is shown as a table or as JSON; the status says whether its hashes hold."""
    w = adamax.Variable(np.array([3.0, -4.0]), name="w")
    adamax.save_checkpoint("w.safetensors", adamax.Adamax(), [w])
    assert main(["inspect", "w.safetensors"]) == 0
    assert "variable/w" in capsys.readouterr().out
    assert main(["inspect", "--json", "w.safetensors"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["tensors"]["variable/w"]["norm"] == 5.0
    data = bytearray(Path("w.safetensors").read_bytes())
    data[-1] ^= 1
    Path("w.safetensors").write_bytes(data)
    assert main(["inspect", "--json", "w.safetensors"]) == 1


def test_stopped_run_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stopped by Ctrl-C has the status of an interrupted command, and names the next one."""
    monkeypatch.setattr("adamax_adapters.train.run.train", lambda *_: False)
    assert main(["train", "--text", "text.txt", "--output", "a run", *SMALL]) == 130
    assert "go on by: adamax train --resume --output 'a run'" in capsys.readouterr().out


def test_interrupt_before_training_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C where there is nothing to save ends the command without a traceback."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adamax_adapters.train.run.train", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == ""


ERRORS: dict[str, tuple[str, str]] = {
    "no command": ("", "required: COMMAND"),
    "unknown command": ("tain", "invalid choice"),
    "unknown option": ("train --step 4", "unrecognized arguments: --step 4"),
    "no number": ("train --steps many", "--steps: invalid int value: 'many'"),
    "no step": ("train --steps 0", "--steps must be at least 1, got 0"),
    "negative batch": ("train --batch -3", "--batch must be at least 1, got -3"),
    "negative seed": ("train --seed -1", "--seed must be at least 0"),
    "NaN rate": ("train --learning-rate nan", "--learning-rate to be a finite number"),
    "negative rate": ("train --learning-rate -1", "--learning-rate >= 0, received: -1.0"),
    "negative clip": ("train --clipnorm -1", "--clipnorm >= 0, received: -1.0"),
    "unknown schedule": ("train --schedule step", "one of constant, cosine, .*got 'step'"),
    "unknown backend": ("train --backend nunpy", "unknown backend 'nunpy': expected one of numpy"),
    "missing text": ("train --text no.txt", "cannot read the text .*no.txt: No such file"),
    "folder as text": ("train --text .", "cannot read the text .*: Is a directory"),
    "text in Latin-1": ("train --text latin.txt", "latin.txt is not UTF-8 text: .* at byte 3"),
    "short text": ("train --text short.txt", "too short: 3 words, expected at least 2000"),
    "context too long": ("train --context 200", "--context must be below 200"),
    "file as folder": ("train --text text.txt --output text.txt", "text.txt"),
    "missing checkpoint": ("inspect no.safetensors", "No such file or directory: 'no.safetensors'"),
    "no checkpoint": ("inspect text.txt", "text.txt is damaged or no checkpoint"),
    "nothing to resume": ("train --resume --output nowhere", "no run to resume: nowhere/run.json"),
    "a run is there": ("train --output run", "holds a run already: go on with it by --resume"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_one_line(error: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input is one line on stderr that names it, with status 2, and changes no file."""
    (here / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    (here / "short.txt").write_text("three small words")
    (here / "run").mkdir()
    (here / "run" / "run.json").write_text("{}")
    command, message = ERRORS[error]
    before = files(here)
    assert main(command.split()) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert re.fullmatch(rf"adamax: .*{message}.*\n", out.err)
    assert files(here) == before


def test_backend_that_is_not_installed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend without its library is an error that says how to install it."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["train", "--backend", "cupy", "--text", "text.txt"]) == 2
    assert "python -m pip install '.[cupy-cuda13]'" in capsys.readouterr().err
    assert files(here).keys() == {"text.txt"}


def test_backend_without_a_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that cannot make an array, as CuPy without a GPU, is told in its own words."""

    class NoDevice:
        def asarray(self, value: float) -> None:
            raise RuntimeError("no device was found\nat line 1")

    monkeypatch.setitem(backend.BACKENDS, "numpy", ("no_device", ""))
    monkeypatch.setitem(sys.modules, "no_device", NoDevice())
    assert main(["train", "--text", "text.txt"]) == 2
    assert capsys.readouterr().err.endswith("cannot make an array: no device was found\n")


@pytest.mark.parametrize(
    ("library", "command"),
    [("rich", "train"), ("matplotlib", "train"), ("rich", "inspect text.txt")],
)
def test_missing_extra_is_told(
    library: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without what the extra `cli` installs, a command says so before it does anything."""
    monkeypatch.setitem(sys.modules, library, None)
    assert main(command.split()) == 2
    assert f"needs {library}: python -m pip install '.[cli]'" in capsys.readouterr().err


def command(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "adamax", *arguments],
        # Threads of BLAS that wait for each other are what a busy machine is slowest at.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(beginning: str, process: "subprocess.Popen[str]") -> None:
    """Read what a command prints, up to a line that begins in this way."""
    assert process.stdout is not None
    assert any(line.startswith(beginning) for line in process.stdout)


def test_default_run_learns() -> None:
    """With its defaults the command reaches a third of the baseline's held-out perplexity."""
    whole = command("train")
    out, err = whole.communicate(timeout=600)
    assert (whole.returncode, err) == (0, "")
    ratio = re.search(r"ratio\D+([\d.]+)", out)
    assert ratio is not None
    assert float(ratio[1]) <= 1 / 3


def test_interrupted_command_is_resumed_exactly(here: Path) -> None:
    """Interrupted by SIGINT at a random step and resumed, a run ends with the same bytes."""
    whole = command("train", "--steps", "200", "--output", "whole")
    out, err = whole.communicate(timeout=300)
    assert (whole.returncode, err) == (0, "")
    parts = command("train", "--steps", "200", "--output", "parts")
    line = int(np.random.default_rng().integers(1, 19))  # unseeded: every moment must do
    wait_for(f"step {line * 10}/", parts)
    parts.send_signal(signal.SIGINT)
    out, err = parts.communicate(timeout=300)
    assert (parts.returncode, err) == (130, "")
    assert "stopped and saved; go on by: adamax train --resume --output parts" in out
    rest = command("train", "--resume", "--output", "parts")
    out, err = rest.communicate(timeout=300)
    assert (rest.returncode, err) == (0, "")
    assert end(here / "parts") == end(here / "whole")
