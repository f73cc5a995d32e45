"""JAX's own derivatives, for variables of JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from adamax.reading import read_by
from adamax.variable import Variable

__all__ = ["value_and_gradients"]


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Variable]]
) -> tuple[Any, list[Any]]:
    """Call the loss once on JAX's tracers; variables that it does not read have no gradient."""
    seen = set()

    def traced(values: dict[int, Any]) -> tuple[Any, Any]:
        def read(variable: Variable, array: Any) -> Any:
            seen.add(id(variable))
            return values.get(id(variable), array)

        result = read_by(read, loss, variables)
        total = result[0] if isinstance(result, tuple) else result
        return jnp.sum(jnp.asarray(total, float)), result

    values = {id(x): x.held for x in variables() if isinstance(x, Variable)}
    floating = {key: x for key, x in values.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    total, back, result = jax.vjp(traced, floating, has_aux=True)
    if isinstance(result, tuple):
        return result, []
    (gradients,) = back(jnp.ones_like(total))
    keys = [id(variable) for variable in variables()]
    return result, [gradients.get(key) if key in seen else None for key in keys]
