"""Adamax (Kingma & Ba 2014, section 7.1), written once, for every array library.

The algorithm is in this package and imports no array library. The Keras-style optimizer and the
files are in `adamax_adapters`; their names are handed on from here when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adamax import clipping, schedules
from adamax._version import __version__ as __version__
from adamax.functional import State, init, update
from adamax.sparse import IndexedSlices
from adamax.variable import Variable

if TYPE_CHECKING:
    from adamax_adapters.checkpoint import (
        CheckpointError,
        inspect_checkpoint,
        load_checkpoint,
        save_checkpoint,
    )
    from adamax_adapters.checkpoint.manager import CheckpointManager
    from adamax_adapters.convert.keras_files import load_keras_file
    from adamax_adapters.convert.layouts import get_keras_weights, set_keras_weights
    from adamax_adapters.gradients import value_and_gradients
    from adamax_adapters.gradients.check import check_gradients
    from adamax_adapters.keras_style.config import serialize
    from adamax_adapters.keras_style.identifiers import deserialize, get
    from adamax_adapters.keras_style.optimizer import Adamax
    from adamax_adapters.step.state import OptimizerState

__all__ = [
    "Adamax",
    "CheckpointError",
    "CheckpointManager",
    "IndexedSlices",
    "OptimizerState",
    "State",
    "Variable",
    "check_gradients",
    "clipping",
    "deserialize",
    "get",
    "get_keras_weights",
    "init",
    "inspect_checkpoint",
    "load_checkpoint",
    "load_keras_file",
    "save_checkpoint",
    "schedules",
    "serialize",
    "set_keras_weights",
    "update",
    "value_and_gradients",
]

_HANDED_ON = {
    "Adamax": "keras_style.optimizer",
    "CheckpointError": "checkpoint",
    "CheckpointManager": "checkpoint.manager",
    "OptimizerState": "step.state",
    "check_gradients": "gradients.check",
    "deserialize": "keras_style.identifiers",
    "get": "keras_style.identifiers",
    "get_keras_weights": "convert.layouts",
    "inspect_checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "load_keras_file": "convert.keras_files",
    "save_checkpoint": "checkpoint",
    "serialize": "keras_style.config",
    "set_keras_weights": "convert.layouts",
    "value_and_gradients": "gradients",
}


def __getattr__(name: str) -> Any:
    if name not in _HANDED_ON:
        raise AttributeError(f"module 'adamax' has no attribute {name!r}")
    value = getattr(import_module(f"adamax_adapters.{_HANDED_ON[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
