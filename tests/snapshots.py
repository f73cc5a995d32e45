"""What the tests of the optimizer share: variables of any library, and deep copies of state."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import array_api_strict
import numpy as np
from libraries import GPU

from adamax import Adamax, Variable
from adamax._arrays import to_numpy

Array = Any

LIBRARIES: dict[str, Callable[..., Array]] = {
    "numpy": np.asarray,
    "array_api_strict": array_api_strict.asarray,
}
"""How each library makes an array of a NumPy array."""

if GPU:
    LIBRARIES["cupy"] = import_module("cupy").asarray


def host(x: Any) -> Array:
    """Return a NumPy copy of a Variable or an array."""
    return x.numpy() if isinstance(x, Variable) else to_numpy(x)


def snapshot(optimizer: Adamax, *variables: Any) -> list[Any]:
    """Return all that a call might change, in bytes and identities that nothing can alter."""
    weights = optimizer.weights
    arrays = [host(x) for x in (*weights, *variables)]
    return [
        optimizer.to_json(),
        optimizer.get_slot_names(),
        [(id(weight), weight.name) for weight in weights],
        [(x.dtype.str, x.shape, x.tobytes()) for x in arrays],
    ]
