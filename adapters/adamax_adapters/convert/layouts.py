"""The state of an optimizer in the orders in which the versions of Keras list it.

================  ===========================================================================
``'tf.keras'``    iterations, all m, all v: TensorFlow up to 2.10, `tf_keras.optimizers.legacy`,
                  and `Adamax.get_weights` here
``'tf-keras'``    iterations, then m and v of each variable: the optimizers since 2.11
``'keras'``       iterations, learning rate, then m and v of each variable: Keras 3, where a
                  schedule has no place in the list
================  ===========================================================================
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adamax import validation
from adamax._arrays import array_namespace
from adamax._public import public
from adamax.schedules import LearningRateSchedule
from adamax.variable import Variable
from adamax_adapters.keras_style.optimizer import Adamax
from adamax_adapters.step.assigning import assignment, fitted
from adamax_adapters.step.slots import MOMENTS

__all__ = ["assignment_in_order", "get_keras_weights", "set_keras_weights"]

LAYOUTS = ("tf.keras", "tf-keras", "keras")


@public
def get_keras_weights(optimizer: Adamax, layout: str) -> list[Any]:
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

    def copies() -> list[Any]:
        return [place.numpy() for place in _places(optimizer, _moved(optimizer), layout)]

    weights: list[Any] = optimizer._slots.read(copies)
    if layout == "keras" and not isinstance(optimizer.learning_rate, LearningRateSchedule):
        weights.insert(1, np.asarray(optimizer.learning_rate, np.float32))
    return weights


@public
def set_keras_weights(optimizer: Adamax, weights: Sequence[Any], layout: str) -> float | None:
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

    def prepare() -> Callable[[], float | None]:
        return assignment_in_order(optimizer, _moved(optimizer), weights, layout)

    return optimizer._slots.change(prepare)


def assignment_in_order(
    optimizer: Adamax, variables: Sequence[Variable], weights: Sequence[Any], layout: str
) -> Callable[[], float | None]:
    """Return what does what `set_keras_weights` does, with the variables in an order of their own.

    It returns the learning rate.
    """
    places = _places(optimizer, variables, layout)
    rate, rest = None, list(weights)
    if layout == "keras" and len(rest) == len(places) + 1:
        rate = validation.non_negative(rest.pop(1), "the learning rate among the weights")
    new = fitted(places, rest, optimizer._name)
    norms = {id(optimizer._slots.of(variable)["v"]) for variable in variables}
    for place, value in zip(places, new, strict=True):
        if id(place) in norms and bool(array_namespace(value).any(value < 0)):
            raise ValueError(
                f"the weight provided for {place.name} is negative somewhere, which an infinity "
                f"norm cannot be; are the weights in another layout than {layout!r}?"
            )
    assign = assignment(places, new)

    def write() -> float | None:
        assign()
        return rate

    return write


def _moved(optimizer: Adamax) -> list[Variable]:
    """Return the variables that have both moments."""
    slots = optimizer._slots
    return [variable for variable in slots.variables if slots.of(variable).keys() >= set(MOMENTS)]


def _places(optimizer: Adamax, variables: Sequence[Variable], layout: str) -> list[Variable]:
    """Return what the list in a layout is of, without the learning rate."""
    if layout not in LAYOUTS:
        raise ValueError(f"Expected layout to be one of {', '.join(LAYOUTS)}, received: {layout!r}")
    pairs = [[optimizer._slots.of(variable)[name] for name in MOMENTS] for variable in variables]
    grouped = zip(*pairs, strict=True) if layout == "tf.keras" else pairs
    return [optimizer.iterations, *(slot for group in grouped for slot in group)]
