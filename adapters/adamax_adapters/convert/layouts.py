"""The state of an optimizer in the orders in which the versions of Keras list it.

================  ===========================================================================
``'tf.keras'``    iterations, all m, all v: TensorFlow up to 2.10, `tf_keras.optimizers.legacy`,
                  and `Adamax.get_weights` here
``'tf-keras'``    iterations, then m and v of each variable: the optimizers since 2.11
``'keras'``       iterations, learning rate, then m and v of each variable: Keras 3, where a
                  schedule has no place in the list
================  ===========================================================================
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args

import numpy as np

from adamax import validation
from adamax._arrays import COMPUTE_DTYPES
from adamax._public import public
from adamax.typing import Variables
from adamax.variable import Variable
from adamax_adapters.step.assigning import fitted, negative_norm, refuse_read_only
from adamax_adapters.step.slots import MOMENTS
from adamax_adapters.step.state import HasState, OptimizerState, VariableState

__all__ = ["KerasStyle", "Layout", "get_keras_weights", "set_in_order", "set_keras_weights"]

T = TypeVar("T")

Layout: TypeAlias = Literal["tf.keras", "tf-keras", "keras"]

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class KerasStyle(HasState, Protocol):
    """An optimizer with the interface of tf.keras, such as `Adamax`."""

    @property
    def name(self) -> str:
        """Prefix of slot names."""

    @property
    def iterations(self) -> Variable:
        """Number of steps taken."""

    @property
    def weights(self) -> list[Variable]:
        """`iterations` and all slots."""

    def describe(self, variables: Any = None) -> list[VariableState]:
        """Return what is known of variables, without numbers."""


@public
def get_keras_weights(optimizer: KerasStyle, layout: Layout) -> list[Any]:
    """Return NumPy copies of iterations and moments as a version of Keras lists them.

    Parameters
    ----------
    optimizer : Adamax
        Its variables come in the order in which it first saw them; slots other than m and v have
        no place in the list.
    layout : 'tf.keras', 'tf-keras' or 'keras'
        See `adamax_adapters.convert.layouts`.

    Returns
    -------
    list of arrays
        What `set_weights` of that optimizer takes.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Adamax, Variable
    >>> w, opt = Variable(np.ones(2), name="w"), Adamax(learning_rate=0.5)
    >>> _ = opt.apply_gradients([(np.ones(2), w)])
    >>> get_keras_weights(opt, "keras")
    [array(1), array(0.5, dtype=float32), array([0.1, 0.1]), array([1., 1.])]
    """
    state = optimizer.get_state([])
    moments = [[entry.slots[name] for name in MOMENTS] for entry in _moved(state.variables)]
    weights = [np.asarray(state.step), *_in_layout(moments, layout)]
    rate = state.hyperparameters["learning_rate"]
    if layout == "keras" and isinstance(rate, float):  # not a schedule
        weights.insert(1, np.asarray(rate, np.float32))
    return weights


@public
def set_keras_weights(
    optimizer: KerasStyle, weights: Sequence[Any], layout: Layout
) -> float | None:
    """Assign iterations and moments, as a version of Keras lists them: all of them, or nothing.

    Parameters
    ----------
    optimizer : Adamax
        `build` makes its slots, of variables in the order of the Keras model's.
    weights : sequence of arrays
        What `get_weights` of that optimizer returns, or the values of its `variables`.
    layout : 'tf.keras', 'tf-keras' or 'keras'
        See `adamax_adapters.convert.layouts`.

    Returns
    -------
    float or None
        The learning rate in the list, if there is one. It is not assigned, as no hyperparameter is.

    Raises
    ------
    TypeError, ValueError
        If the number of arrays or a shape is wrong, a value does not fit its variable's dtype, or
        an infinity norm is negative, which suggests the wrong `layout`.
    """
    return set_in_order(optimizer, optimizer.describe(), weights, layout)


def set_in_order(
    optimizer: KerasStyle,
    entries: Sequence[VariableState],
    weights: Sequence[Any],
    layout: Layout,
    variables: Variables | None = None,
) -> float | None:
    """Assign the weights of `variables`, as `set_keras_weights` does; return the learning rate.

    The weights are in the order of `entries`, which describe the variables; of those that have no
    moments there are no weights.
    """
    parts = _in_layout([[(entry, slot) for slot in MOMENTS] for entry in _moved(entries)], layout)
    expected = [
        entry._replace(
            name=f"{optimizer.name}/{entry.name}/{slot}",
            dtype=COMPUTE_DTYPES.get(entry.dtype, entry.dtype),
        )
        for entry, slot in parts
    ]
    rate, rest = None, list(weights)
    if layout == "keras" and len(rest) == len(parts) + 2:
        rate = validation.non_negative(rest.pop(1), "the learning rate among the weights")
    step, *arrays = fitted([optimizer.iterations, *expected], rest, optimizer.name)
    slots: dict[int, dict[str, Any]] = {id(entry): {} for entry in entries}
    for (entry, slot), weight, array in zip(parts, expected, arrays, strict=True):
        if slot == MOMENTS[1] and (wrong := negative_norm(array)):
            raise ValueError(
                f"the weight provided for {weight.name} {wrong}; are the weights in another layout "
                f"than {layout!r}?"
            )
        slots[id(entry)][slot] = array
    filled = [entry._replace(slots=slots[id(entry)]) for entry in entries]
    names = {weight.name for weight in expected}
    refuse_read_only(weight for weight in optimizer.weights if weight.name in names)
    state = OptimizerState(int(step), filled, [], {}, "Adamax")
    # All of it fits by now; values and other slots stay.
    optimizer.set_state(state, variables, strict=False)
    return rate


def _moved(entries: Iterable[VariableState]) -> list[VariableState]:
    """Return the variables that have both moments."""
    return [entry for entry in entries if entry.slots.keys() >= set(MOMENTS)]


def _in_layout(moments: Sequence[Sequence[T]], layout: Layout) -> list[T]:
    """Return the moments of variables, grouped by variable, as they follow in a layout."""
    if layout not in LAYOUTS:
        raise ValueError(f"Expected layout to be one of {', '.join(LAYOUTS)}, received: {layout!r}")
    grouped = zip(*moments, strict=True) if layout == "tf.keras" else moments
    return [x for group in grouped for x in group]
