"""Optimizer and variables <-> one file on disk: every tensor by name, checked by its hash.

The file is in the safetensors format; `adamax_adapters.checkpoint.contents` says what is in it, and
`adamax_adapters.checkpoint.tensorfile` with which bytes.
"""

import os
from typing import Any

from adamax._public import public
from adamax.typing import Variables
from adamax_adapters.checkpoint.contents import read, write
from adamax_adapters.checkpoint.state import restore, snapshot
from adamax_adapters.checkpoint.tensorfile import CheckpointError
from adamax_adapters.step.state import HasState, LoadReport

__all__ = [
    "CheckpointError",
    "LoadReport",
    "inspect_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]


@public
def save_checkpoint(
    path: str | os.PathLike[str], optimizer: HasState, variables: Variables | None = None
) -> None:
    """Write variables, slots, iterations and configuration into one file, whole or not at all.

    Parameters
    ----------
    path : path
        A file that is there is replaced, and keeps its mode and owner. A symbolic link stays: the
        file that it names is replaced.
    optimizer : Adamax
    variables : variables, nested in any way, optional
        Variables whose values to save. Default: every variable with slots. Slots, and variables
        from `add_weight`, are always saved.

    Raises
    ------
    CheckpointError
        If two tensors would have the same name, or something cannot be held by such a file.
    OSError
        If the file cannot be written, or `path` is a device, a FIFO or a folder. An old file is
        left as it was, with one exception: if its folder cannot be synced in the end, the new
        file is in place, and a crash of the machine may bring the old one back.

    Notes
    -----
    All arrays are copied under the optimizer's lock before the file is written. Other threads can
    keep training; the file holds the state of a single step. An `assign` by another thread does
    not wait for the lock; neither does a step on a stream of a GPU that is not the default one.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from adamax import Adamax, Variable
    >>> w, opt = Variable(np.ones(3), name="w"), Adamax()
    >>> _ = opt.apply_gradients([(np.ones(3), w)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.safetensors", opt)
    ...     sorted(inspect_checkpoint(f"{folder}/run.safetensors")["tensors"])
    ['m/w', 'v/w', 'variable/w']
    """
    write(path, snapshot(optimizer, variables))


@public
def load_checkpoint(
    path: str | os.PathLike[str],
    optimizer: HasState,
    variables: Variables | None = None,
    *,
    strict: bool = True,
) -> LoadReport:
    """Assign variables, slots and iterations from a file: all of them, or nothing.

    Hyperparameters stay as they are; ``inspect_checkpoint(path)["optimizer"]`` is what
    `adamax.deserialize` builds them from.

    Parameters
    ----------
    path : path
    optimizer : Adamax
        Slots that it does not have yet are made.
    variables : variables, nested in any way, optional
        Those whose values are assigned. Default: all that the optimizer has slots for. They are
        found by name; arrays without one by their order.
    strict : bool
        Whether the file must hold exactly what `save_checkpoint` would write with the same
        arguments, in the same shapes and dtypes. If not, what they have in common is assigned.

    Returns
    -------
    LoadReport
        `missing`, `unexpected` and `misfits`: the names that were left out; none if `strict`.

    Raises
    ------
    CheckpointError
        If the file is corrupt, if two tensors would have the same name, or, if `strict`, because
        of anything that would be reported; the message lists all of it.
    OSError
        If the file cannot be read, or is a device or a FIFO.
    """
    return restore(path, read(path), optimizer, variables, strict=strict)


@public
def inspect_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a file says of itself, after its hashes have been checked.

    Returns
    -------
    dict
        `format`, `library`, `iterations`, `optimizer` (as `adamax.serialize` returns it),
        `variables` and `weights` (names in order) and `tensors` (name to dtype, shape and sha256).

    Raises
    ------
    CheckpointError
        If the file is corrupt or is not a checkpoint.
    OSError
        If it cannot be read, or is a device or a FIFO.
    """
    return read(path).summary()
