"""How a loss reads variables while it is differentiated: a reader decides what it sees."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

__all__ = ["current_reader", "read_by"]

Reader = Callable[[Any, Any], Any]
"""A function (variable, its array) -> what the loss computes with."""

_reader: ContextVar[Reader | None] = ContextVar("reader", default=None)

current_reader = _reader.get
"""Return the reader of the loss that the calling code belongs to, or None outside a loss."""


def read_by(reader: Reader, loss: Callable[[], Any]) -> Any:
    """Call `loss`, which sees ``reader(variable, array)`` as the value of a variable.

    The loss runs in a context of its own. No exception, not even a Ctrl-C at any instruction, can
    leave the reader set in the context of the caller.

    Raises
    ------
    RuntimeError
        If it is called inside another loss that is being differentiated.
    """
    if _reader.get() is not None:
        raise RuntimeError(
            "Expected a call outside of losses, received one inside a loss that is being "
            "differentiated already; call minimize and get_gradients after the loss has returned"
        )
    context = copy_context()
    context.run(_reader.set, reader)
    return context.run(loss)
