"""The weights of an optimizer on the host: counted, made, and assigned from lists of arrays."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from numbers import Integral
from typing import Any

import numpy as np

from adamax._arrays import dtype_name
from adamax.variable import Variable
from adamax_adapters.keras_style.hyperparameters import plain
from adamax_adapters.step.assigning import assignment, fitted
from adamax_adapters.step.initializers import initial_value

__all__ = [
    "add_weight",
    "copied_state",
    "counter",
    "get_weights",
    "new_counter",
    "set_weights",
    "step_after",
]


def new_counter(name: str) -> Variable:
    """Return a variable in which steps can be counted, at 0."""
    return Variable(np.asarray(0, np.int64), name=name, trainable=False)


def counter(variable: Any, instead_of: Variable | None) -> Variable:
    """Return `variable` if steps can be counted in it: a 0-d integer variable of NumPy.

    RuntimeError if there is a counter already, which may have been handed out.
    """
    if instead_of is not None:
        raise RuntimeError(
            "Cannot set `iterations` to a new variable after the optimizer's own has been used; "
            "set its value with `iterations.assign(n)`"
        )
    value = variable.held if isinstance(variable, Variable) else None
    if not isinstance(value, np.ndarray) or value.ndim or value.dtype.kind != "i":
        raise TypeError(
            "Expected iterations to be a Variable of a 0-d NumPy integer array, as steps are "
            f"counted on the host; received: {variable!r}"
        )
    return variable  # type: ignore[no-any-return]


def step_after(iterations: Variable) -> int:
    """Return the number of the next step, counted from 1.

    ValueError if the counter is below 0, could not hold the number, or cannot be written to.
    """
    if not iterations.held.flags.writeable:
        raise ValueError(
            f"Expected a counter that can be written to, received a read-only array, for "
            f"{iterations.name}; set optimizer.iterations.value.flags.writeable = True"
        )
    t, most = int(iterations.held) + 1, _largest(iterations.held.dtype)
    if not 1 <= t <= most:
        raise ValueError(
            f"Expected {iterations.name} in [0, {most}), as its dtype is "
            f"{dtype_name(iterations.dtype)}, received: {t - 1}"
        )
    return t


@cache
def _largest(dtype: Any) -> int:
    return int(np.iinfo(dtype).max)


def add_weight(
    optimizer: Any,
    name: str,
    shape: int | Sequence[int],
    dtype: Any = None,
    initializer: Any = "zeros",
    trainable: bool | None = None,
    synchronization: str = "auto",
    aggregation: str = "none",
) -> Variable:
    """Return a new NumPy variable that checkpoints save and `weights` does not list.

    `dtype` defaults to float32. `initializer` is as in `add_slot`. `trainable` defaults to True,
    or to False if `synchronization` is ``'on_read'``, its only effect. `aggregation` has no
    effect.
    """
    on_read = str(synchronization).lower().endswith("on_read")
    if on_read and trainable:
        raise ValueError(
            "Expected trainable to be False where synchronization is ON_READ: such a variable is "
            "only summed up when it is read"
        )
    lengths = shape if isinstance(shape, Sequence) else [shape]
    if not all(isinstance(length, Integral) and length >= 0 for length in lengths):
        raise ValueError(
            f"Expected the shape of {name} to be an int >= 0 or a sequence of such, "
            f"received: {shape!r}"
        )
    shape = tuple(map(int, lengths))
    value = initial_value(initializer, np.dtype(dtype or "float32"), np.empty(shape))
    if value.shape != shape:
        raise ValueError(
            f"the initial value of {name} has the shape {value.shape}, which is not compatible "
            f"with {shape}"
        )
    trainable = not on_read if trainable is None else trainable
    weight = Variable(value, name=name, trainable=trainable)
    optimizer._added.append(weight)
    return weight


def get_weights(optimizer: Any) -> list[Any]:
    """Return NumPy copies of `weights`."""
    copies: list[Any] = optimizer._slots.read(lambda: [x.numpy() for x in optimizer.weights])
    return copies


def set_weights(optimizer: Any, weights: Sequence[Any]) -> None:
    """Assign arrays as from `get_weights` to all `weights`, or to none.

    Call `build` before, if no step was taken. ValueError if their number or a shape is wrong.
    """
    values = fitted(optimizer.weights, weights, optimizer.name)
    optimizer._slots.change(lambda: assignment(optimizer.weights, values))


def copied_state(optimizer: Any) -> dict[str, Any]:
    """Return the attributes of an optimizer for a copy: iterations and moments are of one step."""

    def state() -> dict[str, Any]:
        plain_state = {name: plain(value) for name, value in vars(optimizer).items()}
        iterations = deepcopy(optimizer._iterations)
        return plain_state | {"_slots": optimizer._slots.snapshot(), "_iterations": iterations}

    copied: dict[str, Any] = optimizer._slots.read(state)
    return copied
