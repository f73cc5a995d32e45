"""What a checkpoint holds, and how that stands in its file: tensors, metadata and their hashes."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from adamax._version import __version__
from adamax_adapters.checkpoint.canonical import canonical, has_form, plain, read_canonical
from adamax_adapters.checkpoint.digests import Digests, sha256
from adamax_adapters.checkpoint.durable import open_regular, write_whole
from adamax_adapters.checkpoint.tensorfile import (
    CheckpointError,
    Tensor,
    body,
    elements,
    head,
    header,
)

__all__ = ["Contents", "Description", "damaged", "examine", "read", "write"]

FORMAT = 1
"""Version of the metadata; a reader refuses those it does not know."""

FORM = {
    "digest": str,
    "format": int,
    "iterations": int,
    "library": str,
    "optimizer": {"class_name": str, "config": dict},
    "sha256": dict,
    "variables": [{"name": str, "dtype": str, "shape": [int], "tensors": [str]}],
    "weights": [str],
}
"""How the metadata is built."""


class Description(NamedTuple):
    """One variable; `tensors` says what the file holds of it: 'variable' and names of slots."""

    name: str
    dtype: str
    shape: list[int]
    tensors: list[str]


class Contents(NamedTuple):
    """Everything that is in a checkpoint."""

    iterations: int
    optimizer: Mapping[str, Any]  # as `serialize` returns it
    variables: list[Description]
    weights: list[str]  # names of what `add_weight` made
    tensors: Mapping[str, Tensor]  # variable/<name>, <slot>/<name> and weight/<name>
    sha256: Mapping[str, str] = {}  # of the tensors, as the file lists them
    format: int = FORMAT
    library: str = f"adamax {__version__}"

    def names(self) -> list[str]:
        """Return the names that the tensors must have, in the order of their variables."""
        named = [f"{kind}/{entry.name}" for entry in self.variables for kind in entry.tensors]
        return named + [f"weight/{name}" for name in self.weights]

    def summary(self) -> dict[str, Any]:
        """Return what can be said of it without numbers; JSON can hold it."""
        return {
            "format": self.format,
            "library": self.library,
            "iterations": self.iterations,
            "optimizer": self.optimizer,
            "variables": [entry.name for entry in self.variables],
            "weights": self.weights,
            "tensors": {
                name: {
                    "dtype": self.tensors[name].dtype,
                    "shape": self.tensors[name].shape,
                    "sha256": self.sha256[name],
                }
                for name in self.names()
            },
        }


def write(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    CheckpointError
        If the configuration of the optimizer is more than JSON can hold, iterations are negative,
        or a name is not text.
    OSError
        If the file cannot be written; an old one is left as it was.
    """
    tensors = contents.tensors
    blank = _written(contents._replace(sha256=dict.fromkeys(tensors, sha256(""))))
    _metadata(blank)  # what could not be read is not written
    length = len(head(tensors, blank))  # hashes are all of one length
    with Digests(tensors) as digests:
        # The threads hash while the elements are written.
        write_whole(
            path,
            body(tensors),
            length=length,
            beginning=lambda: head(tensors, _written(contents._replace(sha256=digests.result()))),
        )


def read(path: str | os.PathLike[str]) -> Contents:
    """Return what a file holds, after everything in it has been checked.

    Raises
    ------
    CheckpointError
        If the file is corrupt or is not a checkpoint.
    OSError
        If it cannot be read.
    """
    contents = examine(path)
    names = damaged(contents)
    if names:
        raise CheckpointError(
            "Expected the recorded SHA-256 sums, found different ones, for "
            f"{', '.join(map(repr, names))} in {os.fspath(path)}: the file is corrupt; restore "
            "another checkpoint"
        )
    return contents


def examine(path: str | os.PathLike[str]) -> Contents:
    """Return what a file holds, after everything but the elements of its tensors has been checked.

    Raises
    ------
    CheckpointError, OSError
        As `read` does.
    """
    try:
        with open_regular(path) as file:
            described, text = header(file)
            metadata = _metadata(text)
            variables = [Description(**entry) for entry in metadata.pop("variables")]
            contents = Contents(tensors={}, variables=variables, **metadata)
            if not sorted(contents.names()) == sorted(described) == sorted(contents.sha256):
                raise CheckpointError("the tensors are not those that its metadata lists")
            return contents._replace(tensors=elements(file, described))
    except CheckpointError as error:
        raise CheckpointError(
            f"Expected an intact checkpoint, found a corrupt or other file, for {os.fspath(path)}: "
            f"{error}"
        ) from None


def damaged(contents: Contents) -> list[str]:
    """Return the names of the tensors that are not what was written."""
    with Digests(contents.tensors) as digests:
        found = digests.result()
    return [name for name in contents.names() if contents.sha256[name] != found[name]]


def _written(contents: Contents) -> str:
    """Return the metadata as it stands in the file."""
    metadata = contents._asdict()
    metadata["variables"] = [entry._asdict() for entry in contents.variables]
    del metadata["tensors"]
    try:
        metadata["optimizer"] = plain(contents.optimizer)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"Expected a configuration that JSON can hold, for the optimizer: {error}"
        ) from None
    return _sealed(canonical(metadata))


def _sealed(text: str) -> str:
    """Return an object of JSON with its own SHA-256 as a further key, which is the first."""
    return f'{{"digest":"{sha256(text)}",{text[1:]}'


def _metadata(text: str) -> dict[str, Any]:
    """Return the metadata, if it is what `write` wrote and of a version that is known here."""
    try:
        read = read_canonical(text)
    except ValueError as error:
        raise CheckpointError(f"its metadata is not JSON as adamax writes it: {error}") from None
    metadata: dict[str, Any] = read if isinstance(read, dict) else {}
    version = metadata.get("format")
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(
            f"expected format {FORMAT}, found {version!r}: was it written by a later adamax?"
        )
    if not has_form(metadata, FORM):
        raise CheckpointError("its metadata has missing keys, or values of the wrong type")
    if not 0 <= metadata["iterations"] < 2**63:
        raise CheckpointError(f"expected iterations in [0, 2**63), found {metadata['iterations']}")
    del metadata["digest"]
    if text != _sealed("{" + text[len(_sealed("{")) :]):
        raise CheckpointError("its metadata is not what was written, as the sha256 differs")
    return metadata
