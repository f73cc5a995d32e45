"""Optimizer and variables <-> what a checkpoint holds of them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from adamax._arrays import array_namespace, dtype_name, is_immutable, is_writeable, to_numpy
from adamax.layout import home_of
from adamax.variable import Variable
from adamax_adapters.checkpoint.contents import Contents, Description
from adamax_adapters.checkpoint.tensorfile import CheckpointError, Tensor, tensor
from adamax_adapters.keras_style.config import serialize
from adamax_adapters.keras_style.optimizer import Adamax
from adamax_adapters.step.assigning import assignment
from adamax_adapters.step.slots import MOMENTS

__all__ = ["LoadReport", "restore", "snapshot"]


class LoadReport(NamedTuple):
    """What a file and an optimizer with its variables do not have in common, by name of tensor."""

    missing: list[str]  # not in the file
    unexpected: list[str]  # only in the file
    misfits: dict[str, str]  # in both, with what keeps them from being assigned


def snapshot(optimizer: Adamax, variables: Any = None) -> Contents:
    """Return copies of everything that a checkpoint holds, all of one step.

    Parameters and errors are those of `adamax_adapters.checkpoint.save_checkpoint`.
    """

    def copies() -> Contents:
        valued = optimizer._slots.chosen(variables)
        return Contents(
            int(optimizer.iterations),
            serialize(optimizer),
            [
                Description(owner.name, dtype_name(owner.dtype), list(owner.shape), list(parts))
                for owner, parts in _parts(optimizer, valued)
            ],
            [weight.name for weight in optimizer._added],
            {
                name: tensor(name, to_numpy(place.held), dtype_name(place.dtype))
                for name, place in _places(optimizer, valued).items()
            },
        )

    return optimizer._slots.read(copies)


def restore(
    path: str | os.PathLike[str],
    contents: Contents,
    optimizer: Adamax,
    variables: Any = None,
    *,
    strict: bool = True,
) -> LoadReport:
    """Assign the contents of the file at `path`: all of them, or nothing.

    Parameters and errors are those of `adamax_adapters.checkpoint.load_checkpoint`.
    """
    slots, tensors = optimizer._slots, contents.tensors

    def prepare() -> Callable[[], LoadReport]:
        valued = optimizer._slots.chosen(variables)
        _make_slots(contents, optimizer, valued)
        places = _places(optimizer, valued)
        shared = [name for name in places if name in tensors]
        report = LoadReport(
            [name for name in places if name not in tensors],
            [name for name in contents.names() if name not in places],
            dict(_misfits(contents, optimizer, {name: places[name] for name in shared})),
        )
        if strict and any(report):
            hint = "" if valued else "; the optimizer has not seen a variable yet: pass variables"
            raise CheckpointError(f"{os.fspath(path)} does not fit: {_told(report)}{hint}")
        fitting = [name for name in shared if name not in report.misfits]
        assigned = [places[name] for name in fitting]
        values: list[Any] = [_array_like(places[name], tensors[name]) for name in fitting]
        if "iterations" not in report.misfits:
            assigned.append(optimizer.iterations)
            values.append(contents.iterations)
        assign = assignment(assigned, values)

        def write() -> LoadReport:
            assign()
            return report

        return write

    return slots.change(prepare)


def _parts(
    optimizer: Adamax, valued: list[Variable]
) -> Iterator[tuple[Variable, dict[str, Variable]]]:
    """Yield every variable with what is in the file of it: its value, its slots."""
    with_value = set(map(id, valued))
    known = {id(variable): variable for variable in [*optimizer._slots.variables, *valued]}
    for key, variable in known.items():
        value = {"variable": variable} if key in with_value else {}
        yield variable, value | optimizer._slots.of(variable)


def _places(optimizer: Adamax, valued: list[Variable]) -> dict[str, Variable]:
    """Return what is saved and assigned to, by the names of its tensors.

    Raises
    ------
    CheckpointError
        If two tensors would have one name.
    """
    if "variable" in optimizer._slots.names:
        raise CheckpointError(
            "Expected slot names other than 'variable', which names the value of a variable"
        )
    named = [
        (f"{kind}/{variable.name}", part)
        for variable, parts in _parts(optimizer, valued)
        for kind, part in parts.items()
    ]
    named += [(f"weight/{weight.name}", weight) for weight in optimizer._added]
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise CheckpointError(
            f"Expected unique tensor names, received duplicates: {', '.join(map(repr, twice))}; "
            "checkpoints match tensors by name, so give each variable, slot and weight its own"
        )
    return dict(named)


def _make_slots(contents: Contents, optimizer: Adamax, valued: list[Variable]) -> None:
    """Make the slots that the file has, and the optimizer does not have yet."""
    owners = {variable.name: variable for variable, _ in _parts(optimizer, valued)}
    entries = [entry for entry in contents.variables if entry.name in owners]
    if all(set(MOMENTS) <= set(entry.tensors) for entry in entries):
        optimizer._slots.build([owners[entry.name] for entry in entries])  # side by side
    for entry in entries:
        for kind in entry.tensors:
            if kind != "variable":
                part = contents.tensors[f"{kind}/{entry.name}"]
                initial = "zeros" if kind in MOMENTS else part.array()
                optimizer._slots.add(owners[entry.name], kind, initial)


def _misfits(
    contents: Contents, optimizer: Adamax, places: dict[str, Variable]
) -> Iterator[tuple[str, str]]:
    """Yield what keeps tensors from being assigned, each with its name."""
    slots = optimizer._slots
    norms = {id(slots.of(variable).get("v")) for variable in slots.variables}
    for name, place in places.items():
        got = contents.tensors[name]
        if (got.shape, got.dtype) != (place.shape, dtype_name(place.dtype)):
            expected = f"{dtype_name(place.dtype)} of shape {place.shape}"
            yield name, f"must be {expected}, is {got.dtype} of shape {got.shape}"
        elif not is_immutable(place.held) and not is_writeable(place.held):
            yield name, "cannot be assigned to: its array is read-only"
        elif id(place) in norms and np.any(got.array() < 0):
            yield name, "is negative somewhere, which an infinity norm cannot be"
    most = np.iinfo(optimizer.iterations.dtype).max
    if contents.iterations > most:
        yield "iterations", f"must be at most {most}, is {contents.iterations}"


def _told(report: LoadReport) -> str:
    parts = [f"{name!r} {misfit}" for name, misfit in report.misfits.items()]
    for what, names in (("missing in", report.missing), ("only in", report.unexpected)):
        parts += [f"{what} the file: {', '.join(map(repr, names))}"] if names else []
    return "; ".join(parts)


def _array_like(place: Variable, part: Tensor) -> Any:
    """Return a tensor of the file as an array of the library and on the device of `place`."""
    array = part.array()
    xp = array_namespace(place.held)
    return xp.asarray(array.astype(array.dtype.newbyteorder("=")), device=home_of(place.held))
