"""Files that real Keras wrote are read, and those that only look like it are refused."""

import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_layouts import DATA, NAMES, Found

from adamax import Adamax, CheckpointError, Variable, load_keras_file

h5py = pytest.importorskip("h5py", reason="h5py is not installed")

FILES = {
    "keras.keras": "keras",
    "keras.weights.h5": "keras",
    "schedule.weights.h5": "schedule",
    "tf-keras.keras": "tf-keras",
    "tf-keras.weights.h5": "tf-keras",
}


@pytest.mark.parametrize("file", FILES)
def test_files_of_keras_are_read(file: str) -> None:
    """The right values are in the right places, and the next step is the one that Keras took."""
    found = Found(FILES[file])
    optimizer, variables = found.optimizer(), found.variables()
    rate = load_keras_file(DATA / file, optimizer, variables)
    assert rate == (0.25 if FILES[file] == "keras" else None)
    assert optimizer.get_config() == found.optimizer().get_config()
    found.check(optimizer, variables)
    found.check_next_step(optimizer, variables)


def test_bfloat16_is_read() -> None:
    """Keras stores it as bytes without a type; the numbers are the same."""
    found = Found("bfloat16")
    optimizer, variables = found.optimizer(), found.variables()
    assert load_keras_file(DATA / "bfloat16.weights.h5", optimizer, variables) == 0.25
    found.check(optimizer, variables)


def test_variables_in_another_order_are_mapped_by_name() -> None:
    """`order` names ours in the order of Keras; without it they are taken as they come."""
    found = Found("keras")
    ours = dict(zip("abcd", found.variables(), strict=True))
    optimizer = found.optimizer()
    shuffled = {key: ours[key] for key in "dbca"}
    for key, variable in ours.items():
        variable.name = key
    optimizer.build(list(shuffled.values()))
    load_keras_file(DATA / "keras.keras", optimizer, order="abcd")
    for key, name in zip("abcd", NAMES, strict=True):
        ours[key].name = name
    found.check(optimizer, list(ours.values()))


@pytest.mark.parametrize("order", [NAMES[:3], [*NAMES[:3], "third"], [*NAMES, NAMES[0]], []])
def test_an_order_of_other_names_is_refused(order: list[str]) -> None:
    """Every variable must be named, once."""
    found = Found("keras")
    with pytest.raises(ValueError, match="Expected order to hold the names of the variables"):
        load_keras_file(DATA / "keras.keras", Adamax(), found.variables(), order=order)


@pytest.mark.parametrize("file", FILES)
def test_variables_that_do_not_fit_change_nothing(file: str) -> None:
    """Fewer variables, or those of other shapes: the error says so, and no slot is made."""
    variables = Found(FILES[file]).variables()
    optimizer = Adamax()
    with pytest.raises(CheckpointError, match=r"for 3 variables; it has (9|10): of other"):
        load_keras_file(DATA / file, optimizer, variables[:3])
    with pytest.raises(CheckpointError, match=r"must have the shape \(2,\).*order of the Keras"):
        load_keras_file(DATA / file, optimizer, variables[::-1])
    assert optimizer.get_slot_names() == []
    assert len(optimizer.weights) == 1


def test_a_file_without_an_optimizer_is_refused(tmp_path: Path) -> None:
    """The likely cause is told."""
    with h5py.File(tmp_path / "file", "w") as file:
        file["layers/dense/vars/0"] = np.ones(2)
    with pytest.raises(CheckpointError, match="no 'optimizer' in /: was the model compiled"):
        load_keras_file(tmp_path / "file", Adamax(), Found("keras").variables())


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    """It is not mistaken for a damaged one."""
    with pytest.raises(FileNotFoundError):
        load_keras_file(tmp_path / "file", Adamax())


def copy_of(tmp_path: Path) -> Path:
    path = tmp_path / "copy.weights.h5"
    path.write_bytes((DATA / "keras.weights.h5").read_bytes())
    return path


def external_link(group: Any, tmp_path: Path) -> None:
    """Let an array be one of another file."""
    with h5py.File(tmp_path / "secret", "w") as secret:
        secret["numbers"] = group["2"][()]
    del group["2"]
    group["2"] = h5py.ExternalLink(str(tmp_path / "secret"), "numbers")


def soft_link(group: Any, tmp_path: Path) -> None:
    del group["2"]
    group["2"] = h5py.SoftLink("/optimizer/vars/3")


def external_data(group: Any, tmp_path: Path) -> None:
    """Let the bytes of an array be those of another file."""
    (tmp_path / "secret").write_bytes(bytes(64))
    del group["2"]
    outside = [(str(tmp_path / "secret"), 0, 16)]
    group.create_dataset("2", (2, 2), "f4", external=outside)


def virtual_data(group: Any, tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((2, 2), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret"), "numbers", (2, 2))
    del group["2"]
    group.create_virtual_dataset("2", layout)


def bomb(group: Any, tmp_path: Path) -> None:
    """Let a few bytes claim to be exabytes."""
    del group["2"]
    group.create_dataset("2", (2**20, 2**40), "f4", chunks=(1, 2**10))


def words(group: Any, tmp_path: Path) -> None:
    del group["2"]
    group["2"] = np.array([["a", "b"], ["c", "d"]], "S")


def compound(group: Any, tmp_path: Path) -> None:
    del group["2"]
    group["2"] = np.zeros((2, 2), [("a", "f4"), ("b", "f4")])


def a_group(group: Any, tmp_path: Path) -> None:
    del group["2"]
    group.create_group("2")


def negative_norm(group: Any, tmp_path: Path) -> None:
    group["3"][...] = -1.0


def another_name(group: Any, tmp_path: Path) -> None:
    group.move("2", "two")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "no '2' in /optimizer/vars"),
        (soft_link, "no '2' in /optimizer/vars"),
        (external_data, "array 2 must have the shape"),
        (virtual_data, "array 2 must have the shape"),
        (bomb, r"array 2 must have the shape \(2, 2\)"),
        (words, "real numbers"),
        (compound, "real numbers"),
        (a_group, "array 2 must have the shape"),
        (negative_norm, "negative somewhere"),
        (another_name, "no '2' in /optimizer/vars"),
    ],
)
def test_files_that_only_look_like_it_are_refused(
    change: Callable[[Any, Path], None], message: str, tmp_path: Path
) -> None:
    """Nothing outside the file is read, and no memory taken for what is not expected."""
    path = copy_of(tmp_path)
    with h5py.File(path, "a") as file:
        change(file["optimizer/vars"], tmp_path)
    optimizer = Adamax()
    with pytest.raises(CheckpointError, match=message):
        load_keras_file(path, optimizer, Found("keras").variables())
    assert len(optimizer.weights) == 1


@pytest.mark.parametrize("content", [b"", b"no such file", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    """Neither HDF5 nor an archive: a `CheckpointError` with the name of the file."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="file cannot be loaded: it is corrupt or is not a"):
        load_keras_file(tmp_path / "file", Adamax(), Found("keras").variables())


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    """Cut short anywhere, a file is refused, or read if nothing of the optimizer is missing."""
    found = Found("keras")
    for name in ("keras.keras", "keras.weights.h5"):
        data = (DATA / name).read_bytes()
        path = tmp_path / name
        path.write_bytes(data)
        for length in range(len(data) - 1, 0, -len(data) // 97):
            os.truncate(path, length)
            optimizer, variables = found.optimizer(), found.variables()
            try:
                load_keras_file(path, optimizer, variables)
            except CheckpointError:
                assert len(optimizer.weights) == 1
            else:
                found.check(optimizer, variables)


def archive(content: bytes, compression: int, member: str = "model.weights.h5") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr(member, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(bytes(10**6), zipfile.ZIP_DEFLATED), "is compressed, which Keras does not do"),
        (archive(b"", zipfile.ZIP_STORED, "other"), "corrupt or is not a Keras file"),
        (archive(b"no HDF5", zipfile.ZIP_STORED), "corrupt or is not a Keras file"),
    ],
    ids=["compressed", "without weights", "other weights"],
)
def test_other_archives_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """An archive must hold the weights, uncompressed: what is small stays small."""
    (tmp_path / "file.keras").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_keras_file(tmp_path / "file.keras", Adamax(), Found("keras").variables())


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install what is missing."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[keras-files\]'"):
        load_keras_file(DATA / "keras.keras", Adamax(), [Variable(np.ones(1))])
