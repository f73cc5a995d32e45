"""Signals held back: their handlers run after a write that they must not interrupt.

Python runs the handler of a signal in the main thread, between any two instructions, and an
exception that it raises, such as the KeyboardInterrupt of Ctrl-C, leaves from there. A signal mask
does not prevent that: another thread receives the signal, and the main thread runs its handler.
"""

# The functions of `signal` convert every number to an enum, which takes longer than a small step.
from _signal import getsignal  # type: ignore[import-not-found]
from _signal import signal as set_handler
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from signal import Signals
from threading import current_thread, main_thread
from typing import Any, TypeAlias

__all__ = ["hold", "release"]

NUMBERS = tuple(map(int, Signals))
"""The signals that have a name; of the real-time signals that are the first and the last."""

Handlers: TypeAlias = dict[int, Callable[[int, Any], Any]]
"""Functions of Python that handle signals, by the number of the signal."""

# Only the main thread, which alone runs handlers, reads and writes these.
_held: Handlers | None = None
_arrived: list[tuple[int, Any]] = []
_known: tuple[list[Any], Handlers] = [], {}


def hold() -> Handlers | None:
    """Hold signals back, in the main thread; return what `release` needs.

    None is for other threads, which no handler interrupts, and for a hold within another.
    """
    global _held, _known
    if _held is not None or current_thread() is not main_thread():
        return None
    found = list(map(getsignal, NUMBERS))
    if found != _known[0]:
        pairs = zip(NUMBERS, found, strict=True)
        # Other handlers than functions interrupt no Python code.
        _known = found, {number: handler for number, handler in pairs if callable(handler)}
    handlers = _known[1]
    try:
        _set(handlers, repeat(_note))
        _held = handlers
    except BaseException:
        release(handlers)
        raise
    return handlers


def release(handlers: Handlers | None) -> None:
    """Give signals their handlers back, and call those of the signals that arrived meanwhile."""
    global _held
    if handlers is None:
        return
    _held = None
    try:
        _set(handlers, handlers.values())
    finally:
        _deliver(handlers)


def _note(number: int, frame: Any) -> None:
    _arrived.append((number, frame))


def _set(numbers: Iterable[int], handlers: Iterable[Any]) -> None:
    """Give signals their handlers: all of them, whatever a handler raises meanwhile."""
    raised = None
    while True:
        try:
            # One call: no instruction of Python's is between two signals.
            deque(map(set_handler, numbers, handlers), maxlen=0)
            break
        except BaseException as error:
            raised = raised or error
    if raised is not None:
        raise raised


def _deliver(handlers: Handlers) -> None:
    while _arrived:
        number, frame = _arrived.pop(0)
        try:
            handlers[number](number, frame)
        finally:  # an exception of one handler does not keep others from their signals
            _deliver(handlers)
