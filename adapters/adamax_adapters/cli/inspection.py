"""What `adamax inspect` shows: the tensors of a checkpoint in numbers, and if their hashes hold."""

import json
from argparse import ArgumentParser
from typing import Any

import numpy as np

from adamax_adapters.checkpoint.contents import damaged, examine
from adamax_adapters.checkpoint.tensorfile import Tensor
from adamax_adapters.cli.table import table

__all__ = ["add_arguments", "inspect"]

DAMAGED = 1  # exit status
STATISTICS = ("min", "max", "norm", "nonfinite")


def add_arguments(parser: ArgumentParser) -> None:
    """Give a parser the options that `inspect` has as parameters."""
    parser.add_argument("file", metavar="FILE", help="a checkpoint")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")


def inspect(file: str, as_json: bool = False) -> int:
    """Print what is in a checkpoint, and whether its hashes hold.

    Parameters
    ----------
    file : path
    as_json : bool
        Whether to print JSON, or a table.

    Returns
    -------
    int
        Exit status: 0, or 1 if a tensor is damaged.

    Raises
    ------
    CheckpointError
        If the damage is such that the tensors cannot be told, or it is no checkpoint.
    OSError
        If the file cannot be read.
    """
    contents = examine(file)
    unsound = damaged(contents)
    summary = contents.summary()
    summary["sound"] = not unsound
    for name, entry in summary["tensors"].items():
        entry |= {"sound": name not in unsound, **_numbers(contents.tensors[name])}
    if as_json:
        print(json.dumps(summary, indent=2, allow_nan=False))
    else:
        _print_table(file, summary)
    return DAMAGED if unsound else 0


def _numbers(part: Tensor) -> dict[str, Any]:
    """Return smallest, largest and L2 norm of the finite elements, and how many are not finite."""
    array = part.array()
    finite = array[np.isfinite(array)]
    numbers = dict.fromkeys(STATISTICS)
    numbers["nonfinite"] = array.size - finite.size
    if finite.size:
        exact = finite.astype(np.float64)
        scale = float(np.max(np.abs(exact))) or 1.0  # so that no square overflows
        numbers["norm"] = scale * float(np.linalg.norm(exact / scale))
        numbers["min"], numbers["max"] = finite.min().item(), finite.max().item()
    return numbers


def _print_table(file: str, summary: dict[str, Any]) -> None:
    rows = [("tensor", "dtype", "shape", *STATISTICS, "sha256")]
    for name, entry in summary["tensors"].items():
        rows.append(
            (
                _printable(name),
                entry["dtype"],
                "x".join(map(str, entry["shape"])) or "scalar",
                *("" if entry[key] is None else f"{entry[key]:.4g}" for key in STATISTICS),
                "holds" if entry["sound"] else "DIFFERS",
            )
        )
    optimizer, library = summary["optimizer"], _printable(summary["library"])
    print(f"{_printable(file)}: step {summary['iterations']}, written by {library}")
    print(f"{_printable(optimizer['class_name'])}: {json.dumps(optimizer['config'])}")
    print(table(rows))
    print("all hashes hold" if summary["sound"] else "DAMAGED: not all hashes hold")


def _printable(text: str) -> str:
    """Return `text` without what a terminal would obey."""
    return text if text.isprintable() else ascii(text)
