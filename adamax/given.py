"""Variables as users give them: in any iterable, or held by a variable of another library."""

from collections.abc import Iterable, Mapping
from typing import Any

from adamax._arrays import is_array, is_immutable, is_writeable
from adamax.sparse import IndexedSlices
from adamax.variable import Variable

__all__ = ["called", "held", "is_variable", "kind", "listed"]


def called(variables: Any) -> Any:
    """Return variables, or what a callable in their place returns, as `listed` does."""
    is_callable = callable(variables) and not hasattr(variables, "parameters")
    return listed(variables() if is_callable else variables)


def listed(variables: Any) -> Any:
    """Return variables with a list in place of every iterable, which is read once.

    Mappings stay mappings. A `keras.Variable` becomes the array that it holds, see `held`.

    Raises
    ------
    TypeError
        If there is a set, which has no order to find slots and tensors of files by, a module of
        PyTorch, or a variable of another library that holds no writable array.
    """
    if isinstance(variables, Variable | str | bytes | IndexedSlices) or is_array(variables):
        return variables
    if isinstance(variables, set | frozenset):
        raise TypeError(
            f"Expected variables in an order, received a {type(variables).__name__}; pass a list"
        )
    if hasattr(variables, "parameters"):
        raise TypeError(f"Expected variables, received a {kind(variables)}; pass its parameters()")
    if isinstance(variables, Mapping):
        return {key: listed(variables[key]) for key in variables}
    if isinstance(variables, Iterable):
        return [listed(one) for one in variables]
    return held(variables)


def held(variable: Any) -> Any:
    """Return the writable array that a `keras.Variable` holds; anything else as it is.

    Raises
    ------
    TypeError
        If the variable is of Keras or TensorFlow, and its value cannot be updated in place.
    """
    if isinstance(variable, Variable) or not is_variable(variable):
        return variable
    value = variable.value() if callable(variable.value) else variable.value
    if is_array(value) and is_writeable(value) and not is_immutable(value):
        return value
    raise TypeError(
        f"Expected an adamax.Variable or a writable array, received a {kind(variable)}, whose "
        f"value, a {kind(value)}, cannot be updated in place: train w = Variable(numpy.array(v)) "
        "instead and call v.assign(w.numpy()), or use the optimizers of Keras"
    )


def is_variable(x: Any) -> bool:
    """Return whether `x` is a Variable, or a variable of Keras or TensorFlow."""
    return isinstance(x, Variable) or (
        not is_array(x) and hasattr(x, "assign") and hasattr(x, "value")
    )


def kind(x: Any) -> str:
    """Return the name of the type of `x`, with its library, for error messages."""
    library = type(x).__module__.partition(".")[0]
    name = type(x).__qualname__
    return name if library == "builtins" else f"{library}.{name}"
