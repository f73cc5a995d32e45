"""The optimizer's part of the files that Keras writes: `.weights.h5` and `.keras`."""

import io
import os
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from adamax._public import public
from adamax.given import listed
from adamax.typing import Variables
from adamax_adapters.checkpoint.durable import open_regular
from adamax_adapters.checkpoint.tensorfile import CheckpointError, Tensor
from adamax_adapters.convert.layouts import KerasStyle, Layout, set_in_order
from adamax_adapters.installation import install
from adamax_adapters.step.slots import MOMENTS
from adamax_adapters.step.state import VariableState

__all__ = ["load_keras_file"]

WEIGHTS = "model.weights.h5"
"""The file of arrays in a `.keras` archive."""


@public
def load_keras_file(
    path: str | os.PathLike[str],
    optimizer: KerasStyle,
    variables: Variables | None = None,
    *,
    order: Sequence[str] | None = None,
) -> float | None:
    """Assign iterations and moments from a file of Keras 3 or tf-keras: all of them, or nothing.

    Parameters
    ----------
    path : path
        A `.weights.h5` or `.keras` file, of a model that was compiled with Adamax.
    optimizer : Adamax
        Slots that it does not have yet are made.
    variables : variables, nested in any way, optional
        Those that the file has moments of. Default: all that the optimizer has slots for.
    order : sequence of str, optional
        Names of these variables in the order of the Keras model's trainable variables, as there
        are no names in the file. Default: they are in that order.

    Returns
    -------
    float or None
        The learning rate in the file, if there is one. It is not assigned, as no hyperparameter is.

    Raises
    ------
    CheckpointError
        If the file is corrupt, has no such optimizer, or does not fit: number, shapes and dtypes
        of the arrays are checked, and that no infinity norm is negative.
    ValueError
        If `order` does not hold the names of the variables.
    OSError
        If the file cannot be read.
    ModuleNotFoundError
        If h5py is not installed, which the extra ``keras-files`` installs.
    """
    given = None if variables is None else listed(variables)
    entries = [
        entry._replace(slots=dict.fromkeys(MOMENTS))
        for entry in _in_order(optimizer.describe(given), order)
    ]
    shapes = [entry.shape for entry in entries for _ in MOMENTS]
    try:
        arrays = _read(path, shapes)
        layout: Layout = "keras" if len(arrays) == len(shapes) + 2 else "tf-keras"
        return set_in_order(optimizer, entries, arrays, layout, given)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{os.fspath(path)} cannot be loaded: {error}") from None


def _in_order(entries: list[VariableState], order: Sequence[str] | None) -> list[VariableState]:
    if order is None:
        return entries
    by_name = {entry.name: entry for entry in entries}
    if len(by_name) != len(entries) or sorted(by_name) != sorted(order):
        raise ValueError(
            f"Expected order to hold the names of the variables, {[x.name for x in entries]}, "
            f"each once, received: {list(order)}"
        )
    return [by_name[name] for name in order]


def _read(path: str | os.PathLike[str], shapes: list[tuple[int, ...]]) -> list[Any]:
    """Return the arrays of the optimizer; those of moments must have these shapes."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"the files of Keras are read with h5py: {install('keras-files')}"
        ) from None
    with open_regular(path) as file:
        try:
            with h5py.File(_weights_file(file), "r") as h5:
                return _arrays(h5, shapes)
        except (KeyError, OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise ValueError(f"it is corrupt or is not a Keras file: {error}") from None


def _weights_file(file: BinaryIO) -> BinaryIO:
    """Return the HDF5 file in an archive, or the file itself where it is none."""
    if not zipfile.is_zipfile(file):
        return file
    with zipfile.ZipFile(file) as archive:
        member = archive.getinfo(WEIGHTS)
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{WEIGHTS} in it is compressed, which Keras does not do")
        return io.BytesIO(archive.read(member))


def _arrays(h5: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
    group = _member(_member(h5, "optimizer"), "vars")
    without_rate = len(shapes) + 1
    if len(group) not in (without_rate, without_rate + 1):
        raise ValueError(
            f"expected {without_rate} arrays, or one more with a learning rate, for "
            f"{len(shapes) // 2} variables; it has {len(group)}: of other variables, or of "
            "another optimizer than Adamax"
        )
    scalars = [()] * (len(group) - len(shapes))
    return [_array(group, str(i), shape) for i, shape in enumerate([*scalars, *shapes])]


def _array(group: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Return one array, after its shape has been checked: only then is memory taken for it."""
    dataset = _member(group, name)
    if getattr(dataset, "shape", None) != shape or dataset.external or dataset.is_virtual:
        raise ValueError(
            f"array {name} must have the shape {shape}, it is {dataset}; are the variables in the "
            "order of the Keras model's?"
        )
    stored = np.asarray(dataset[()])
    if stored.dtype == "V2" and dataset.attrs.get("dtype") == "bfloat16":
        return Tensor("bfloat16", stored.view("<u2")).array()
    return stored


def _member(group: Any, name: str) -> Any:
    """Return what is in a group itself: a link may lead into any file of the machine."""
    import h5py  # it is there, as `_read` has seen

    if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise ValueError(f"it has no {name!r} in {group.name}: was the model compiled with Adamax?")
    return group[name]
