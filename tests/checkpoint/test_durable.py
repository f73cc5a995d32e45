"""Files are written whole or not at all, whatever fails and whenever the machine stops."""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from interrupts import interrupted_at_every_instruction
from runs import new_run, same

from adamax import load_checkpoint, save_checkpoint
from adamax_adapters.checkpoint import digests, durable
from adamax_adapters.checkpoint.contents import read
from adamax_adapters.checkpoint.digests import Digests
from adamax_adapters.checkpoint.durable import (
    make_folder,
    open_regular,
    temporary_of,
    write_whole,
)
from adamax_adapters.checkpoint.tensorfile import tensor

OLD, NEW = b"the old content", [b"the new ", b"content, ", b"in pieces"]


class Operation(NamedTuple):
    """One call of the system."""

    name: str
    arguments: tuple[Any, ...]
    result: Any


class System:
    """Stands between `durable` and `os`: records every operation, fails one.

    Parameters
    ----------
    fails_at : int
        Number of the operation that fails, from 0.
    failure : callable (operation, *arguments) -> result
        Called instead of it.
    """

    OPERATIONS = ("open", "lseek", "write", "fsync", "close", "replace", "unlink")

    def __init__(self, fails_at: int = -1, failure: Callable[..., Any] | None = None) -> None:
        self.fails_at, self.failure = fails_at, failure
        self.log: list[Operation] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.OPERATIONS:
            return real

        def operation(*arguments: Any, mode: int = 0) -> Any:
            arguments += (mode,) if mode else ()
            self.log.append(Operation(name, arguments, None))
            act = real
            if len(self.log) - 1 == self.fails_at and self.failure is not None:
                act = partial(self.failure, real)
            result = act(*arguments)
            self.log[-1] = self.log[-1]._replace(result=result)
            return result

        return operation


def error(number: int) -> Callable[..., Any]:
    """Return a failure: nothing is done, but for a descriptor, which is closed even so."""

    def fail(real: Any, *arguments: Any) -> Any:
        if real is os.close:
            real(*arguments)
        raise OSError(number, os.strerror(number))

    return fail


def short_write(real: Any, *arguments: Any) -> Any:
    """Take one byte only, as a system may."""
    if real is not os.write:
        return real(*arguments)
    return real(arguments[0], arguments[1][:1])


def half_write(real: Any, *arguments: Any) -> Any:
    """Take one byte and then fail, as a full disk does."""
    if real is os.write:
        real(arguments[0], arguments[1][:1])
    return error(errno.ENOSPC)(real, *arguments)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[System], System]:
    def put_between(system: System) -> System:
        monkeypatch.setattr(durable, "os", system)
        return system

    return put_between


def write(path: Path, way: str) -> None:
    """Write the new content: piece by piece, or its beginning last."""
    if way == "in order":
        write_whole(path, NEW)
    else:
        write_whole(path, NEW[1:], length=len(NEW[0]), beginning=lambda: NEW[0])


def operations(use: Callable[[System], System], path: Path, way: str) -> list[Operation]:
    """Return what one undisturbed writing does."""
    system = use(System())
    write(path, way)
    return system.log


FAILURES = {
    "ENOSPC": error(errno.ENOSPC),
    "EIO": error(errno.EIO),
    "half": half_write,
    "short": short_write,
}


# Both begin by opening the folder, and end with replace; fsync, close of the folder.
WAYS = {
    "in order": "open lseek write write write fsync".split(),
    "beginning last": "open lseek write write lseek write fsync".split(),
}
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("old", [OLD, None], ids=["old", "none"])
def test_every_failure_leaves_the_old_file_or_the_new_one(
    failure: str, old: bytes | None, way: str, tmp_path: Path, use: Callable[[System], System]
) -> None:
    """With a failure at every operation in turn: old or new, never neither, and no other file."""
    path = tmp_path / "file"
    calls = [operation.name for operation in operations(use, path, way)]
    assert calls == ["open", *WAYS[way], "replace", "fsync", "close"]
    outcomes = set()
    for number in range(len(calls)):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
        system = use(System(number, FAILURES[failure]))
        raised = False
        try:
            write(path, way)
        except OSError:
            raised = True
        found = path.read_bytes() if path.exists() else None
        assert found in (old, b"".join(NEW)), system.log[number]
        assert raised or found == b"".join(NEW)
        assert os.listdir(tmp_path) == ([] if found is None else ["file"]), system.log[number]
        outcomes.add((raised, found == old))
    # A short write is no failure; after the replacement, an error comes too late for the old file.
    assert outcomes == ({(False, False)} if failure == "short" else {(True, True), (True, False)})


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_leaves_the_old_checkpoint_or_the_new_one(
    failure: str, tmp_path: Path, use: Callable[[System], System]
) -> None:
    """A checkpoint is saved so: with a failure at every operation in turn, one of them loads."""
    path = tmp_path / "file"
    run = new_run()
    system = use(System())
    save_checkpoint(path, run.optimizer, run.variables)
    for number in range(len(system.log)):
        run.train(1)
        use(System(number, FAILURES[failure]))
        step = int(run.optimizer.iterations)
        try:
            save_checkpoint(path, run.optimizer, run.variables)
        except OSError:
            assert failure != "short"
        else:
            assert read(path).iterations == step
        assert os.listdir(tmp_path) == ["file"]
        loaded = new_run(1)
        load_checkpoint(path, loaded.optimizer, loaded.variables)
        loaded.train(step - int(loaded.optimizer.iterations))
        assert same(loaded.state(), run.state())


def test_a_system_that_takes_nothing_is_an_error(
    tmp_path: Path, use: Callable[[System], System]
) -> None:
    """A write of 0 bytes is no reason to try for ever."""
    use(System(3, lambda real, *arguments: 0))
    with pytest.raises(OSError, match="no more bytes"):
        write_whole(tmp_path / "file", NEW)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_no_temporary_file(
    interruption: type[BaseException], tmp_path: Path
) -> None:
    """Ctrl-C while the pieces are made leaves the folder as it was."""

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise interruption

    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(interruption):
        write_whole(tmp_path / "file", pieces())
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == OLD


def test_an_interrupt_at_any_instruction_leaves_the_old_file_or_the_new_one(
    tmp_path: Path,
) -> None:
    """An exception of a signal handler may come anywhere: it leaves no temporary file."""
    path = tmp_path / "file"
    found = set()

    def interrupted() -> None:
        path.write_bytes(OLD)
        try:
            write(path, "beginning last")
        finally:
            assert os.listdir(tmp_path) == ["file"]
            found.add(path.read_bytes())

    assert interrupted_at_every_instruction(interrupted, durable, contextlib) > 100
    assert found == {OLD, b"".join(NEW)}


def test_hashing_can_be_interrupted_at_any_instruction() -> None:
    """Nobody waits for ever for a thread or a lock, and the next sums are right."""
    data = np.arange(3.0 * 2**14)
    parts = {str(i): tensor(str(i), data[i::3], "float64") for i in range(3)}
    right = {n: digests.sha256("F64[16384]", part.data()) for n, part in parts.items()}

    def hashed() -> None:
        with Digests(parts) as sums:
            assert sums.result() == right

    assert interrupted_at_every_instruction(hashed, digests) > 50


def contents_after_a_crash(log: list[Operation], path: Path) -> set[bytes]:
    """Return what the file at `path` may hold after a crash that came upon these operations.

    What was written is certain once its file was synced; before, any beginning of it may be there.
    A new name is certain once its folder was synced; before, the old one may still be there.
    """
    opened: dict[int, str] = {}
    written: dict[str, bytes] = {}
    places: dict[int, int] = {}
    synced: set[str] = set()
    renamed = ""
    for name, arguments, result in log:
        if name == "open":
            opened[result], places[result] = str(arguments[0]), 0
        elif name == "lseek":
            places[arguments[0]] = result
        elif name == "write":
            file, place = opened[arguments[0]], places[arguments[0]]
            there = written.get(file, b"").ljust(place, b"\0")
            written[file] = there[:place] + bytes(arguments[1][:result]) + there[place + result :]
            places[arguments[0]] += result
            synced.discard(file)
        elif name == "fsync":
            synced.add(opened[arguments[0]])
        elif name == "replace":
            renamed, target = map(str, arguments)
            assert target == str(path)
            synced.discard(str(path.parent))
    if not renamed:
        return {OLD}
    new = written[renamed]
    possible = {new} if renamed in synced else {new[:end] for end in range(len(new) + 1)}
    return possible if str(path.parent) in synced else possible | {OLD}


@each_way
def test_every_crash_leaves_the_old_file_or_the_new_one(
    way: str, tmp_path: Path, use: Callable[[System], System]
) -> None:
    """Whenever the machine stops, old or new is on the disk; after the last operation, new."""
    path = tmp_path / "file"
    log = operations(use, path, way)
    for stop in range(len(log) + 1):
        assert contents_after_a_crash(log[:stop], path) <= {OLD, b"".join(NEW)}
    assert contents_after_a_crash(log, path) == {b"".join(NEW)}


@each_way
def test_the_model_of_a_crash_knows_what_is_unsafe(
    way: str, tmp_path: Path, use: Callable[[System], System]
) -> None:
    """Without the fsync of the file, half of it would do; without the folder's, the old file."""
    path = tmp_path / "file"
    log = operations(use, path, way)
    first, last = (i for i, operation in enumerate(log) if operation.name == "fsync")
    assert b"the new" in contents_after_a_crash(log[:first] + log[first + 1 :], path)
    assert OLD in contents_after_a_crash(log[:last] + log[last + 1 :], path)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_that_the_umask_allows(umask: int, tmp_path: Path) -> None:
    """A file is as readable as any other that the user makes."""
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A file that only its owner may read."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    path.chmod(0o600)
    return path


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666, 0o755])
def test_the_mode_of_a_file_is_kept(mode: int, private: Path) -> None:
    """Whatever the umask: nobody can read a new version who could not read the old one."""
    private.chmod(mode)
    modes: list[int] = []

    def pieces() -> Iterator[bytes]:
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in private.parent.iterdir())
        yield from NEW

    write_whole(private, pieces())
    assert private.read_bytes() == b"".join(NEW)
    assert modes == [mode, mode]  # of the old file and of the temporary one
    assert stat.S_IMODE(private.stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_no_moment_makes_a_file_more_readable(
    private: Path, use: Callable[[System], System]
) -> None:
    """A temporary file is created private: not even before its mode is set can others open it."""
    log = operations(use, private, "in order")
    assert log[1].arguments[2] == 0o600


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize(("mode", "kept"), [(0o664, 0o664), (0o640, 0o640), (0o604, 0o604)])
@pytest.mark.parametrize("may", ["everything", "the group", "nothing"])
def test_the_owner_is_kept_as_far_as_the_process_may(
    may: str, mode: int, kept: int, private: Path, use: Callable[[System], System]
) -> None:
    """If the group is another one, it and all others may only do what both could before."""
    private.chmod(mode)
    calls = []

    class Owned(System):
        def fchown(self, descriptor: int, owner: int, group: int) -> None:
            calls.append((owner, group))
            if may == "nothing" or (may == "the group" and owner != -1):
                raise PermissionError(errno.EPERM, "Operation not permitted")

    old = private.stat()
    use(Owned())
    write_whole(private, NEW)
    expected = [(old.st_uid, old.st_gid), (-1, old.st_gid)]
    assert calls == (expected[:1] if may == "everything" else expected)
    if may == "nothing":
        kept = {0o664: 0o644, 0o640: 0o600, 0o604: 0o600}[mode]
    assert stat.S_IMODE(private.stat().st_mode) == kept


def test_an_access_list_is_kept(private: Path) -> None:
    """The bits of the group are then no rights of the group, and must not become any."""
    entries = [(1, 6, -1), (2, 6, 12345), (4, 0, -1), (16, 6, -1), (32, 0, -1)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(private, durable.ACCESS_LIST, access)
    except (AttributeError, OSError):
        pytest.skip("the file system has no access lists")
    write_whole(private, NEW)
    assert os.getxattr(private, durable.ACCESS_LIST) == access
    assert stat.S_IMODE(private.stat().st_mode) == 0o660


@pytest.mark.skipif(os.name != "posix", reason="there are no FIFOs")
@pytest.mark.parametrize("read_or_write", [open_regular, lambda path: write_whole(path, NEW)])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_only_regular_files_are_opened(
    through_a_link: bool, read_or_write: Callable[[Path], Any], tmp_path: Path
) -> None:
    """A FIFO, a socket, a device and a folder are refused by name, and stay what they are."""
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "folder").mkdir()
    kinds = {tmp_path / "FIFO": "a FIFO", tmp_path / "folder": "a folder"}
    kinds[Path("/dev/null")] = "a character device"
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
        kinds[tmp_path / "socket"] = "a socket"
        for path, kind in kinds.items():
            given = path
            if through_a_link:
                given = tmp_path / f"link to {path.name}"
                given.symlink_to(path)
            mode = path.stat().st_mode
            with pytest.raises(OSError, match=f"Expected a regular file, found {kind}"):
                read_or_write(given)
            assert path.stat().st_mode == mode
    assert not [name for name in os.listdir(tmp_path) if temporary_of(name)]


@pytest.mark.skipif(os.name != "posix", reason="Windows opens no folder")
def test_a_folder_that_cannot_be_synced_is_told_before_anything_is_written(
    private: Path, use: Callable[[System], System]
) -> None:
    """The error comes while the old file is still there: a folder may be writable, not readable."""
    system = use(System(0, error(errno.EACCES)))
    with pytest.raises(PermissionError):
        write_whole(private, NEW)
    assert [operation.name for operation in system.log] == ["open"]
    assert private.read_bytes() == OLD


@pytest.mark.parametrize("name", ["x" * 233, "x" * 234, "x" * 255, "é" * 127, "x" + "😀" * 63])
def test_names_of_every_length_can_be_saved_to(
    name: str, tmp_path: Path, use: Callable[[System], System]
) -> None:
    """The temporary name is no longer than a file system allows; a long one is cut."""
    system = use(System())
    write_whole(tmp_path / name, NEW)
    write_whole(tmp_path / name, NEW)
    assert os.listdir(tmp_path) == [name]
    temporary = os.path.basename(system.log[1].arguments[0])
    assert len(os.fsencode(temporary)) <= 255
    beginning = temporary_of(temporary)
    assert name.startswith(beginning)
    assert len(os.fsencode(beginning)) > 229 or beginning == name


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    """The file that a link names is replaced, not the link."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    write_whole(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"".join(NEW)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "link"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """Nothing is made in its place."""
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "file", NEW)
    assert os.listdir(tmp_path) == []


def test_temporary_files_are_known_by_their_names(
    tmp_path: Path, use: Callable[[System], System]
) -> None:
    """What a killed writer leaves can be told from every other file."""
    temporary = operations(use, tmp_path / "step-1.safetensors", "in order")[1].arguments[0]
    assert temporary_of(os.path.basename(temporary)) == "step-1.safetensors"
    others = "file .file .file.tmp file.0123456789abcdef.tmp .0123456789abcdef.tmp .f.0123.tmp"
    assert {temporary_of(name) for name in others.split()} == {""}


def test_new_folders_are_synced_where_they_stand(
    tmp_path: Path, use: Callable[[System], System]
) -> None:
    """Each folder that is made is certain after a crash, as the one above it is synced."""
    system = use(System())
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    opened = [Path(entry.arguments[0]) for entry in system.log if entry.name == "open"]
    assert sorted(opened) == [tmp_path, tmp_path / "a"]
    assert sum(entry.name == "fsync" for entry in system.log) == 2
    make_folder(tmp_path / "a" / "b")
    assert len(system.log) == 6
