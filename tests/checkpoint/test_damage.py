"""Damaged and hostile files: a `CheckpointError`, and neither another exception nor much memory."""

import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import new_run, same
from test_tensorfile import header_of, with_header

from adamax import (
    Adamax,
    CheckpointError,
    CheckpointManager,
    load_checkpoint,
    save_checkpoint,
    serialize,
)
from adamax_adapters.checkpoint import contents
from adamax_adapters.checkpoint.contents import Contents, Description, read
from adamax_adapters.checkpoint.tensorfile import Tensor, head


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("sound") / "file"
    run = new_run()
    run.train(3)
    save_checkpoint(path, run.optimizer, run.variables)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write damaged bytes into."""
    path = tmp_path_factory.mktemp("scratch") / "file"
    path.touch()
    return path


def put(path: Path, data: bytes) -> None:
    """Make `data` the content of a file, which must not be emptied first: that takes its time."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def read_or_refused(path: Path) -> Contents | None:
    """Return what is in a file, None if it is refused; another error is one of the test."""
    try:
        return read(path)
    except CheckpointError:
        return None


def body_of(data: bytes) -> bytes:
    return data[8 + int.from_bytes(data[:8], "little") :]


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_every_flipped_byte_is_noticed(mask: int, sound: bytes, scratch: Path) -> None:
    """Whichever byte of a file is another, be it padding, the file is refused."""
    put(scratch, sound)
    descriptor = os.open(scratch, os.O_WRONLY)
    try:
        for index, byte in enumerate(sound):
            os.pwrite(descriptor, bytes([byte ^ mask]), index)
            assert read_or_refused(scratch) is None, index
            os.pwrite(descriptor, bytes([byte]), index)
    finally:
        os.close(descriptor)
    assert read_or_refused(scratch) is not None


def test_every_truncation_is_noticed(sound: bytes, scratch: Path) -> None:
    """A file that is cut short anywhere, or has grown, is refused."""
    put(scratch, sound + b"\0")
    for length in (len(sound) + 1, *reversed(range(len(sound)))):
        os.truncate(scratch, length)
        assert read_or_refused(scratch) is None, length


@pytest.mark.parametrize("end", [b"", b"x"], ids=["short", "changed"])
def test_nothing_is_assigned_from_a_damaged_file(end: bytes, sound: bytes, scratch: Path) -> None:
    """Variables, slots and iterations are what they were, even of tensors that are sound."""
    put(scratch, sound[:-1] + end)
    run = new_run(1)
    run.train(5)
    before = run.state()
    with pytest.raises(CheckpointError, match=r"damaged|corrupt"):
        load_checkpoint(scratch, run.optimizer, run.variables)
    with pytest.raises(CheckpointError, match=r"damaged|corrupt"):
        load_checkpoint(scratch, run.optimizer, run.variables, strict=False)
    assert same(run.state(), before)


# Values that a header or the metadata may have instead of their own.
NAMES = ["", "w", "m/bias", "m", "variable", "bias", "F32", "F64", "float32", "digest", "Adamax"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**63, 2**64, 0.0, 1.5, *NAMES]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=3),
    st.just([[[[]]]]),
).map(json.dumps)


def entries(value: Any) -> list[tuple[Any, Any]]:
    """Return every container inside a JSON value with each of its keys or indices."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    inner = [entry for key in keys for entry in entries(value[key])]
    return [(value, key) for key in keys] + inner


MUTATIONS = int(os.environ.get("ADAMAX_MUTATIONS", "3000"))  # of each kind
BATCH = 10  # mutations in one example, as an example costs more than most of them
INDEX = st.integers(0, 2**16)
CHANGES = st.lists(
    st.tuples(st.integers(0, 4), INDEX, INDEX, VALUES, st.sampled_from(NAMES)),
    min_size=1,
    max_size=2,
)


def changed(value: Any, changes: list[tuple[int, int, int, str, str]]) -> Any:
    """Return a copy of a JSON value with parts removed, renamed, added, moved or replaced."""
    value = json.loads(json.dumps(value))
    for kind, index, other, new, name in changes:
        found = entries(value)
        if not found:
            break
        container, key = found[index % len(found)]
        match kind:
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[name] = container.pop(key)
            case 1:
                container.insert(key, json.loads(new))
            case 2:
                source, at = found[other % len(found)]
                container[key] = json.loads(json.dumps(source[at]))
            case _:
                container[key] = json.loads(new)
    return value


@given(st.lists(CHANGES, min_size=BATCH, max_size=BATCH))
@settings(max_examples=4 * MUTATIONS // 3 // BATCH)
def test_mutated_headers(sound: bytes, scratch: Path, mutations: Any) -> None:
    """A header that says something else, in the very spelling of the writer, is refused."""
    for changes in mutations:
        damaged = with_header(changed(header_of(sound), changes), body_of(sound))
        put(scratch, damaged)
        assert (read_or_refused(scratch) is None) == (damaged != sound)


@given(st.lists(CHANGES, min_size=BATCH, max_size=BATCH))
@settings(max_examples=MUTATIONS // BATCH)
def test_mutated_metadata(sound: bytes, scratch: Path, mutations: Any) -> None:
    """Metadata of somebody who knows how the digest is made is refused, or is what it says."""
    for changes in mutations:
        header = header_of(sound)
        metadata = json.loads(header["__metadata__"]["adamax"])
        del metadata["digest"]
        metadata = changed(metadata, changes)
        metadata["digest"] = hashlib.sha256(spelled(metadata)).hexdigest()
        header["__metadata__"]["adamax"] = spelled(metadata).decode()
        put(scratch, with_header(header, body_of(sound)))
        contents = read_or_refused(scratch)
        if contents is not None:
            assert contents.iterations == metadata["iterations"]
            load_or_leave(scratch)


def load_or_leave(path: Path) -> None:
    """Load a file that is sound: everything in it, or nothing if it does not fit."""
    run = new_run(1)
    before = run.state()
    try:
        load_checkpoint(path, run.optimizer, run.variables)
    except CheckpointError:
        assert same(run.state(), before)


def spelled(metadata: Any) -> bytes:
    return json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()


MARKS = [b'"', b"{", b"]", b",", b":", b"\\", b"-1", b"9", b"1e9", b"NaN", b"\xed\xa0\x80"]
SPLICES = st.lists(
    st.tuples(INDEX, st.integers(0, 9), st.binary(max_size=9) | st.sampled_from(MARKS)),
    min_size=1,
    max_size=3,
)


@given(st.lists(SPLICES, min_size=BATCH, max_size=BATCH))
@settings(max_examples=MUTATIONS // BATCH)
def test_mutated_bytes_of_the_header(sound: bytes, scratch: Path, mutations: Any) -> None:
    """Bytes of a header are removed, added and replaced, and its length is made to fit again."""
    for splices in mutations:
        header = sound[8 : -len(body_of(sound))]
        for index, count, new in splices:
            begin = index % (len(header) + 1)
            header = header[:begin] + new + header[begin + count :]
        damaged = len(header).to_bytes(8, "little") + header + body_of(sound)
        put(scratch, damaged)
        assert (read_or_refused(scratch) is None) == (damaged != sound)


def peak(path: Path) -> int:
    """Return the bytes of memory that it takes to refuse a file."""
    tracemalloc.start()
    try:
        assert read_or_refused(path) is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CLAIMS = {
    "a header of exabytes": lambda header: (2**62).to_bytes(8, "little"),
    "the largest header": lambda header: (2**64 - 1).to_bytes(8, "little"),
    "a header one byte too long": lambda header: (2**27 + 1).to_bytes(8, "little"),
    "an array of exabytes": lambda header: with_header(
        header | {"x": {"dtype": "F64", "shape": [2**59], "data_offsets": [0, 2**62]}}, b""
    ),
    "a shape beyond all numbers": lambda header: with_header(
        header | {"x": {"dtype": "F64", "shape": [2**63 - 1] * 64, "data_offsets": [0, 0]}}, b""
    ),
    "no bytes of an impossible shape": lambda header: with_header(
        {"__metadata__": header["__metadata__"]}
        | {"x": {"dtype": "F64", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}},
        b"",
    ),
    "more dimensions than NumPy has": lambda header: with_header(
        {"__metadata__": header["__metadata__"]}
        | {"x": {"dtype": "F64", "shape": [1] * 65, "data_offsets": [0, 8]}},
        bytes(8),
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_cost_no_memory(claim: str, sound: bytes, scratch: Path) -> None:
    """A small file that claims to be large is refused before memory is taken for it."""
    put(scratch, CLAIMS[claim](header_of(sound)))
    assert peak(scratch) < 4 * len(sound) + 50_000


def test_a_huge_hole_costs_no_memory(scratch: Path, tmp_path: Path) -> None:
    """A file that is empty but for its header, which is sound, is refused, and passed over."""
    big = {"variable/w": Tensor("float64", np.broadcast_to(np.zeros(()), (5 * 10**11,)))}
    about = [Description("w", "float64", [5 * 10**11], ["variable"])]
    sums = {"variable/w": "0" * 64}
    described = Contents(2, serialize(Adamax()), about, [], big, sums)
    put(scratch, beginning := head(big, contents._written(described)))
    try:
        os.truncate(scratch, len(beginning) + 4 * 10**12)
    except OSError:
        pytest.skip("the file system holds no files of 4 TB")
    with pytest.raises(CheckpointError, match="take 4000000000000 bytes, more than this machine"):
        read(scratch)
    assert peak(scratch) < 100_000
    run = new_run()
    run.train(1)
    with CheckpointManager(tmp_path) as manager:
        sound = manager.save(run.optimizer, run.variables)
    newest = sound.with_name(sound.name.replace("1", "2"))
    scratch.rename(newest)
    scratch.touch()
    restored = CheckpointManager(tmp_path).restore_latest(run.optimizer, run.variables)
    assert restored is not None
    assert (restored.path, list(restored.refused)) == (sound, [newest])


FLOODS: dict[str, Callable[[int], str]] = {
    "lists": lambda size: '{"m":[' + "[]," * (size // 3) + "[]]}",
    "objects": lambda size: '{"m":[' + "{}," * (size // 3) + "{}]}",
    "names": lambda size: "{" + ",".join(f'"{i:x}":0' for i in range(size // 9)) + "}",
    "nesting": lambda size: "[" * size,
    "digits": lambda size: '{"m":' + "9" * size + "}",
    "text": lambda size: '{"m":"' + "\\u00e9" * (size // 6) + '"}',
}


@pytest.mark.parametrize("where", ["header", "metadata"])
@pytest.mark.parametrize("flood", FLOODS)
def test_floods_of_json_are_bounded(flood: str, where: str, scratch: Path) -> None:
    """A header full of nothing takes at most 40 times its length, which itself is limited."""
    text = FLOODS[flood](300_000)
    if where == "metadata":
        put(scratch, with_header({"__metadata__": {"adamax": text}}, b""))
    else:
        put(scratch, len(text).to_bytes(8, "little") + text.encode())
    assert peak(scratch) < 40 * len(text)


@pytest.mark.parametrize("size", [2**20, 2**33])
def test_a_large_file_of_another_kind_is_not_read(size: int, scratch: Path) -> None:
    """Zeros, as many as there may be, are refused by their first bytes."""
    put(scratch, b"")
    os.truncate(scratch, size)
    assert peak(scratch) < 100_000
