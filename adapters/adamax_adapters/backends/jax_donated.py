"""JAX, for those who keep no parameter of an earlier step: donated even if it has been read.

A value that Python still refers to stays whole. One that an array shares its memory with, as
`jax.device_put(w.value, same_device)` returns, is lost with the next step.
"""

from functools import partial

from adamax_adapters.backends import jax

__all__ = ["dense", "rows"]

dense = partial(jax.dense, donate_read=True)
rows = partial(jax.rows, donate_read=True)
