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
from trained import end

import adamax
from adamax_adapters.cli.main import main
from adamax_adapters.cli.train import library

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


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version; --help lists every option with its default."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"adamax {adamax.__version__}\n"
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = capsys.readouterr().out
    for option in ("--text", "--steps", "--learning-rate", "--global-clipnorm"):
        assert option in text
    assert "(2000)" in text
    assert text.index("--library") < text.index("--backend")  # the former name


def test_train_and_resume(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run ends with status 0 and names its files; resumed from elsewhere, it finds its text."""
    assert main(["train", "--text", "text.txt", "--output", "run", *SMALL]) == 0
    out = capsys.readouterr()
    assert "written to run: checkpoints, history.csv" in out.out
    assert out.err == ""
    os.chdir(here / "run")
    assert main(["train", "--resume", "--output", str(here / "run")]) == 0


def test_library_was_called_backend(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option `--backend`, and `backend` in the folder of an older run, are the library."""
    assert main(["train", "--text", "text.txt", "--output", "new", *SMALL]) == 0
    given = ["--backend", "numpy", "--text", "text.txt", "--output", "old"]
    assert main(["train", *given, *SMALL]) == 0
    assert files(here / "old") == files(here / "new")
    settings = here / "old" / "run.json"
    settings.write_text(settings.read_text().replace('"library"', '"backend"'))
    assert main(["train", "--resume", "--output", "old"]) == 0
    assert main(["train", "--resume", "--output", "old", "--library", "torch"]) == 2
    assert "Expected numpy, the value of the run to resume" in capsys.readouterr().err


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
    """A run stopped by a signal has the status of a command that it ends, and names the next."""
    monkeypatch.setattr("adamax_adapters.cli.train.run.train", lambda *_: signal.SIGTERM)
    assert main(["train", "--text", "text.txt", "--output", "a run", *SMALL]) == 143
    assert "continue with: adamax train --resume --output 'a run'" in capsys.readouterr().out


def test_interrupt_before_training_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C where there is nothing to save ends the command without a traceback."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adamax_adapters.cli.train.run.train", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == ""


ERRORS: dict[str, tuple[str, str]] = {
    "unknown command": ("tain", "invalid choice"),
    "unknown option": ("train --step 4", "unrecognized arguments: --step 4"),
    "no number": ("train --steps many", "--steps: invalid int value: 'many'"),
    "no step": ("train --steps 0", "a number from 1 to 1000000000, received 0, for --steps"),
    "negative batch": ("train --batch -3", "a number from 1 to 1000000, received -3, for --batch"),
    "huge batch": (f"train --batch {10**12}", "received 1000000000000, for --batch"),
    "huge vocabulary": (f"train --vocabulary {10**30}", "received 10+, for --vocabulary"),
    "huge steps": (f"train --steps {10**400}", r"received 10+\.\.\.0+, for --steps"),
    "too many digits": (f"train --seed 1{'0' * 5000}", "--seed: invalid int value"),
    "huge model": ("train --text text.txt --hidden 1000000 --embedding 1000000", "allocate"),
    "negative seed": ("train --seed -1", "a number of at least 0, received -1, for --seed"),
    "NaN rate": ("train --learning-rate nan", "--learning-rate to be a finite number"),
    "infinite rate": ("train --learning-rate 1e400", "--learning-rate to be a finite number"),
    "negative rate": ("train --learning-rate -1", "--learning-rate >= 0, received: -1.0"),
    "negative clip": ("train --clipnorm -1", "--clipnorm >= 0, received: -1.0"),
    "unknown schedule": ("train --schedule step", "one of constant, .*received 'step'"),
    "unknown library": ("train --library nunpy", "one of numpy, .*received 'nunpy', for --library"),
    "missing text": ("train --text no.txt", "cannot read the text: .*No such file.*no.txt"),
    "folder as text": ("train --text .", "cannot read the text: .*Is a directory"),
    "text in Latin-1": (
        "train --text latin.txt",
        "Expected UTF-8, .* at byte 3, .*latin.txt",
    ),
    "short text": ("train --text short.txt", "at least 2000 words, found 3, in .*short.txt"),
    "context too long": ("train --context 200", "below 200, .*received 200, for --context"),
    "file as folder": ("train --text text.txt --output text.txt", "text.txt"),
    "missing checkpoint": ("inspect no.safetensors", "No such file or directory: 'no.safetensors'"),
    "no checkpoint": ("inspect text.txt", "found a corrupt or other file, for text.txt"),
    "nothing to resume": ("train --resume --output nowhere", "found no nowhere/run.json"),
    "a run is there": ("train --output run", "a folder without a run, .*continue .* --resume"),
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


CORRUPT = {
    "no type": {"library": []},
    "a list": {"text": ["x"]},
    "a null byte": {"text": "a\0b"},
    "infinite": {"steps": float("inf")},
    "a float": {"batch": 2.0},
    "a bool": {"seed": True},
    "text": {"learning_rate": "high"},
    "None": {"schedule": None},
    "huge": {"hidden": 10**4000},
}


@pytest.mark.parametrize("settings", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_settings_are_one_line(
    settings: dict[str, Any], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting of another type, or out of range, in a run's folder is one short line."""
    content = {"format": 1, "settings": settings, "text_sha256": "x"}
    (here / "run.json").write_text(json.dumps(content))
    assert main(["train", "--resume", "--output", "."]) == 2
    assert re.fullmatch(r"adamax: .{,200}\n", capsys.readouterr().err)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[1]", '{"format": [1]}', "\ud800", "7"])
def test_corrupt_json_is_one_line(
    content: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's settings that are not JSON, or JSON of something else, are one short line."""
    (here / "run.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert main(["train", "--resume", "--output", "."]) == 2
    assert re.fullmatch(r"adamax: .*run\.json.{,200}\n", capsys.readouterr().err)


def test_library_that_is_not_installed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that is not installed is an error that names the command to install it."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["train", "--library", "cupy", "--text", "text.txt"]) == 2
    assert "pip install '.[cupy-cuda13]'" in capsys.readouterr().err
    assert files(here).keys() == {"text.txt"}


def test_library_without_a_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that cannot create an array, as CuPy without a GPU, is told in its own words."""

    class NoDevice:
        def asarray(self, value: float) -> None:
            raise RuntimeError("no device was found\nat line 1")

    monkeypatch.setitem(library.LIBRARIES, "numpy", ("no_device", ""))
    monkeypatch.setitem(sys.modules, "no_device", NoDevice())
    assert main(["train", "--text", "text.txt"]) == 2
    assert capsys.readouterr().err.endswith("cannot create an array: no device was found\n")


@pytest.mark.parametrize("name", ["matplotlib", "threadpoolctl"])
def test_missing_extra_is_told(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the libraries of the extra `cli`, `train` says so before it does anything."""
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["train"]) == 2
    assert f"needs {name}: python -m pip install '.[cli]'" in capsys.readouterr().err


def test_other_commands_need_no_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor`, `inspect` and the help work with what adamax itself requires."""
    for name in ("matplotlib", "threadpoolctl", "rich"):
        monkeypatch.setitem(sys.modules, name, None)
    adamax.save_checkpoint("w.safetensors", adamax.Adamax(), [adamax.Variable(np.ones(1))])
    for command in ([], ["inspect", "w.safetensors"]):
        assert main(command) == 0
    assert main(["doctor"]) in (0, 1)
    out = capsys.readouterr()
    assert out.out.startswith("usage: adamax")
    assert "all hashes hold" in out.out
    assert out.err == ""


def command(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "adamax", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(beginning: str, process: "subprocess.Popen[str]") -> None:
    """Read what a command prints, up to a line that begins in this way."""
    assert process.stdout is not None
    assert any(line.startswith(beginning) for line in process.stdout)


def test_default_run_learns() -> None:
    """A fifth of the default steps brings perplexity to a third of the baseline's, held out."""
    whole = command("train", "--steps", "400")
    out, err = whole.communicate(timeout=600)
    assert (whole.returncode, err) == (0, "")
    ratio = re.search(r"ratio\D+([\d.]+)", out)
    assert ratio is not None
    assert float(ratio[1]) <= 1 / 3


def test_stopped_command_is_resumed_exactly(here: Path) -> None:
    """Stopped by Ctrl-C at a random step, then by SIGTERM, a run still ends with the same bytes."""
    given = ["train", "--text", "text.txt", "--steps", "200"]
    whole = command(*given, "--output", "whole")
    out, err = whole.communicate(timeout=300)
    assert (whole.returncode, err) == (0, "")
    line = int(np.random.default_rng().integers(1, 10))  # unseeded: every moment must do
    for number, status, shown in ((signal.SIGINT, 130, f"{line * 10}/"), (signal.SIGTERM, 143, "")):
        parts = command(*given, "--output", "parts")
        wait_for(f"step {shown}", parts)
        parts.send_signal(number)
        out, err = parts.communicate(timeout=300)
        assert (parts.returncode, err) == (status, "")
        assert "stopped and saved; continue with: adamax train --resume --output parts" in out
        given = ["train", "--resume"]
    rest = command(*given, "--output", "parts")
    out, err = rest.communicate(timeout=300)
    assert (rest.returncode, err) == (0, "")
    assert end(here / "parts") == end(here / "whole")


def end_by_closed_pipe(process: "subprocess.Popen[str]") -> None:
    """Close the pipe that a command prints to: it ends as a closed pipe ends others, quietly."""
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=300) == 141
    assert process.stderr is not None
    with process.stderr as err:
        assert err.read() == ""


def test_closed_pipe_saves_and_is_quiet(here: Path) -> None:
    """`adamax train | head -1` keeps its steps: it saves, and ends as a closed pipe ends others."""
    process = command("train", "--text", "text.txt", "--steps", "200", "--output", "run")
    wait_for("step 10/", process)
    end_by_closed_pipe(process)
    (saved,) = (here / "run" / "checkpoints").glob("step-*")
    assert 10 < int(saved.stem.removeprefix("step-")) < 200


def test_closed_pipe_of_another_command_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """`adamax inspect` and its like end quietly too if nobody reads what they print."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # so that all is printed at the end
    adamax.save_checkpoint("w.safetensors", adamax.Adamax(), [adamax.Variable(np.ones(1))])
    end_by_closed_pipe(command("inspect", "w.safetensors"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_full_device_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output that cannot be written is an error like others, and told once."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "adamax", "doctor"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert re.fullmatch(r"adamax: .*No space left on device\n", done.stderr)


def test_output_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that lacks a character is shown its number, and the command goes on."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    adamax.save_checkpoint(
        "w.safetensors", adamax.Adamax(), [adamax.Variable(np.ones(1), name="\xfc")]
    )
    process = command("inspect", "w.safetensors")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert "variable/\\xfc" in out
