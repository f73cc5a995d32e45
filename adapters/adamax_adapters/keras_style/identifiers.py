"""Optimizers from what identifies them: a name, or a dictionary of name and configuration."""

from collections.abc import Mapping
from typing import Any

from adamax._public import public
from adamax_adapters.keras_style.config import build
from adamax_adapters.keras_style.optimizer import Adamax

__all__ = ["deserialize", "get"]


@public
def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Adamax:
    """Build the optimizer that `serialize` described.

    Parameters
    ----------
    config : mapping
        With the keys 'class_name', in any case, and 'config'. Left as it is.
    custom_objects : mapping of name to class, optional
        Optimizers and schedules of the caller's own; they come before Adamax.

    Raises
    ------
    ValueError
        If a key is missing or the class unknown.
    """
    built: Adamax = build(config, [Adamax], custom_objects)
    return built


@public
def get(identifier: Any) -> Adamax:
    """Return an optimizer: itself, or built from its name or from what `serialize` returned.

    Raises
    ------
    ValueError
        If `identifier` is neither.

    Examples
    --------
    >>> get("adamax").get_config()["learning_rate"]
    0.001
    """
    if isinstance(identifier, Adamax):
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    raise ValueError(
        "Could not interpret optimizer identifier: expected an optimizer, its name or the "
        f"dictionary from serialize, received: {identifier!r}"
    )
