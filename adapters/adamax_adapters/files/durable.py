"""Files that are written whole or not at all, and are still there after a crash."""

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["make_folder", "temporary_of", "write_whole"]

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # the last: Windows

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")


def write_whole(
    path: str | os.PathLike[str],
    pieces: Iterable[Any],
    *,
    length: int = 0,
    beginning: Callable[[], Any] | None = None,
) -> None:
    """Replace the file at `path`: at every moment it is the old one or the new one.

    Parameters
    ----------
    path : path
        Its folder must exist. The file gets the permissions that the umask allows.
    pieces : iterable of bytes, or of whatever shows its memory as bytes
    length : int
        Bytes to leave free before the pieces, for `beginning`.
    beginning : callable () -> bytes, optional
        Called when the pieces have been written: threads may work at it until then.

    Raises
    ------
    OSError
        If writing fails; the old file is still there, and no temporary one.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, CREATE, 0o666)
    try:
        try:
            os.lseek(descriptor, length, os.SEEK_SET)
            for piece in pieces:
                _write(descriptor, piece)
            if beginning is not None:
                os.lseek(descriptor, 0, os.SEEK_SET)
                _write(descriptor, beginning())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what is told
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync_folder(folder.parent)


def temporary_of(name: str) -> str:
    """Return the name of the file that a temporary file was to become; '' if it is not one."""
    match = TEMPORARY.fullmatch(name)
    return match[1] if match else ""


def _write(descriptor: int, piece: Any) -> None:
    left = memoryview(piece)
    while left.nbytes:
        # The system may take less than it is given: never more than 2 GiB at once, for example.
        written = os.write(descriptor, left)
        if not written:
            raise OSError(errno.EIO, "the system takes no more bytes")
        left = left[written:]


def _sync_folder(folder: str | Path) -> None:
    """Make the new name itself survive a crash, where the system can open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
