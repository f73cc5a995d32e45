"""The weights of an optimizer on the host: counted, made, and assigned from lists of arrays."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from numbers import Integral
from typing import Any

import numpy as np

from adamax._arrays import (
    Array,
    array_namespace,
    dtype_name,
    is_array,
    is_immutable,
    is_writeable,
    to_numpy,
)
from adamax.layout import home_of
from adamax.variable import Variable
from adamax_adapters.optimizer.hyperparameters import plain
from adamax_adapters.optimizer.initializers import initial_value

__all__ = [
    "add_weight",
    "assignment",
    "copied_state",
    "counter",
    "fitted",
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
    value = variable._value if isinstance(variable, Variable) else None
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
    if not iterations._value.flags.writeable:
        raise ValueError(
            f"Expected a counter that can be written to, received a read-only array, for "
            f"{iterations.name}; set optimizer.iterations.value.flags.writeable = True"
        )
    t, most = int(iterations._value) + 1, _largest(iterations._value.dtype)
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


def assignment(variables: Sequence[Variable], values: Sequence[Any]) -> Callable[[], None]:
    """Return what assigns `values`, which fit, to `variables`.

    Raises
    ------
    ValueError
        If the array of one cannot be written to.
    """
    for variable in variables:
        if not (is_immutable(variable._value) or is_writeable(variable._value)):
            raise ValueError(
                f"Expected a writable array, received a read-only one, for {variable.name}"
            )

    def assign() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return assign


def fitted(variables: Sequence[Variable], weights: Sequence[Any], name: str) -> list[Array]:
    """Return `weights` as arrays that can be assigned to `variables`.

    Raises
    ------
    TypeError
        If `weights` has no length, or holds something that is no array.
    ValueError
        If there are too many or too few, one has another shape, or does not fit the variable's
        dtype.
    """
    if not isinstance(weights, Sequence | np.ndarray):
        raise TypeError(f"Expected weights to be a list of arrays, received: {weights!r:.50}")
    if len(weights) != len(variables):
        raise ValueError(
            f"You called `set_weights` on optimizer {name} with a weight list of length "
            f"{len(weights)}, but the optimizer was expecting {len(variables)} weights; before "
            f"the first step, build(var_list) makes its slots. Received: {weights!r:.50}"
        )
    return [_fitting(value, variable) for value, variable in zip(weights, variables, strict=True)]


def _fitting(value: Any, variable: Variable) -> Any:
    """Return `value` as an array like that of `variable`, if no number is lost by that."""
    if isinstance(value, Variable):
        value = value._value
    try:
        array = to_numpy(value) if is_array(value) else np.asarray(value)
    except ValueError as error:  # NumPy's, of lists of several lengths
        raise ValueError(f"Expected an array for {variable.name}: {error}") from None
    if array.dtype.kind not in "biuf" and dtype_name(array.dtype) != "bfloat16":
        raise TypeError(
            f"Expected an array of real numbers for {variable.name}, received: {value!r:.50}"
        )
    if array.shape != variable.shape:
        raise ValueError(
            f"Optimizer weight shape {variable.shape} of {variable.name} is not compatible with "
            f"provided weight shape {array.shape}"
        )
    with np.errstate(all="ignore"):  # told below, with the name
        fitting = array.astype(dtype_name(variable.dtype))
    if fitting.dtype.kind == "f":
        kept = np.isfinite(array) == np.isfinite(fitting)
    else:
        kept = np.trunc(array) == fitting
    if not np.all(kept):
        raise ValueError(
            f"the weight provided for {variable.name} does not fit {dtype_name(variable.dtype)}: "
            "its numbers would become others, or infinite"
        )
    return array_namespace(variable._value).asarray(fitting, device=home_of(variable._value))
