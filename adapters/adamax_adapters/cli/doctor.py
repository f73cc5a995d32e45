"""What is installed, and which backends each library uses: the command `adamax doctor`."""

from importlib import import_module
from typing import Any

from adamax_adapters.backends import problem, ways
from adamax_adapters.backends.threads import cores
from adamax_adapters.cli.table import table
from adamax_adapters.cli.train.library import LIBRARIES, first_line
from adamax_adapters.installation import install

__all__ = ["doctor"]

BROKEN = 1  # exit status


def doctor() -> int:
    """Print one verdict for each library.

    Returns
    -------
    int
        Exit status: 0, or 1 if a library is installed and cannot be used, such as CuPy without a
        device.
    """
    found = [_arrays(name, module, command) for name, (module, command) in LIBRARIES.items()]
    found.append(_numba())
    print(table([("library", "version", "backends, the fastest first", "verdict"), *found]))
    print(f"{cores()} threads for large arrays")
    return BROKEN if any(verdict.startswith("installed") for *_, verdict in found) else 0


def _arrays(name: str, module: str, command: str) -> tuple[str, str, str, str]:
    """Return the row of a library that has arrays."""
    try:
        version = import_module(name).__version__
    except ModuleNotFoundError:
        return name, "", "", f"not installed: {command}"
    try:
        array: Any = import_module(module).zeros(1)
    except Exception as error:  # each library raises its own, for want of a driver or a device
        return name, version, "", f"installed, without a usable device: {first_line(error)}"
    backends = [backend for backend in ways(array) if problem(backend) is None]
    return name, version, ", ".join(backends), f"usable on {array.device}"


def _numba() -> tuple[str, str, str, str]:
    """Return the row of numba, which compiles steps and has no arrays."""
    try:
        version = import_module("numba").__version__
    except ModuleNotFoundError:
        return "numba", "", "", f"not installed: {install('numba')}"
    except ImportError as error:  # such as for a later NumPy
        return "numba", "", "", f"installed, cannot be imported: {first_line(error)}"
    return "numba", version, "", "usable"
