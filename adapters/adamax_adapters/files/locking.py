"""A lock on a file that ends with the process that holds it, however that ends."""

import os
import sys

__all__ = ["lock_file"]

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(path: str | os.PathLike[str]) -> int:
    """Return an open descriptor of the file at `path`, locked until it is closed.

    Raises
    ------
    BlockingIOError
        If the file is locked already, here or by another process.
    OSError
        If it cannot be opened, or its file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
