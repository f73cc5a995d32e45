"""How a loss reads variables while it is differentiated: through a reader, which traces them."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any
from weakref import ref

__all__ = ["current_loss", "read_by", "record_copy", "record_read_elsewhere", "running"]


class _Loss:
    """A loss that is being differentiated: its reader, and the variables read without it."""

    __slots__ = ("__weakref__", "read", "untraced")

    def __init__(self, read: Callable[[Any, Any], Any]) -> None:
        self.read = read
        self.untraced: dict[Any, str] = {}  # by variable: the value that the loss may have used


_current: ContextVar[_Loss | None] = ContextVar("loss", default=None)

current_loss = _current.get
"""Return the loss that the calling code belongs to, or None outside a loss."""

running: set["ref[_Loss]"] = set()
"""The losses that run at present, in any thread; after an interrupt perhaps one that is gone."""


def record_read_elsewhere(variable: Any) -> None:
    """Record that code outside of all losses has read a variable while losses were running."""
    for entry in tuple(running):
        if (loss := entry()) is None:
            running.discard(entry)
        else:
            loss.untraced[variable] = (
                "a value that another thread read meanwhile, which is not traced; read the "
                "variable in the thread of the loss, and monitor it from others with numpy()"
            )


def record_copy(variable: Any) -> None:
    """Record that the code of a loss, if there is one, has taken the numbers out of a variable."""
    if (loss := _current.get()) is not None:
        loss.untraced[variable] = (
            "a copy by numpy(), float(), copy or pickle, which is not traced; note a number down "
            "with item(), or return (value, gradients) from the loss"
        )


def read_by(
    reader: Callable[[Any, Any], Any], loss: Callable[[], Any], variables: Callable[[], list[Any]]
) -> Any:
    """Call `loss`, which sees ``reader(variable, array)`` as the value of a variable.

    The loss runs in a context of its own. No exception, not even a Ctrl-C at any instruction, can
    leave the reader set in the context of the caller.

    Parameters
    ----------
    reader : callable (variable, array) -> object
        Returns the tracer, or the array, that the loss computes with.
    loss : callable () -> result
        A tuple as result has gradients of its own: it may have read variables in any way.
    variables : callable () -> list
        What the loss is differentiated with respect to. Called after the loss, if at all.

    Raises
    ------
    RuntimeError
        If it is called inside another loss that is being differentiated.
    NotImplementedError
        If one of `variables` was read without the reader.
    """
    if _current.get() is not None:
        raise RuntimeError(
            "Expected a call outside of losses, received one inside a loss that is being "
            "differentiated already; call minimize and get_gradients after the loss has returned"
        )
    this = _Loss(reader)
    entry = ref(this)
    context = copy_context()
    context.run(_current.set, this)
    try:
        running.add(entry)
        result = context.run(loss)
    finally:
        running.discard(entry)
    if this.untraced and not isinstance(result, tuple):
        for variable in variables():
            for read, instead in tuple(this.untraced.items()):
                if read is variable:
                    raise NotImplementedError(
                        f"Expected the loss to compute with {read.name} itself, received {instead}"
                    )
    return result
