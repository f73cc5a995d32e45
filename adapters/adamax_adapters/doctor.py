"""What is installed, and which backend each library would use: the command `adamax doctor`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.table import Table

from adamax_adapters.backends import BACKENDS, fastest, problem, ways
from adamax_adapters.backends.threads import cores

__all__ = ["doctor"]

EXAMPLES: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda numpy: numpy.zeros(1),
    "torch": lambda torch: torch.zeros(1),
    "jax": lambda jax: jax.numpy.zeros(1),
    "cupy": lambda cupy: cupy.zeros(1),
}
"""An array of each library whose arrays have a backend of their own."""


def doctor(console: Console) -> int:
    """Print both tables; return 0, or 1 where a library is installed and does not work."""
    backends = Table("backend", "usable", title="Backends")
    for name in BACKENDS:
        reason = problem(name)
        backends.add_row(name, "yes" if reason is None else f"no: {reason}")
    arrays = Table("arrays of", "version", "on", "are updated by", title="Libraries")
    broken = False
    for name, example in EXAMPLES.items():
        try:
            library = import_module(name)
        except ModuleNotFoundError:
            arrays.add_row(name, "not installed", "", "")
            continue
        try:
            array = example(library)
            arrays.add_row(name, library.__version__, str(array.device), fastest(ways(array)))
        except Exception as error:  # whatever a library without its driver raises
            broken = True
            arrays.add_row(name, library.__version__, "", f"does not work: {error}")
    console.print(backends, arrays, f"{cores()} threads for large arrays", sep="\n")
    return int(broken)
