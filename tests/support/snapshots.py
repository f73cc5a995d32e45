"""What the tests of the optimizer share: deep copies of its state, from any library."""

from typing import Any

from adamax import Adamax, Variable
from adamax._arrays import to_numpy

Array = Any


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
