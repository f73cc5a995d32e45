"""How a loss gives its value and gradients: for now, by returning both."""

from collections.abc import Callable
from typing import Any

from adamax import nesting
from adamax.sparse import IndexedSlices

__all__ = ["value_and_gradients"]


def value_and_gradients(
    loss: Callable[[], Any], var_list: Any, grad_loss: Any = None
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Call a loss once and pair its gradients with the variables.

    Parameters
    ----------
    loss : callable () -> (value, gradients)
        `gradients` are nested as the variables are: an array, `IndexedSlices`, a number or None
        for each.
    var_list : a variable, nested sequences and mappings of them, or a callable that returns such
        A callable is called after the loss; mappings are read in the order of their sorted keys.
    grad_loss : number, optional
        Factor of all gradients: the derivative of what is minimised with respect to the loss.

    Returns
    -------
    value : what the loss returned
    pairs : list of (gradient, variable)

    Raises
    ------
    TypeError
        If `loss` is not callable or does not return a pair.
    ValueError
        If there are no variables (None), or the gradients are not nested as the variables are.
    """
    if not callable(loss):
        raise TypeError(
            "loss must be a callable without arguments that returns (value, gradients), "
            f"got {type(loss).__name__}"
        )
    returned = loss()
    if not isinstance(returned, tuple) or isinstance(returned, IndexedSlices) or len(returned) != 2:
        raise TypeError(
            "loss must return (value, gradients), as a plain loss is not differentiated yet; "
            f"got {type(returned).__name__}"
        )
    value, gradients = returned
    tree = var_list() if callable(var_list) else var_list
    if tree is None:
        raise ValueError("var_list must be variables, or a callable that returns them; got None")
    variables = [variable for _, variable in nesting.leaves(tree, "var_list")]
    flat = list(nesting.along(tree, gradients, "gradients"))
    if grad_loss is not None:
        flat = [_scaled(grad, _factor(grad_loss)) for grad in flat]
    return value, list(zip(flat, variables, strict=True))


def _factor(grad_loss: Any) -> float:
    if getattr(grad_loss, "ndim", 0) or not hasattr(grad_loss, "__float__"):
        raise ValueError(
            f"grad_loss must be a number, as the loss is; got {type(grad_loss).__name__} "
            f"of shape {getattr(grad_loss, 'shape', None)}"
        )
    return float(grad_loss)


def _scaled(grad: Any, factor: float) -> Any:
    if isinstance(grad, IndexedSlices):
        return grad._replace(values=_scaled(grad.values, factor))
    if isinstance(grad, list):
        return [_scaled(part, factor) for part in grad]
    return None if grad is None else grad * factor
