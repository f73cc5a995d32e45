"""Optimizers as plain dictionaries, and these as JSON: exact numbers, only data read back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from adamax import schedules
from adamax._public import public
from adamax.schedules import LearningRateSchedule
from adamax_adapters.keras_style.hyperparameters import CLIPS

__all__ = [
    "FORMAT",
    "build",
    "from_config",
    "get_config",
    "read_json",
    "representation",
    "serialize",
    "to_json",
    "write_json",
]

T = TypeVar("T")

FORMAT = 1
"""Version of the JSON layout; a reader refuses those it does not know."""


def get_config(optimizer: Any) -> dict[str, Any]:
    """Return the constructor's arguments in plain Python numbers; JSON can hold them."""
    rate = optimizer.learning_rate
    clips = {key: getattr(optimizer, key) for key in CLIPS}
    return {
        "name": optimizer.name,
        **{key: float(limit) for key, limit in clips.items() if limit is not None},
        "learning_rate": schedules.serialize(rate)
        if isinstance(rate, LearningRateSchedule)
        else float(rate),
        **{key: float(getattr(optimizer, key)) for key in ("decay", "beta_1", "beta_2", "epsilon")},
    }


def from_config(
    cls: type[T], config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> T:
    """Build an optimizer of the class `cls`, as `Adamax.from_config` describes it."""
    if not isinstance(config, Mapping):
        raise TypeError(f"Expected config to be a dictionary, received: {config!r:.50}")
    read = dict(config)
    if "lr" in read:
        read["learning_rate"] = read.pop("lr")
    rate = read.get("learning_rate")
    if isinstance(rate, Mapping):
        read["learning_rate"] = schedules.deserialize(rate, custom_objects)
    return cls(**read)


def to_json(optimizer: Any) -> str:
    """Return class and configuration as JSON text, from which `from_json` builds an equal."""
    return write_json(serialize(optimizer))


def representation(optimizer: Any) -> str:
    """Return the call that constructs such an optimizer; callables are not called."""
    attributes = ("learning_rate", "beta_1", "beta_2", "epsilon", "decay", *CLIPS, "backend")
    own = {key: vars(optimizer)[key] for key in attributes} | {"name": optimizer.name}
    given = [f"{key}={value!r}" for key, value in own.items() if value is not None and value != 0.0]
    return f"{type(optimizer).__name__}({', '.join(given)})"


@public
def serialize(optimizer: Any) -> dict[str, Any]:
    """Return ``{'class_name': ..., 'config': ...}`` of an optimizer; JSON can hold it.

    Examples
    --------
    >>> from adamax import Adamax
    >>> serialize(Adamax(learning_rate=0.5))["config"]["learning_rate"]
    0.5
    """
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def build(
    config: Mapping[str, Any],
    classes: Sequence[type],
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Return the optimizer that `serialize` described.

    Parameters
    ----------
    config : mapping
        With the keys 'class_name' and 'config'.
    classes : sequence of classes
        Those it may be; their names are found in any case.
    custom_objects : mapping of name to class, optional
        Come before `classes`, by their exact names; also used for schedules.

    Raises
    ------
    ValueError
        If a key is missing or the class unknown.
    """
    if not isinstance(config, Mapping) or not {"class_name", "config"} <= config.keys():
        raise ValueError(
            "Improper config for an optimizer: expected a dictionary with the keys "
            f"'class_name' and 'config', received: {config!r}"
        )
    name = config["class_name"]
    by_name = {cls.__name__.lower(): cls for cls in classes}
    cls: Any = None
    if isinstance(name, str):
        cls = (custom_objects or {}).get(name) or by_name.get(name.lower())
    if cls is None:
        known = ", ".join(cls.__name__ for cls in classes)
        raise ValueError(
            f"Unknown optimizer {name!r}: expected {known}, or a class given in custom_objects"
        )
    return cls.from_config(config["config"], custom_objects=custom_objects)


def write_json(serialized: dict[str, Any]) -> str:
    """Return ``{'class_name', 'config'}`` as JSON text.

    Floats are written with the fewest digits that read back as the same double.

    Raises
    ------
    ValueError, TypeError
        If the configuration holds NaN, infinity or something that JSON cannot hold.

    Examples
    --------
    >>> print(write_json({"class_name": "Adamax", "config": {"learning_rate": 0.1}}))
    {
      "format": 1,
      "class_name": "Adamax",
      "config": {
        "learning_rate": 0.1
      }
    }
    """
    return json.dumps({"format": FORMAT, **serialized}, indent=2, allow_nan=False)


def read_json(text: str) -> dict[str, Any]:
    """Return the ``{'class_name', 'config'}`` that `write_json` wrote.

    Raises
    ------
    ValueError
        If the text is not JSON, not a configuration, or of another format version.
    """
    try:
        read = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Improper config: the text is not JSON: {error}") from None
    if not isinstance(read, dict) or not {"class_name", "config"} <= read.keys():
        raise ValueError(
            "Improper config: expected a JSON object with the keys 'class_name' and 'config', "
            f"received: {text[:80]!r}"
        )
    version = read.pop("format", FORMAT)
    if type(version) is not int or version != FORMAT:
        raise ValueError(
            f"Improper config: expected format {FORMAT}, received {version!r}; "
            "was it written by a later version of adamax?"
        )
    return read


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")
