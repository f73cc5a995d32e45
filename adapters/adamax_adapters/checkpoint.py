"""Optimizer and variables <-> one file on disk: every tensor by name, checked by its hash.

The file is in the safetensors format, with the tensors ``variable/<name>`` and ``<slot>/<name>``,
and one JSON object of metadata; see `adamax_adapters.tensorfile` for the bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import adamax
from adamax import nesting
from adamax._arrays import array_namespace, compute_dtype, dtype_name, to_numpy
from adamax.variable import Variable
from adamax_adapters.config import serialize
from adamax_adapters.durable import write_whole
from adamax_adapters.keras import Adamax
from adamax_adapters.slots import MOMENTS
from adamax_adapters.tensorfile import CheckpointError, Tensor, decode, encode, parsed, tensor

__all__ = ["CheckpointError", "inspect_checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
"""Version of the metadata; a reader refuses those it does not know."""


def save_checkpoint(path: str | os.PathLike[str], optimizer: Adamax, variables: Any = None) -> None:
    """Write variables, slots, iterations and configuration into one file, whole or not at all.

    Parameters
    ----------
    path : path
        Replaced if it is there.
    optimizer : Adamax
    variables : variables, nested in any way, optional
        Those whose values are saved. Default: all that the optimizer has slots for. The slots are
        saved in any case.

    Raises
    ------
    CheckpointError
        If two variables have the same name.
    OSError
        If the file cannot be written; an old one is left as it was.

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
    with_values = _holders(optimizer, variables)
    tensors: dict[str, Tensor] = {}
    described = []
    for variable in _union(optimizer._slots.variables, with_values):
        slots = optimizer._slots.of(variable)
        parts = {"variable": variable} if any(variable is x for x in with_values) else {}
        parts |= slots
        for kind, part in parts.items():
            name = f"{kind}/{variable.name}"
            if name in tensors:
                raise CheckpointError(
                    f"two variables are called {variable.name!r}: give them names of their own, "
                    "by which they can be found in the file"
                )
            tensors[name] = tensor(to_numpy(part.value), dtype_name(part.dtype))
        described.append({"name": variable.name, "tensors": list(parts)})
    metadata = {
        "format": FORMAT,
        "library": f"adamax {adamax.__version__}",
        "iterations": int(optimizer.iterations),
        "optimizer": serialize(optimizer),
        "variables": described,
        "sha256": {name: _tensor_digest(part) for name, part in tensors.items()},
    }
    metadata["digest"] = _digest(_canonical(metadata))
    write_whole(path, encode(tensors, _canonical(metadata)))


def load_checkpoint(path: str | os.PathLike[str], optimizer: Adamax, variables: Any = None) -> None:
    """Assign variables, slots and iterations from a file: all of them, or nothing.

    Hyperparameters stay as they are; ``inspect_checkpoint(path)["optimizer"]`` is what
    `adamax.deserialize` builds them from.

    Parameters
    ----------
    path : path
    optimizer : Adamax
        Slots that it does not have yet are made.
    variables : variables, nested in any way, optional
        Those to assign to, beside those that the optimizer has slots for. They are found by name;
        arrays without one by their order.

    Raises
    ------
    CheckpointError
        If the file is damaged, or does not hold exactly these variables in their shapes and
        dtypes; all faults are listed.
    OSError
        If the file cannot be read.
    """
    tensors, metadata = _read(path)
    holders = _union(optimizer._slots.variables, _holders(optimizer, variables))
    held = {entry["name"]: entry["tensors"] for entry in metadata["variables"]}
    names = [variable.name for variable in holders]
    faults = [f"two variables are called {name!r}" for name in names if names.count(name) > 1]
    faults += [f"missing in the file: {name!r}" for name in names if name not in held]
    faults += [f"not among the variables: {name!r}" for name in held if name not in names]
    found = [variable for variable in holders if variable.name in held]
    for variable in found:
        faults += _faults(variable, held[variable.name], optimizer, tensors)
    if faults:
        hint = "" if holders else "; the optimizer has not seen a variable yet: pass variables"
        raise CheckpointError(f"{os.fspath(path)} does not fit: {'; '.join(faults)}{hint}")
    for variable in found:
        for kind in held[variable.name]:
            value = _array_like(variable, tensors[f"{kind}/{variable.name}"])
            if kind == "variable":
                variable.assign(value)
            else:
                optimizer.add_slot(variable, kind, value).assign(value)
    optimizer.iterations.assign(metadata["iterations"])


def inspect_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a file says of itself, after its hashes have been checked.

    Returns
    -------
    dict
        `format`, `library`, `iterations`, `optimizer` (as `adamax.serialize` returns it),
        `variables` (names in order) and `tensors` (name to dtype, shape and sha256).

    Raises
    ------
    CheckpointError
        If the file is damaged or no checkpoint.
    """
    tensors, metadata = _read(path)
    digests = metadata.pop("sha256")
    metadata["variables"] = [entry["name"] for entry in metadata["variables"]]
    metadata["tensors"] = {
        name: {"dtype": part.dtype, "shape": part.stored.shape, "sha256": digests[name]}
        for name, part in tensors.items()
    }
    return metadata


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file, after everything has been checked."""
    data = Path(path).read_bytes()
    try:
        tensors, text = decode(data)
        metadata = _checked_metadata(text)
        listed = [
            (entry["name"], kind) for entry in metadata["variables"] for kind in entry["tensors"]
        ]
        names = [f"{kind}/{name}" for name, kind in listed]
        if not sorted(names) == sorted(tensors) == sorted(metadata["sha256"]):
            raise CheckpointError("the tensors are not those that its metadata lists")
        for name, part in tensors.items():
            if _tensor_digest(part) != metadata["sha256"][name]:
                raise CheckpointError(f"{name!r} is not what was written: its sha256 differs")
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)} is damaged or no checkpoint: {error}") from None
    return tensors, metadata


def _checked_metadata(text: str) -> dict[str, Any]:
    metadata = parsed(text, "metadata")
    version = metadata.get("format")
    if version != FORMAT:
        raise CheckpointError(
            f"expected format {FORMAT}, got {version!r}: was it written by a later adamax?"
        )
    digest = metadata.pop("digest", None)
    # The digest vouches for everything below it: only a writer of checkpoints could have made it.
    if digest != _digest(_canonical(metadata)):
        raise CheckpointError("the metadata is not what was written: its sha256 differs")
    return metadata


def _faults(
    variable: Variable, kinds: list[str], optimizer: Adamax, tensors: Mapping[str, Tensor]
) -> Iterator[str]:
    """Yield what keeps the tensors of one variable from being assigned."""
    slots = optimizer._slots.of(variable)
    for kind in slots.keys() - set(kinds):
        yield f"missing in the file: {f'{kind}/{variable.name}'!r}"
    moment = dtype_name(compute_dtype(variable.dtype, array_namespace(variable.value)))
    for kind in kinds:
        name = f"{kind}/{variable.name}"
        like = variable if kind == "variable" else slots.get(kind)
        if like is not None:
            expected = (like.shape, dtype_name(like.dtype))
        elif kind in MOMENTS:
            expected = (variable.shape, moment)
        else:
            continue
        got = (tuple(tensors[name].stored.shape), tensors[name].dtype)
        if got != expected:
            yield f"{name!r} must be {_words(*expected)}, is {_words(*got)}"


def _words(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype} of shape {shape}"


def _holders(optimizer: Adamax, variables: Any) -> list[Variable]:
    if variables is None:
        return optimizer._slots.variables
    return optimizer._slots.holders([x for _, x in nesting.leaves(variables, "variables")])


def _union(first: list[Variable], second: list[Variable]) -> list[Variable]:
    return list({id(variable): variable for variable in [*first, *second]}.values())


def _array_like(variable: Variable, part: Tensor) -> Any:
    """Return a tensor of the file as an array of the library and on the device of `variable`."""
    array = part.array()
    xp = array_namespace(variable.value)
    return xp.asarray(array.astype(array.dtype.newbyteorder("=")), device=variable.device)


def _canonical(metadata: dict[str, Any]) -> str:
    """Return JSON that is the same whenever the content is."""
    return json.dumps(metadata, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(text: str, data: Any = b"") -> str:
    digest = hashlib.sha256(text.encode())
    digest.update(data)
    return digest.hexdigest()


def _tensor_digest(part: Tensor) -> str:
    """Return the sha256 of dtype, shape and elements together."""
    return _digest(f"{part.dtype}{part.stored.shape}", part.stored.tobytes())
