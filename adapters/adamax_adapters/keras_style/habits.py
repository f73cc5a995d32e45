"""What users of other libraries write, and what to write here instead."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from itertools import filterfalse
from typing import Any, ParamSpec

from adamax._arrays import is_array
from adamax.given import kind

__all__ = ["known_keywords", "missing_attribute", "refuse_methods", "refuse_parameters"]

P = ParamSpec("P")

STEP = "call minimize(loss, variables), or apply_gradients(zip(gradients, variables))"

ATTRIBUTES = {
    "step": STEP,
    "zero_grad": "adamax keeps no gradients; pass new ones to apply_gradients at every step",
    "param_groups": "set learning_rate and the other attributes; use one optimizer for each group",
    "add_param_group": "use one optimizer for each group",
    "state": "read get_slot(variable, 'm') and get_slot(variable, 'v')",
    "state_dict": "call get_state, or save_checkpoint",
    "load_state_dict": "call set_state, or load_checkpoint",
    "update": "call apply_gradients, or the function adamax.update",
    "apply": "call apply_gradients(zip(gradients, variables))",
}

KEYWORDS = {
    "params": f"pass no parameters: {STEP}",
    "betas": "pass beta_1 and beta_2",
    "b1": "pass beta_1",
    "b2": "pass beta_2",
    "eps": "pass epsilon",
    "weight_decay": "add weight_decay * variable to its gradient",
    "gradient_aggregator": "override apply_gradients and change the pairs",
    "gradient_transformers": "override apply_gradients and change the pairs",
}

METHODS = {
    "_aggregate_gradients": "override apply_gradients and change the pairs",
    "_transform_gradients": "override apply_gradients and change the pairs",
    "_create_slots": "override build",
    "_resource_apply_dense": "pass an object as backend",
    "_resource_apply_sparse": "pass an object as backend",
    "update_step": "pass an object as backend",
}
"""Methods that subclasses of a Keras optimizer override."""


def missing_attribute(optimizer: Any, name: str) -> AttributeError:
    """Return the error for an attribute that an optimizer lacks, with the way out."""
    way_out = f"; {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
    message = f"{type(optimizer).__name__!r} object has no attribute {name!r}{way_out}"
    return AttributeError(message, name=name, obj=optimizer)


def known_keywords(construct: Callable[P, None]) -> Callable[P, None]:
    """Return a constructor that refuses keywords that it does not know, with the way out.

    They are not in its signature, so that type checkers refuse them too.
    """
    known = signature(construct).parameters

    @wraps(construct)
    def checked(*values: P.args, **keywords: P.kwargs) -> None:
        for name in filterfalse(known.__contains__, keywords):
            way_out = KEYWORDS.get(name, "see help(adamax.Adamax)")
            raise TypeError(f"Unexpected keyword argument passed to optimizer: {name}; {way_out}")
        construct(*values, **keywords)

    return checked


def refuse_methods(subclass: type) -> None:
    """Raise TypeError if a subclass overrides what only Keras calls, with the way out."""
    for name in METHODS.keys() & vars(subclass).keys():
        raise TypeError(
            f"Expected methods that adamax calls, received {name}, for the class "
            f"{subclass.__name__}: only Keras calls it; {METHODS[name]}"
        )


def refuse_parameters(learning_rate: Any) -> None:
    """Raise TypeError if parameters, or a module of them, are in the place of the learning rate."""
    is_scalar = is_array(learning_rate) and not learning_rate.shape
    is_many = isinstance(learning_rate, Iterable) and not isinstance(learning_rate, str)
    if (is_many and not is_scalar) or hasattr(learning_rate, "parameters"):
        raise TypeError(
            f"Expected learning_rate to be a number, received: {kind(learning_rate)}; "
            f"the constructor takes no parameters: {STEP}"
        )
