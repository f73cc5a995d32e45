"""Initial values of slots and weights: a name, a callable, or the value itself."""

from typing import Any

from adamax._arrays import Array, array_namespace, is_array, to_numpy
from adamax.layout import home_of, laid_out_as
from adamax.variable import Variable

__all__ = ["initial_value"]


def initial_value(initializer: Any, dtype: Any, like: Array) -> Array:
    """Return an array with its initial value, which may be the one that was given.

    Parameters
    ----------
    initializer : 'zeros', 'ones', callable (shape, dtype=dtype) -> array, array, number or list
        A value is converted to `dtype`; its shape is its own.
    dtype : dtype of the library
    like : Array
        Of the library, device and shape that are wanted.

    Raises
    ------
    ValueError
        If the initializer is a name that is not known, or no value comes of it.
    """
    xp = array_namespace(like)
    if isinstance(initializer, str):
        if initializer.lower() not in ("zeros", "ones"):
            raise ValueError(
                f"Unknown initializer {initializer!r}: expected 'zeros', 'ones', a callable "
                "(shape, dtype=dtype) or a value"
            )
        return getattr(xp, f"{initializer.lower()}_like")(like, dtype=dtype)
    value = initializer(tuple(like.shape), dtype=dtype) if callable(initializer) else initializer
    if isinstance(value, Variable):
        value = value.value
    if is_array(value) and array_namespace(value) is not xp:
        value = to_numpy(value)
    try:
        if value is None:  # which NumPy takes for NaN
            raise TypeError("None is no number")
        return laid_out_as(xp.asarray(value, dtype=dtype, device=home_of(like)), like)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected an initializer, 'zeros', 'ones', a callable (shape, dtype=dtype) or a value, "
            f"received: {initializer!r:.50}: {error}"
        ) from error
