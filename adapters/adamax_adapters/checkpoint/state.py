"""The state of an optimizer <-> what a checkpoint holds of it: tensors with names of their own."""

import os
from collections.abc import Iterator
from typing import Any

from adamax._arrays import dtype_name
from adamax_adapters.checkpoint.contents import Contents, Description
from adamax_adapters.checkpoint.tensorfile import CheckpointError, Tensor, tensor
from adamax_adapters.step.state import (
    HasState,
    LoadReport,
    OptimizerState,
    StateError,
    VariableState,
    duplicates,
)

__all__ = ["restore", "snapshot"]

VALUE = "variable"
"""The tensor of a variable's value is called so, and that of a slot by the slot's name."""


def snapshot(optimizer: HasState, variables: Any = None) -> Contents:
    """Return copies of everything that a checkpoint holds, all of one step.

    Parameters and errors are those of `adamax_adapters.checkpoint.save_checkpoint`.
    """
    state = optimizer.get_state(variables)
    if any(VALUE in entry.slots for entry in state.variables):
        raise CheckpointError(
            f"Expected slot names other than {VALUE!r}, which names the value of a variable"
        )
    named = [*_named(state)]
    if twice := duplicates(name for name, _, _ in named):
        raise CheckpointError(
            f"Expected unique tensor names, received duplicates: {', '.join(map(repr, twice))}; "
            "checkpoints match tensors by name, so give each variable, slot and weight its own"
        )
    return Contents(
        state.step,
        {"class_name": state.class_name, "config": state.hyperparameters},
        [
            Description(entry.name, entry.dtype, list(entry.shape), [*_arrays(entry)])
            for entry in state.variables
        ],
        [weight.name for weight in state.weights],
        {name: tensor(name, array, dtype) for name, array, dtype in named},
    )


def restore(
    path: str | os.PathLike[str],
    contents: Contents,
    optimizer: HasState,
    variables: Any = None,
    *,
    strict: bool = True,
) -> LoadReport:
    """Assign the contents of the file at `path`: all of them, or nothing.

    Parameters and errors are those of `adamax_adapters.checkpoint.load_checkpoint`.
    """
    try:
        return optimizer.set_state(_state(contents), variables, strict=strict)
    except StateError as error:
        raise CheckpointError(error.told(os.fspath(path), "the file")) from None
    except ValueError as error:
        raise CheckpointError(f"{os.fspath(path)} cannot be loaded: {error}") from None


def _arrays(entry: VariableState) -> dict[str, Any]:
    """Return the arrays of a variable by what its tensors' names begin with."""
    return ({} if entry.value is None else {VALUE: entry.value}) | dict(entry.slots)


def _named(state: OptimizerState) -> Iterator[tuple[str, Any, str]]:
    """Yield every array with the name and the dtype of its tensor."""
    for entry in state.variables:
        for kind, array in _arrays(entry).items():
            dtype = entry.dtype if kind == VALUE else dtype_name(array.dtype)
            yield f"{kind}/{entry.name}", array, dtype
    for weight in state.weights:
        yield f"weight/{weight.name}", weight.value, weight.dtype


def _state(contents: Contents) -> OptimizerState:
    """Return the state that a checkpoint holds; arrays share its memory where NumPy has them."""
    variables = []
    for name, dtype, shape, kinds in contents.variables:
        tensors = {kind: contents.tensors[f"{kind}/{name}"] for kind in kinds}
        value = tensors.pop(VALUE, None)
        slots = {kind: part.array() for kind, part in tensors.items()}
        entry = VariableState(name, dtype, tuple(shape), None, slots)
        variables.append(entry if value is None else _valued(entry, value))
    return OptimizerState(
        contents.iterations,
        variables,
        [
            _valued(VariableState(name, "", ()), contents.tensors[f"weight/{name}"])
            for name in contents.weights
        ],
        contents.optimizer["config"],
        contents.optimizer["class_name"],
    )


def _valued(entry: VariableState, part: Tensor) -> VariableState:
    return entry._replace(dtype=part.dtype, shape=part.shape, value=part.array())
