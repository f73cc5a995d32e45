"""A lock on a file that ends with the process that holds it, however that ends."""

import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["lock_file"]


def lock_file(path: str | os.PathLike[str]) -> int:
    """Return an open descriptor of the file at `path`, locked until it is closed.

    Raises
    ------
    BlockingIOError, PermissionError
        If the file is locked already, here or by another process.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
