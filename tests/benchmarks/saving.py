"""What it costs to save and load 100 MB of state, beside writing and reading the same bytes.

The ways take turns, so that a busy machine is busy for all of them; the table holds medians. The
argument is a folder, which says on which disk: ``python tests/benchmarks/saving.py [FOLDER]``.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from interleaved import take_turns

from adamax import Adamax, Variable, load_checkpoint, save_checkpoint

BYTES = 100_000_000
ROUNDS = 15
SHARES = {
    "1 variable": [1],
    "12 equal ones": [1] * 12,
    "1 large, 40 small": [40, *[1] * 40],
}
"""How the float32 elements are shared out among variables; each has m and v beside its value."""


def state(shares: list[int]) -> tuple[Adamax, list[Variable]]:
    """Return an optimizer after one step of variables that, with their slots, make up the bytes."""
    rng = np.random.default_rng(0)
    sizes = [BYTES * share // (3 * 4 * sum(shares)) for share in shares]
    variables = [
        Variable(rng.random(size, dtype=np.float32), name=f"w{i}") for i, size in enumerate(sizes)
    ]
    optimizer = Adamax()
    optimizer.apply_gradients([(variable.value - 0.5, variable) for variable in variables])
    return optimizer, variables


def write_plainly(path: Path, data: bytes) -> None:
    """Write bytes into a file, and wait until they are on the disk."""
    with open(path, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())


def ways(shares: list[int], folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what is to be timed; the file that is saved is the one that is loaded."""
    optimizer, variables = state(shares)
    ours, plain = folder / "ours", folder / "plain"
    save_checkpoint(ours, optimizer)
    data = ours.read_bytes()
    return {
        "write + fsync": lambda: write_plainly(plain, data),
        "save": lambda: save_checkpoint(ours, optimizer),
        "read": plain.read_bytes,
        "load": lambda: load_checkpoint(ours, optimizer, variables),
    }


def main() -> None:
    """Print a table of milliseconds."""
    with TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        for name, shares in SHARES.items():
            times = take_turns(ways(shares, Path(folder)), ROUNDS)
            medians = {way: taken.median for way, taken in times.items()}
            told = ", ".join(f"{way} {taken:.0f}" for way, taken in medians.items())
            ratio = medians["save"] / medians["write + fsync"]
            print(f"{name:18} {told} ms; save / (write + fsync) = {ratio:.2f}")


if __name__ == "__main__":
    main()
