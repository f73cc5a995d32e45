"""State that many see and one changes: wholly, or not at all, whatever interrupts the change."""

import os
from collections.abc import Callable

# Hooks of forks run from the last to the first: this one takes a lock that a step, for which ours
# waits, needs to start threads. So it must be there before ours.
from concurrent.futures import thread as _  # noqa: F401
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakSet

from adamax_adapters.step.signals import hold, release

__all__ = ["Guard"]

Result = TypeVar("Result")


class Guard:
    """Lets other threads, signal handlers and forks see state between two changes only.

    Parameters
    ----------
    begin, undo : callable ()
        Called before a change, and after one that has failed.
    """

    def __init__(self, begin: Callable[[], Any], undo: Callable[[], Any]) -> None:
        self._begin, self._undo = begin, undo
        self._lock = RLock()
        self._writing = False
        _guards.add(self)

    def read(self, look: Callable[[], Result]) -> Result:
        """Return ``look()``, during which nothing changes.

        Raises
        ------
        RuntimeError
            If the change that is being written calls this, as a constraint can.
        """
        with self._lock:
            self._refuse_in_change()
            return look()

    def change(self, prepare: Callable[[], Callable[[], Result]]) -> Result:
        """Call `prepare`, and then the function that it returns, which writes; return its result.

        `prepare` does everything that may fail. Signals are held back while the other one writes:
        the change is undone if an exception comes before, and complete if one comes after.

        Raises
        ------
        RuntimeError
            If the change that is being written calls this, as a constraint can.
        """
        with self._lock:
            self._refuse_in_change()
            done = False
            try:
                self._begin()
                write = prepare()
                held = hold()
                try:
                    self._writing = True
                    result = write()
                    done = True
                finally:
                    self._writing = False
                    release(held)
            except BaseException:
                if not done:
                    held = hold()
                    try:
                        self._undo()
                    finally:
                        release(held)
                raise
            return result

    def _refuse_in_change(self) -> None:
        if self._writing:
            raise RuntimeError(
                "Expected a call between two steps, received one in the middle of a step: does a "
                "constraint save, load or step? Call it after apply_gradients has returned"
            )


_guards: "WeakSet[Guard]" = WeakSet()
_locked: list[Guard] = []


def _before_fork() -> None:
    """Wait for the steps of other threads, which the child would see half done, and for ever."""
    for guard in list(_guards):
        guard._lock.acquire()
        _locked.append(guard)


def _after_fork() -> None:
    while _locked:
        _locked.pop()._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
