"""Initial values of slots and weights: a name, a callable, or the value itself."""

from typing import Any

from adamax._arrays import Array, Namespace, array_namespace, is_array, to_numpy
from adamax.variable import Variable

__all__ = ["initial_value"]


def initial_value(
    initializer: Any, shape: tuple[int, ...], dtype: Any, xp: Namespace, device: Any
) -> Array:
    """Return an array with its initial value, which may be the one that was given.

    Parameters
    ----------
    initializer : 'zeros', 'ones', callable (shape, dtype=dtype) -> array, array, number or list
        A value is converted to `dtype`; its shape is its own.
    shape : tuple of int
    dtype : dtype of `xp`
    xp : namespace
    device : device of `xp`

    Raises
    ------
    ValueError
        If the initializer is a name that is not known, or no value comes of it.
    """
    if isinstance(initializer, str):
        if initializer.lower() not in ("zeros", "ones"):
            raise ValueError(
                f"Unknown initializer {initializer!r}: expected 'zeros', 'ones', a callable "
                "(shape, dtype=dtype) or a value"
            )
        return getattr(xp, initializer.lower())(shape, dtype=dtype, device=device)
    value = initializer(shape, dtype=dtype) if callable(initializer) else initializer
    if isinstance(value, Variable):
        value = value.value
    if is_array(value) and array_namespace(value) is not xp:
        value = to_numpy(value)
    try:
        if value is None:  # which NumPy takes for NaN
            raise TypeError("None is no number")
        return xp.asarray(value, dtype=dtype, device=device)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected an initializer, 'zeros', 'ones', a callable (shape, dtype=dtype) or a value, "
            f"received: {initializer!r:.50}: {error}"
        ) from error
