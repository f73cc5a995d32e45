"""The bytes of a file: every array comes back as it was, and other readers find the same."""

import io
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adamax import Adamax, Variable
from adamax_adapters.checkpoint import contents, tensorfile
from adamax_adapters.checkpoint.state import snapshot
from adamax_adapters.checkpoint.tensorfile import (
    CheckpointError,
    Tensor,
    body,
    elements,
    head,
    header,
    tensor,
)

DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
# Any text that Unicode allows: everything but lone surrogates, the empty name included.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def file_of(tensors: dict[str, Tensor], metadata: str = "{}") -> bytes:
    return b"".join([head(tensors, metadata), *map(bytes, body(tensors))])


def decode(file: Any) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the metadata of an open file."""
    described, metadata = header(file)
    return elements(file, described), metadata


def read(data: bytes) -> tuple[dict[str, Tensor], str]:
    return decode(io.BytesIO(data))


def there_and_back(array: Any, dtype: str) -> Any:
    """Return what is read of an array that was written."""
    tensors, _ = read(file_of({"x": tensor("x", array, dtype)}))
    return tensors["x"].array()


def same_bits(x: Any, y: Any) -> bool:
    """Say whether two arrays have the same shape and elements, NaNs and signs of 0 included."""
    plain = [np.ascontiguousarray(a).astype(a.dtype.newbyteorder("=")) for a in (x, y)]
    return x.shape == y.shape and plain[0].tobytes() == plain[1].tobytes()


def header_of(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header


def with_header(header: Any, body: bytes) -> bytes:
    """Return a file whose header is spelled as the writer spells it, whatever it says."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def numbers() -> Any:
    return np.arange(24.0).reshape(2, 3, 4)


ARRAYS: dict[str, Callable[[], Any]] = {
    "0-d": lambda: np.array(3.5),
    "empty": lambda: np.zeros((3, 0, 2)),
    "Fortran": lambda: np.asfortranarray(numbers()),
    "transposed": lambda: numbers().T,
    "strided": lambda: numbers()[:, ::2, 1::3],
    "reversed": lambda: numbers()[::-1, :, ::-1],
    "broadcast": lambda: np.broadcast_to(np.arange(4.0), (5, 4)),
    "big-endian": lambda: numbers().astype(">f8"),
    "read-only": lambda: np.frombuffer(numbers().tobytes()).reshape(4, 6),
    "unaligned": lambda: np.frombuffer(b"x" + numbers().tobytes(), np.uint8)[1:].view(np.float64),
}


@pytest.mark.parametrize("layout", ARRAYS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_arrays_of_every_layout_come_back(layout: str, dtype: str) -> None:
    """However an array lies in memory, its elements are written in C order and little-endian."""
    array = ARRAYS[layout]()
    array = array.astype(np.dtype(dtype).newbyteorder(array.dtype.byteorder), copy=False)
    assert same_bits(there_and_back(array, dtype), array)


@given(st.sampled_from([name for name in DTYPES if name != "bfloat16"]), st.data())
def test_arrays_of_every_dtype_come_back(dtype: str, data: st.DataObject) -> None:
    """Every element of every dtype and shape comes back bit by bit."""
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
    array = data.draw(hnp.arrays(dtype, shape))
    found = there_and_back(array, dtype)
    assert found.dtype == np.dtype(dtype)
    assert same_bits(found, array)


def test_every_bfloat16_comes_back() -> None:
    """All 65536 values of bfloat16, NaNs with their payloads too, are kept in their 16 bits."""
    every = np.arange(2**16, dtype=np.uint16)
    stored = tensor("x", every.view(ml_dtypes.bfloat16), "bfloat16")
    assert stored.stored.nbytes == 2 * 2**16
    found = there_and_back(every.view(ml_dtypes.bfloat16), "bfloat16")
    assert found.dtype == np.float32
    assert np.array_equal(found.view(np.uint32) >> 16, every)


@given(st.dictionaries(TEXT, st.sampled_from(sorted(DTYPES)), max_size=5), TEXT)
def test_names_of_any_unicode_come_back(dtypes: dict[str, str], metadata: str) -> None:
    """Names and metadata may hold whatever Unicode allows: newlines, quotes, emoji, NUL."""
    dtypes.pop("__metadata__", None)
    tensors = {name: tensor(name, np.arange(3) % 2, dtype) for name, dtype in dtypes.items()}
    found, text = read(file_of(tensors, metadata))
    assert text == metadata
    assert {name: part.dtype for name, part in found.items()} == dtypes
    for name, part in found.items():
        assert np.array_equal(part.array(), np.arange(3) % 2), name


@pytest.mark.parametrize("name", ["\ud800", "w\udfff"])
def test_names_that_are_no_text_are_refused(name: str) -> None:
    """A lone surrogate cannot be written: other readers of the format would refuse the file."""
    with pytest.raises(CheckpointError, match=r"valid Unicode, received one that ends with .*ud"):
        file_of({name: tensor(name, np.zeros(1), "float64")})


def test_dtypes_without_a_place_in_the_format_are_refused() -> None:
    """The error names the array and its dtype."""
    with pytest.raises(CheckpointError, match="received complex64, for 'm/w'"):
        tensor("m/w", np.zeros(1, np.complex64), "complex64")


@given(st.permutations(["b", "a", "big", "half", "flag"]))
def test_equal_content_gives_equal_bytes(order: list[str]) -> None:
    """The order of insertion leaves no trace."""
    dtypes = {"b": "float32", "a": "float32", "big": "float64", "half": "float16", "flag": "bool"}
    expected = file_of({name: tensor(name, np.ones(3), dtypes[name]) for name in dtypes})
    assert file_of({name: tensor(name, np.ones(3), dtypes[name]) for name in order}) == expected


def test_the_layout_is_that_of_the_format() -> None:
    """Length, header, elements: byte by byte, written by hand here."""
    tensors = {
        "h": tensor("h", np.array([1.0, -2.0]), "float16"),
        "b": tensor("b", np.array([[True], [False]]), "bool"),
        "d": tensor("d", np.array(0.5), "float64"),
    }
    header = (
        b'{"__metadata__":{"adamax":"{\\"a\\":1}"},'
        b'"d":{"dtype":"F64","shape":[],"data_offsets":[0,8]},'
        b'"h":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},'
        b'"b":{"dtype":"BOOL","shape":[2,1],"data_offsets":[12,14]}}'
    )
    padding = -len(header) % 8
    body = struct.pack("<d", 0.5) + struct.pack("<2e", 1.0, -2.0) + b"\x01\x00"
    expected = struct.pack("<Q", len(header) + padding) + header + b" " * padding + body
    assert file_of(tensors, '{"a":1}') == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_offsets_beyond_four_gigabytes(dtype: str) -> None:
    """Offsets are exact where no 32-bit integer could hold them; no such memory is needed."""
    # One element, repeated by a stride of 0: three arrays of more than 2 GiB each.
    one = tensor("x", np.zeros(()), dtype).stored
    shape = (2**31 // one.itemsize + 5, 3)
    big = {name: Tensor(dtype, np.broadcast_to(one, shape)) for name in "cab"}
    before = head(big, "{}")
    size = math.prod(shape) * one.itemsize
    assert size > 3 * 2**31
    assert [header_of(before)[name]["data_offsets"] for name in "abc"] == [
        [0, size],
        [size, 2 * size],
        [2 * size, 3 * size],
    ]
    assert len(before) % 8 == 0


class Sparse(io.RawIOBase):
    """A file of a header and gigabytes of zeros that nobody has to write or read."""

    def __init__(self, head: bytes, zeros: int) -> None:
        self.head, self.size, self.at = head, len(head) + zeros, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (self.size if whence == 2 else 0)
        return self.at

    def read(self, size: int = -1) -> bytes:
        self.at += size
        return self.head[self.at - size : self.at]

    def readinto(self, buffer: Any) -> int:
        self.at += memoryview(buffer).nbytes
        return memoryview(buffer).nbytes


def test_reading_beyond_two_gigabytes() -> None:
    """An array that lies beyond 2 GiB is found where it begins."""
    parts = {
        "a": Tensor("float64", np.broadcast_to(np.zeros((), "<f8"), (2**28 + 1,))),
        "b": Tensor("float32", np.broadcast_to(np.zeros((), "<f4"), (7, 3))),
    }
    file = Sparse(head(parts, "{}"), 8 * (2**28 + 1) + 84)
    tensors, _ = decode(file)
    a, b = (tensors[name].stored for name in "ab")
    assert (a.shape, b.shape) == ((2**28 + 1,), (7, 3))
    begin = [x.__array_interface__["data"][0] for x in (a, b)]
    assert begin[1] - begin[0] == 8 * (2**28 + 1)


def test_the_safetensors_package_reads_what_is_written() -> None:
    """The reference implementation of the format finds the same arrays and the same metadata."""
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    dtypes = {name: name for name in DTYPES} | {"ü/🎉 \n\"'\\\0": "float32", "x" * 300: "int8"}
    elements = np.arange(6).reshape(2, 3) % 2
    tensors = {name: tensor(name, elements, dtype) for name, dtype in dtypes.items()}
    found = dict(safetensors.deserialize(file_of(tensors, '{"ü":1}')))
    assert found.keys() == dtypes.keys()
    for name, part in tensors.items():
        assert found[name]["dtype"] == part.code
        assert found[name]["shape"] == [2, 3]
        assert found[name]["data"] == bytes(part.data())


def test_the_safetensors_package_writes_the_same_bytes() -> None:
    """Its writer and ours agree on order, spelling and padding of arrays of one dtype."""
    package = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    names = ["b", "a", "é", "🎉/w", "\n\x01\x7f\"'\\", "ab"]
    arrays = {name: np.arange(i, dtype=np.float32) for i, name in enumerate(names)}
    tensors = {name: tensor(name, array, "float32") for name, array in arrays.items()}
    assert package.save(arrays, {"adamax": '{"a":1}'}) == file_of(tensors, '{"a":1}')


@pytest.mark.parametrize("limit", ["MAX_HEADER_BYTES", "MAX_VALUES"])
def test_a_header_beyond_the_limit_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read is not written, and not read if it was."""
    parts = {f"{i:010}": tensor("x", np.zeros(()), "int8") for i in range(100)}
    data = file_of(parts)
    size = len(data) - 100 - 8
    values = 3 + 100 * 7  # three braces before the arrays; one, two brackets, four commas of each
    most = {"MAX_HEADER_BYTES": size, "MAX_VALUES": values}[limit]
    monkeypatch.setattr(tensorfile, limit, most)
    assert file_of(parts) == data
    assert len(read(data)[0]) == 100
    monkeypatch.setattr(tensorfile, limit, most - 1)
    with pytest.raises(CheckpointError, match=f"received {size} bytes and {values} values"):
        file_of(parts)
    with pytest.raises(
        CheckpointError, match=r"truncated or is not a checkpoint|more than \d+ values"
    ):
        read(data)


def test_a_hundred_thousand_variables_fit_into_a_file() -> None:
    """A header of a thousand, with names of 60 characters and moments, is far below the limits."""
    count, owner = 1000, Adamax()
    variables = [Variable(np.zeros((1, 1)), name=f"{i:060}") for i in range(count)]
    owner.build(variables)
    saved = snapshot(owner)
    sums = dict.fromkeys(saved.tensors, "0" * 64)
    text = head(saved.tensors, contents._written(saved._replace(sha256=sums)))
    assert 100 * len(text) < 0.8 * tensorfile.MAX_HEADER_BYTES
    assert 100 * tensorfile._values(text) < 0.8 * tensorfile.MAX_VALUES


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    """Elements that are not there any more are not made up."""

    class Shrinking(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            return super().readinto(memoryview(buffer)[:-1])

    file = Shrinking(file_of({"x": tensor("x", np.ones(3), "float64")}))
    with pytest.raises(CheckpointError, match="shorter while it was read"):
        decode(file)
