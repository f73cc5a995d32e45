"""The value and gradients of a loss: it returns both, or an engine differentiates it."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeAlias, get_args

from adamax import nesting
from adamax._arrays import is_jax_array, is_torch_array
from adamax._public import public
from adamax.given import called
from adamax.sparse import IndexedSlices
from adamax.typing import ArrayLike, Variables
from adamax.variable import Variable
from adamax_adapters.installation import install

__all__ = [
    "ENGINES",
    "Engine",
    "EngineName",
    "Loss",
    "VarList",
    "gradient_pairs",
    "value_and_gradients",
]

EngineName: TypeAlias = Literal["autograd", "jax", "tape", "torch"]
"""The engines that can be named; `jax`, `torch` and `autograd` need these libraries."""

ENGINES: tuple[EngineName, ...] = get_args(EngineName)

Engine: TypeAlias = EngineName | Callable[[Callable[[], Any], list[Any]], tuple[Any, Sequence[Any]]]
"""Name of an engine, or a callable (loss, variables) -> (value, gradients)."""

Loss: TypeAlias = Callable[[], Any] | list[Callable[[], Any]]
"""A loss, or several to be summed."""

VarList: TypeAlias = Variables | Callable[[], Variables]
"""Variables, or what returns them after the loss has made them."""


@public
def value_and_gradients(
    loss: Loss,
    variables: VarList,
    *,
    grad_loss: ArrayLike | None = None,
    engine: Engine | None = None,
) -> tuple[Any, list[Any]]:
    """Call a loss once and return its value and its gradients.

    Parameters
    ----------
    loss : callable () -> array, or () -> (value, gradients)
        Reads variables as `v.value`, or as `v` in expressions, and returns a scalar; the elements
        of another array are summed. If it returns a pair, `gradients` have the structure of
        `variables` and are returned as a flat list. A list of losses is replaced by their sum.
    variables : a variable, nested sequences and mappings of them, or a callable that returns such
        Mappings are read in the order of their sorted keys. A callable is called after the loss,
        by the engines jax and autograd before it.
    grad_loss : number or array of the shape of the loss, optional
        Factor of the elements of the loss, before they are summed.
    engine : 'tape', 'jax', 'torch', 'autograd' or callable, optional
        Differentiates the loss. Default: the engine of JAX or torch if all variables are arrays
        of that library, else the tape, which supports every array library.

    Returns
    -------
    value : array of the variables' library, without a graph; times `grad_loss` if there is one
    gradients : flat list
        An array, `IndexedSlices`, or None if the loss does not depend on the variable. Do not
        write to them, as they may share memory.

    Raises
    ------
    TypeError
        If `loss` is not callable or does not return an array.
    ValueError
        If `variables` is None, or gradients are not nested as the variables are.
    NotImplementedError
        If the loss cannot be differentiated: it uses a function without a derivative rule, takes
        numbers out of a variable, or reads a variable in another thread.
    RuntimeError
        If it is called inside a loss, or the loss assigns to a variable.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Variable, value_and_gradients
    >>> w = Variable(np.array([1.0, 2.0]))
    >>> value, (gradient,) = value_and_gradients(lambda: np.sum(w**2), [w])
    >>> print(value, gradient)
    5.0 [2. 4.]
    """
    value, pairs = gradient_pairs(loss, variables, grad_loss=grad_loss, engine=engine)
    return value, [gradient for gradient, _ in pairs]


def gradient_pairs(
    loss: Loss, variables: Any, *, grad_loss: Any = None, engine: Engine | None = None
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return the value of a loss and its (gradient, variable) pairs; see `value_and_gradients`."""
    if isinstance(loss, list):
        losses, loss = loss, lambda: sum(one() for one in losses)
    if not callable(loss):
        raise TypeError(
            f"Expected a function without arguments, received {type(loss).__name__}, for loss: a "
            "value has no derivative; pass the function that computes it, such as lambda: loss"
        )
    if variables is None:
        raise ValueError(
            "Expected variables, or a callable that returns them, received None, for var_list; "
            "pass the variables to differentiate with respect to"
        )

    @cache
    def tree() -> Any:
        return called(variables)

    @cache
    def flat() -> list[Any]:
        if type(tree()) is list and all(isinstance(x, Variable) for x in tree()):
            return list(tree())  # which most losses have, and which is not worth a search
        return [variable for _, variable in nesting.flatten(tree(), "var_list")]

    chosen = engine or _own_engine([] if callable(variables) else flat())
    value, gradients = _runner(chosen)(lambda: _weighted(loss(), grad_loss), flat)
    if isinstance(value, tuple):
        value, nested = value
        found = [x for _, x in nesting.Structure(tree()).flatten(nested, "gradients")]
        value, *gradients = (_scaled(x, grad_loss) for x in (value, *found))
    elif not (callable(chosen) or all(_leaves_a_trace(x, chosen) for x in flat())):
        raise TypeError(
            "Expected Variables, received plain arrays, for var_list: the engine cannot trace "
            "plain arrays; wrap them in Variable, or return (value, gradients) from the loss"
        )
    return value, list(zip(gradients, flat(), strict=True))


def _own_engine(variables: list[Any]) -> EngineName:
    """Return the engine of the library that all variables are of, or the tape."""
    values = [x.held if isinstance(x, Variable) else x for x in variables]
    if not values:
        return "tape"
    if all(map(is_jax_array, values)):
        return "jax"
    return "torch" if all(map(is_torch_array, values)) else "tape"


def _leaves_a_trace(x: Any, engine: str) -> bool:
    """Return whether an engine sees where a loss uses `x`."""
    return isinstance(x, Variable) or (engine == "torch" and is_torch_array(x))


def _runner(engine: Engine) -> Callable[..., tuple[Any, Any]]:
    """Return the function (loss, () -> variables) -> (value, gradients) of an engine."""
    if callable(engine):
        named = engine
        return lambda loss, flat: named(loss, flat())
    if engine not in ENGINES:
        raise ValueError(
            f"Expected one of {', '.join(ENGINES)}, or a callable (loss, variables) -> (value, "
            f"gradients), received {engine!r}, for engine"
        )
    try:
        module = import_module(f"adamax_adapters.gradients.{engine}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected {error.name} to be installed, for engine={engine!r}; {install(engine)}"
        ) from error
    run: Callable[..., tuple[Any, Any]] = module.value_and_gradients
    return run


def _weighted(returned: Any, grad_loss: Any) -> Any:
    """Return the result of a loss, checked; a value times the weight of the loss."""
    if isinstance(returned, tuple):
        if len(returned) != 2 or isinstance(returned, IndexedSlices):
            raise TypeError(
                f"Expected a scalar or (value, gradients), received a tuple of {len(returned)}, "
                "for the return value of loss"
            )
        return returned
    if not (hasattr(returned, "shape") or isinstance(returned, (int, float))):
        raise TypeError(
            f"Expected a scalar or (value, gradients), received {type(returned).__name__}, for the "
            "return value of loss; does it lack a return?"
        )
    returned = returned.value if isinstance(returned, Variable) else returned
    if grad_loss is None:
        return returned
    shapes = [tuple(getattr(x, "shape", ())) for x in (returned, grad_loss)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"Expected an array of the shape of the loss, {shapes[0]}, received {shapes[1]}, for "
            "grad_loss"
        )
    return returned * grad_loss


def _scaled(grad: Any, grad_loss: Any) -> Any:
    """Return a part of the pair that a loss returned, times the weight of the loss, a number."""
    if grad is None or grad_loss is None:
        return grad
    if isinstance(grad, IndexedSlices):
        return grad._replace(values=_scaled(grad.values, grad_loss))
    if isinstance(grad, list):
        return [_scaled(part, grad_loss) for part in grad]
    if getattr(grad_loss, "ndim", 0) or not hasattr(grad_loss, "__float__"):
        raise ValueError(
            f"Expected a number, as the loss is one, received {grad_loss!r:.50}, for grad_loss"
        )
    return grad * float(grad_loss)
