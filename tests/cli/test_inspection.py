"""What `adamax inspect` shows: every tensor in numbers, and whether the hashes hold."""

import json
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, CheckpointError, Variable, inspect_checkpoint, save_checkpoint
from adamax_adapters.cli.inspection import add_arguments, inspect

VALUES: dict[str, Any] = {
    "plain": np.array([[3.0, -4.0], [0.0, 0.0]], np.float32),
    "broken": np.array([np.nan, 1.0, -np.inf, 2.0]),
    "huge": np.array([3e300, 4e300]),
    "tiny": np.array([3e-310, -4e-310]),
    "empty": np.zeros((0, 2)),
    "only nan": np.array([np.nan]),
    "steps": np.array([-3, 7]),
    "bits": np.array([True, False]),
    "zero": np.array(0.0),
}
EXPECTED: dict[str, list[Any]] = {
    "plain": [-4.0, 3.0, 5.0, 0],
    "broken": [1.0, 2.0, pytest.approx(5**0.5), 2],
    "huge": [3e300, 4e300, pytest.approx(5e300), 0],
    "tiny": [-4e-310, 3e-310, pytest.approx(5e-310), 0],
    "empty": [None, None, None, 0],
    "only nan": [None, None, None, 1],
    "steps": [-3, 7, pytest.approx(58**0.5), 0],
    "bits": [False, True, 1.0, 0],
    "zero": [0.0, 0.0, 0.0, 0],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of numbers of every kind."""
    variables = [Variable(value, name=name) for name, value in VALUES.items()]
    optimizer = Adamax(0.25)
    optimizer.build(variables[:1])
    optimizer.iterations.assign(12)
    save_checkpoint(tmp_path / "run", optimizer, variables)
    return tmp_path / "run"


def damaged(path: Path, name: str) -> Path:
    """Change one byte of a tensor."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    begin, _ = json.loads(data[8:start])[name]["data_offsets"]
    data[start + begin] ^= 1
    path.write_bytes(data)
    return path


def test_json_tells_everything(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `inspect_checkpoint` returns, and the numbers of every tensor; no NaN in the JSON."""
    assert inspect(str(path), as_json=True) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    shown = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert shown.pop("sound") is True
    keys = ("min", "max", "norm", "nonfinite")
    for name, expected in EXPECTED.items():
        entry = shown["tensors"][f"variable/{name}"]
        assert [entry[key] for key in keys] == expected, name
    for entry in shown["tensors"].values():
        assert entry.pop("sound") is True
        for key in keys:
            del entry[key]
    assert shown == json.loads(json.dumps(inspect_checkpoint(path)))


def test_a_table_tells_the_same(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Step, configuration, and a line for each tensor."""
    assert inspect(str(path)) == 0
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    assert f"{path}: step 12, written by adamax " in flat
    assert '"learning_rate": 0.25' in flat
    assert "variable/plain float32 2x2 -4 3 5 0 holds" in flat
    assert "variable/zero float64 scalar 0 0 0 0 holds" in flat
    assert re.search(r"variable/empty +float64 +0x2 +0 +holds", out)
    assert "DIFFERS" not in out
    assert out.rstrip().endswith("all hashes hold")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_damaged_tensor_is_shown(
    as_json: bool, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which hash does not hold is told, the others are shown as they are, and the status is 1."""
    assert inspect(str(damaged(path, "variable/plain")), as_json) == 1
    out = capsys.readouterr().out
    if as_json:
        shown = json.loads(out)
        assert shown["sound"] is False
        unsound = [name for name, entry in shown["tensors"].items() if not entry["sound"]]
        assert unsound == ["variable/plain"]
    else:
        assert out.count("DIFFERS") == 1
        assert re.search(r"variable/plain .* DIFFERS", out)
        assert out.rstrip().endswith("DAMAGED: not all hashes hold")


def test_what_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    """A header that cannot be trusted shows nothing."""
    (tmp_path / "file").write_bytes(b"{}" * 50)
    with pytest.raises(CheckpointError, match="Expected an intact checkpoint"):
        inspect(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        inspect(str(tmp_path / "missing"))


def test_names_cannot_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences, markup and line feeds in names are printed as what they are."""
    name = "\x1b[31mred\x1b[0m [bold]loud[/bold] :smile:\nü"
    optimizer = Adamax(name="\x1b[2J")
    save_checkpoint(tmp_path / "run", optimizer, [Variable(np.ones(1), name=name)])
    assert inspect(str(tmp_path / "run")) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"'variable/\x1b[31mred\x1b[0m [bold]loud[/bold] :smile:\n\xfc'" in out


def test_long_names_are_shown_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe, lines are as long as they must be."""
    name = "".join(f"block_{i}/" for i in range(30))
    save_checkpoint(tmp_path / "run", Adamax(), [Variable(np.ones(1), name=name)])
    inspect(str(tmp_path / "run"))
    assert f"variable/{name}" in capsys.readouterr().out


def test_the_options_are_the_parameters() -> None:
    """What the parser gives can be passed on as it is."""
    parser = ArgumentParser()
    add_arguments(parser)
    assert vars(parser.parse_args(["run", "--json"])) == {"file": "run", "as_json": True}
    assert vars(parser.parse_args(["run"])) == {"file": "run", "as_json": False}
