"""Files that are written whole or not at all, and are still there after a crash."""

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["make_folder", "open_regular", "temporary_of", "write_whole"]

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")
NAME_BYTES = 255 - len("..0123456789abcdef.tmp")  # of its file's name that a temporary one holds

ACCESS_LIST = "system.posix_acl_access"
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


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
        Its folder must exist. A new file gets the mode that the umask allows. Otherwise the mode
        of the old file is kept; its owner, group and access list too, as far as the process may.
        A symbolic link is kept: the file that it names is replaced.
    pieces : iterable of bytes, or of whatever shows its memory as bytes
    length : int
        Bytes to leave free before the pieces, for `beginning`.
    beginning : callable () -> bytes, optional
        Called when the pieces have been written: threads may work at it until then.

    Raises
    ------
    OSError
        If `path` is a device, a FIFO or a folder, or if writing fails. The old file is then still
        there, and no temporary one. One error comes later: if the folder cannot be synced, the
        new file is in place, and a crash may bring the old one back.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    old = _status(path)
    temporary = os.path.join(folder, _temporary(name))

    # Until it has the mode of the old file, nobody else can open it. Nothing here is written in
    # Python, so that no exception from a signal handler comes between a descriptor and its file.
    create = partial(os.open, mode=0o600 if old else 0o666)
    with _synced(folder):
        try:
            with open(temporary, "xb", buffering=0, opener=create) as file:
                descriptor = file.fileno()
                if old:
                    _liken(descriptor, old, target)
                os.lseek(descriptor, length, os.SEEK_SET)
                for piece in pieces:
                    _write(descriptor, piece)
                if beginning is not None:
                    os.lseek(descriptor, 0, os.SEEK_SET)
                    _write(descriptor, beginning())
                os.fsync(descriptor)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):  # what went wrong first is what is told
                os.unlink(temporary)
            raise


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes.

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file: a FIFO would wait for a writer, and
        opening a device may have effects.
    """
    _status(path)
    return open(path, "rb")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with _synced(folder.parent):
            folder.mkdir(exist_ok=True)


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


def _temporary(name: str) -> str:
    """Return a new name that tells for which file it is, unless that has a very long name."""
    while len(os.fsencode(name)) > NAME_BYTES:
        name = name[:-1]
    return f".{name}.{secrets.token_hex(8)}.tmp"


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of a regular file, None if there is no file; OSError for anything else."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(number, f"Expected a regular file, found {kind}", os.fspath(path))
    return found


def _liken(descriptor: int, old: os.stat_result, path: str) -> None:
    """Give a new file the owner, group, access list and mode of the one at `path`, if possible.

    Nobody gets more rights than with the old file. If the group or the access list cannot be set,
    group and others get only the rights that both had.
    """
    if sys.platform == "win32":
        return
    mode = old.st_mode & 0o777
    try:
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError:
            os.fchown(descriptor, -1, old.st_gid)
        if sys.platform == "linux" and ACCESS_LIST in os.listxattr(path):
            os.setxattr(descriptor, ACCESS_LIST, os.getxattr(path, ACCESS_LIST))
    except OSError:
        mode = mode & 0o700 | (mode & mode >> 3 & 0o007) * 0o011
    with suppress(OSError):  # of file systems without modes
        os.fchmod(descriptor, mode)


@contextmanager
def _synced(folder: str | Path) -> Iterator[None]:
    """Make the names that the block changes in a folder survive a crash, where a system can.

    A folder that cannot be opened is an error before the block.
    """
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
