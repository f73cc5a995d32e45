"""A lock on a file that ends with the process that holds it, however that ends."""

import os
import sys
from weakref import WeakSet

__all__ = ["FileLock"]

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """A lock on the file at `path`, which is created if it is missing.

    `release`, the end of the object and the end of the process release it. The child of a fork
    does not hold it: otherwise the lock would outlive the parent for as long as the child lives.

    Raises
    ------
    BlockingIOError
        If the file is locked already, by this process or another one.
    OSError
        If it cannot be opened, or its file system has no locks.
    """

    _descriptor = -1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _locks.add(self)
        try:
            _lock(self._descriptor)
        except OSError:
            self._close()
            raise

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Let others lock the file; do nothing if the lock is not held."""
        if self.held:
            _unlock(self._descriptor)  # a process that C code forked may have the file open
            self._close()

    __del__ = release

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


_locks: WeakSet[FileLock] = WeakSet()


def _close_in_child() -> None:
    for lock in _locks:
        if lock.held:
            lock._close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_in_child)
