"""Named arrays in one safetensors file: the bytes written and read, and nothing trusted.

The layout: the length of the header as 8 little-endian bytes; the header, JSON padded with spaces
to a multiple of 8; the elements of all arrays, C order, little-endian, without gaps. Equal content
gives equal bytes.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["CheckpointError", "Tensor", "decode", "encode", "parsed", "tensor"]

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
NAMES = {code: name for name, (code, _) in DTYPES.items()}
MAX_HEADER = 100_000_000  # bytes, the limit of the format
MAX_DIMENSIONS = 64  # the limit of NumPy


class CheckpointError(ValueError):
    """A checkpoint cannot be trusted, or does not fit what it is loaded into."""


class Tensor(NamedTuple):
    """The elements of an array as they stand in a file; `dtype` says what they mean."""

    dtype: str
    stored: Any

    def array(self) -> Any:
        """Return the elements as NumPy numbers; bfloat16 as float32, which holds them exactly."""
        if self.dtype == "bfloat16":
            return (self.stored.astype("<u4") << 16).view("<f4")
        return self.stored


def tensor(array: Any, dtype: str) -> Tensor:
    """Return a NumPy array as it stands in a file, as `dtype`."""
    if dtype not in DTYPES:
        raise CheckpointError(f"a checkpoint cannot hold an array of the dtype {dtype}")
    if dtype == "bfloat16":
        array = np.asarray(array, "<f4", order="C").view("<u4") >> 16
    return Tensor(dtype, np.asarray(array, DTYPES[dtype][1], order="C"))


def encode(tensors: Mapping[str, Tensor], metadata: str) -> Iterator[bytes]:
    """Yield the bytes of a file, piece by piece."""
    # The largest elements first: so every array is aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].stored.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"adamax": metadata}}
    end = 0
    for name in order:
        dtype, stored = tensors[name]
        start, end = end, end + stored.nbytes
        header[name] = {
            "dtype": DTYPES[dtype][0],
            "shape": list(stored.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield tensors[name].stored.tobytes()


def decode(data: bytes) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the metadata of a file; the tensors share the memory of `data`.

    Raises
    ------
    CheckpointError
        If `data` is not exactly what `encode` could have written.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(f"the file is cut short or no checkpoint: {len(data)} bytes")
    header = parsed(data[8 : 8 + size], "header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("adamax"), str):
        raise CheckpointError("the header has no adamax metadata: was it written by adamax?")
    body = memoryview(data)[8 + size :]
    end = 0
    tensors = {}
    for name, entry in sorted(header.items(), key=_start):
        stored = _stored(name, entry, end, body)
        tensors[name] = Tensor(NAMES[entry["dtype"]], stored)
        end = entry["data_offsets"][1]
    if end != len(body):
        raise CheckpointError(f"the header describes {end} bytes of arrays, found {len(body)}")
    return tensors, metadata["adamax"]


def _stored(name: str, entry: Any, start: int, body: memoryview) -> Any:
    """Return one array, if its entry is sound and it begins at `start`, where the last ended."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"the entry of {name!r} in the header is malformed")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in NAMES or not _lengths(shape) or not _lengths(offsets):
        raise CheckpointError(f"the dtype, shape or offsets of {name!r} are malformed")
    dtype = np.dtype(DTYPES[NAMES[entry["dtype"]]][1])
    end = start + math.prod(shape) * dtype.itemsize
    if offsets != [start, end] or end > len(body):
        raise CheckpointError(
            f"{name!r} must be at [{start}, {end}) of {len(body)} bytes, the header says {offsets}"
        )
    try:
        return np.frombuffer(body[start:end], dtype).reshape(shape)
    except ValueError as error:
        raise CheckpointError(f"{name!r} has an impossible shape, {shape}: {error}") from None


def parsed(text: bytes | str, what: str) -> dict[str, Any]:
    """Return a JSON object in which no name stands twice; CheckpointError if it is none."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
        read = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the {what} is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise CheckpointError(f"the {what} must be a JSON object, got {type(read).__name__}")
    return read


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise CheckpointError("a name stands twice in a JSON object")
    return read


def _no_number(constant: str) -> float:
    raise CheckpointError(f"{constant} is no JSON number")


def _start(item: tuple[str, Any]) -> tuple[int, ...]:
    """Sort by place in the file; malformed entries anywhere, as they are refused later."""
    offsets: Any = item[1].get("data_offsets") if isinstance(item[1], dict) else None
    return tuple(offsets) if _lengths(offsets) else ()


def _lengths(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= MAX_DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )
