"""Named arrays in one safetensors file: the bytes written and read, and nothing trusted.

The layout: the length of the header as 8 little-endian bytes; the header, JSON padded with spaces
to a multiple of 8; the elements of all arrays, C order, little-endian, without gaps. Equal content
gives equal bytes, and a reader takes no others.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from adamax._public import public
from adamax_adapters.checkpoint.canonical import has_form

__all__ = ["CheckpointError", "Tensor", "body", "elements", "head", "header", "tensor"]

DTYPES = {
    "float64": ("F64", "<f8"),
    "int64": ("I64", "<i8"),
    "uint64": ("U64", "<u8"),
    "float32": ("F32", "<f4"),
    "int32": ("I32", "<i4"),
    "uint32": ("U32", "<u4"),
    "float16": ("F16", "<f2"),
    "bfloat16": ("BF16", "<u2"),  # NumPy has none: the upper half of a float32
    "int16": ("I16", "<i2"),
    "uint16": ("U16", "<u2"),
    "int8": ("I8", "|i1"),
    "uint8": ("U8", "|u1"),
    "bool": ("BOOL", "|b1"),
}
"""Names of dtypes, as the format codes them and as NumPy stores their elements."""

STORED = {name: np.dtype(stored) for name, (_, stored) in DTYPES.items()}
NAMES = {code: name for name, (code, _) in DTYPES.items()}
METADATA = {"adamax": str}
ENTRY = {"dtype": str, "shape": [int], "data_offsets": [int]}
MAX_HEADER_BYTES = 2**27
MAX_VALUES = 2**23  # in a header: each takes up to some 150 bytes of memory, whatever its length
MAX_DIMENSIONS = 64  # the limit of NumPy

Described: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]
"""Dtypes and shapes of arrays, by name."""


@public
class CheckpointError(ValueError):
    """A checkpoint cannot be made, be trusted, or be fitted to what it is loaded into."""


class Tensor(NamedTuple):
    """The elements of an array as they stand in a file; `dtype` says what they mean."""

    dtype: str
    stored: Any

    @property
    def code(self) -> str:
        """What the format calls the dtype."""
        return DTYPES[self.dtype][0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.stored.shape)

    def array(self) -> Any:
        """Return the elements as NumPy numbers; bfloat16 as float32, which holds them exactly."""
        if self.dtype == "bfloat16":
            return (self.stored.astype("<u4") << 16).view("<f4")
        return self.stored

    def data(self) -> Any:
        """Return the elements as bytes; their memory is shared."""
        return self.stored.reshape(-1).view(np.uint8).data


def tensor(name: str, array: Any, dtype: str) -> Tensor:
    """Return a NumPy array as it stands in a file, as `dtype`; `name` is for the error."""
    if dtype not in DTYPES:
        raise CheckpointError(
            f"Expected a dtype that a checkpoint can hold, received {dtype}, for {name!r}"
        )
    if dtype == "bfloat16":
        halves = np.asarray(array, "<f4", order="C").reshape(-1).view("<u2")
        array = halves[1::2].reshape(array.shape)
    return Tensor(dtype, np.asarray(array, STORED[dtype], order="C"))


def head(tensors: Mapping[str, Tensor], metadata: str) -> bytes:
    """Return everything in a file that comes before the elements.

    Raises
    ------
    CheckpointError
        If a name is not valid Unicode, or all names together are too long.
    """
    return _head(_described(tensors), metadata)


def body(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """Yield the elements as bytes, one array after the other."""
    for name in _order(_described(tensors)):
        yield tensors[name].data()


def header(file: BinaryIO) -> tuple[Described, str]:
    """Return what a file says of its tensors, and the metadata; the elements follow in the file.

    Raises
    ------
    CheckpointError
        If the bytes are not those of a `head`, or it does not fit the size of the file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = file.read(8)
    start = 8 + int.from_bytes(length, "little")
    if size < 8 or start > min(size, 8 + MAX_HEADER_BYTES):
        raise CheckpointError(f"it is truncated or is not a checkpoint: {size} bytes")
    text = file.read(start - 8)
    described, metadata = _parsed(text)
    if _head(described, metadata) != length + text:
        raise CheckpointError("its header is not as adamax writes it")
    end = sum(starmap(_nbytes, described.values()))
    if end != size - start:
        raise CheckpointError(f"its header describes {end} bytes of arrays, found {size - start}")
    return described, metadata


def elements(file: BinaryIO, described: Described) -> dict[str, Tensor]:
    """Return the tensors of a file, of which `header` has been read.

    Raises
    ------
    CheckpointError
        If the file has become shorter, or no memory could hold them.
    """
    end = sum(starmap(_nbytes, described.values()))
    if end > _memory_bytes():
        raise CheckpointError(f"its arrays take {end} bytes, more than this machine's memory")
    taken = np.empty(end, np.uint8)
    if file.readinto(taken.data) != end:  # type: ignore[attr-defined]
        raise CheckpointError("it has become shorter while it was read")
    return dict(_views(described, taken))


def _described(tensors: Mapping[str, Tensor]) -> Described:
    return {name: (part.dtype, part.shape) for name, part in tensors.items()}


def _head(described: Described, metadata: str) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"adamax": metadata}}
    end = 0
    for name in _order(described):
        dtype, shape = described[name]
        start, end = end, end + _nbytes(dtype, shape)
        header[name] = {"dtype": DTYPES[dtype][0], "shape": shape, "data_offsets": [start, end]}
    try:
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        near = error.object[max(error.start - 40, 0) : error.end]
        raise CheckpointError(
            f"Expected names of valid Unicode, received one that ends with {near!a}"
        ) from None
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES or _values(text) > MAX_VALUES:
        raise CheckpointError(
            f"Expected a header of at most {MAX_HEADER_BYTES} bytes and {MAX_VALUES} values, "
            f"received {len(text)} bytes and {_values(text)} values, for {len(described)} arrays; "
            "shorten the names, or save the variables in several files"
        )
    return len(text).to_bytes(8, "little") + text


def _order(described: Described) -> list[str]:
    """Return the names as they follow in the file: by size of element, so that all are aligned."""
    return sorted(described, key=lambda name: (-STORED[described[name][0]].itemsize, name))


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * STORED[dtype].itemsize


def _memory_bytes() -> float:
    """Return how much memory the machine has: where more is promised, reading would use it up."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not a POSIX system, or it does not tell
        return math.inf


def _values(text: bytes) -> int:
    """Return how many values a text of JSON may hold, in strings that are JSON themselves too."""
    return sum(map(text.count, (b",", b"[", b"{")))


def _parsed(text: bytes) -> tuple[Described, str]:
    """Return dtypes, shapes and metadata of a header: what `_head` makes a header of."""
    if _values(text) > MAX_VALUES:
        raise CheckpointError(f"its header has more than {MAX_VALUES} values")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its header is not JSON: {error}") from None
    entries: dict[str, Any] = read if isinstance(read, dict) else {}
    metadata = entries.pop("__metadata__", None)
    if not has_form(metadata, METADATA):
        raise CheckpointError("its header has no adamax metadata: was it written by adamax?")
    described = {}
    for name, entry in entries.items():
        if not (has_form(entry, ENTRY) and entry["dtype"] in NAMES and _is_shape(entry["shape"])):
            raise CheckpointError(f"the entry of {name!r} in its header is malformed")
        described[name] = NAMES[entry["dtype"]], tuple(entry["shape"])
    return described, str(metadata["adamax"])


def _is_shape(lengths: list[int]) -> bool:
    return len(lengths) <= MAX_DIMENSIONS and all(0 <= length < 2**63 for length in lengths)


def _views(described: Described, elements: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the arrays by name; they share the memory of `elements`."""
    end = 0
    for name in _order(described):
        dtype, shape = described[name]
        start, end = end, end + _nbytes(dtype, shape)
        try:
            yield name, Tensor(dtype, elements[start:end].view(STORED[dtype]).reshape(shape))
        except ValueError as error:  # no bytes, and lengths that multiply to too many
            raise CheckpointError(f"{name!r} has an impossible shape, {shape}: {error}") from None
