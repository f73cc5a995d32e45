"""JAX, for those who keep no parameter of an earlier step: donated even if it has been read.

A value that Python still refers to stays whole. One that an array shares its memory with, as
`jax.device_put(w.value, same_device)` returns, is lost with the next step.
"""

from functools import partial

from adamax_adapters.backends import jax
from adamax_adapters.backends.donation import read_parameters_too

__all__ = ["dense", "rows"]

dense = partial(jax.dense, donate=read_parameters_too)
rows = partial(jax.rows, donate=read_parameters_too)
