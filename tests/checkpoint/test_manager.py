"""The manager of a run's checkpoints: which it keeps, which it trusts, and who may write."""

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Run, environment, new_run, same

from adamax import Adamax, CheckpointError, CheckpointManager, Variable
from adamax_adapters.checkpoint import contents, durable
from adamax_adapters.checkpoint import manager as manager_module
from adamax_adapters.checkpoint.tensorfile import header


def names(folder: Path) -> list[str]:
    """Return what is in a folder, beside the lock."""
    return sorted(name for name in os.listdir(folder) if name != ".lock")


def name(step: int) -> str:
    return f"step-{step:010d}.safetensors"


def saved(manager: CheckpointManager, run: Run, *steps: int) -> None:
    """Train and save after each of `steps`."""
    for step in steps:
        run.train(step - int(run.optimizer.iterations))
        manager.save(run.optimizer, run.variables)


def damage(path: Path) -> None:
    """Change the last byte of a file."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    """Files are named after their steps, and older ones removed; others are left alone."""
    folder = tmp_path / "made" / "here"
    with CheckpointManager(folder, keep=2) as manager:
        run = new_run()
        path = manager.save(run.optimizer, run.variables)
        assert path == folder / name(0)
        (folder / "notes.txt").write_text("mine")
        (folder / "step-4.safetensors").write_text("mine")
        saved(manager, run, 3, 4, 10)
    assert names(folder) == ["notes.txt", name(4), name(10), "step-4.safetensors"]
    assert manager.checkpoints() == {4: folder / name(4), 10: folder / name(10)}


@pytest.mark.parametrize("keep", [0, -1, 1.0, True, None, "3"])
def test_how_many_to_keep_is_checked(keep: Any, tmp_path: Path) -> None:
    """At least one, as an int."""
    with pytest.raises(ValueError, match="Expected keep to be an int >= 1, received"):
        CheckpointManager(tmp_path, keep)


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    """The same step is one file, with what was saved last."""
    run = new_run()
    with CheckpointManager(tmp_path, keep=1) as manager:
        saved(manager, run, 2, 2)
        run.variables[2].assign(np.asarray(5.0))
        saved(manager, run, 2)
    other = new_run(1)
    CheckpointManager(tmp_path).restore_latest(other.optimizer, other.variables)
    assert same(other.state(), run.state())
    assert names(tmp_path) == [name(2)]


def test_the_newest_is_restored(tmp_path: Path) -> None:
    """By its step, not by its age or its name's length."""
    run = new_run()
    with CheckpointManager(tmp_path) as manager:
        run.optimizer.iterations.assign(9_999_999_999)
        manager.save(run.optimizer, run.variables)
        run.optimizer.iterations.assign(10_000_000_000)
        newest = manager.save(run.optimizer, run.variables)
    os.utime(newest, (0, 0))
    other = new_run(1)
    restored = CheckpointManager(tmp_path).restore_latest(other.optimizer, other.variables)
    assert restored is not None
    assert restored == (newest, 10_000_000_000, {})
    assert same(other.state(), run.state())


def test_an_empty_folder_restores_nothing(tmp_path: Path) -> None:
    """None tells a first start; nothing is made on the disk, and nothing is assigned."""
    run = new_run()
    before = run.state()
    for folder in (tmp_path, tmp_path / "missing"):
        assert CheckpointManager(folder).restore_latest(run.optimizer, run.variables) is None
    assert os.listdir(tmp_path) == []
    assert same(run.state(), before)


def renamed(path: Path) -> None:
    shutil.copy(path.with_name(name(1)), path)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a changed byte": (damage, "SHA-256"),
    "cut short": (lambda path: os.truncate(path, 100), "truncated"),
    "empty": (lambda path: os.truncate(path, 0), "truncated"),
    "renamed": (renamed, "is of step 1, or renamed"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_cannot_be_trusted_is_passed_over(kind: str, tmp_path: Path) -> None:
    """The newest sound file is restored; which were refused is told, with the reason."""
    run = new_run()
    with CheckpointManager(tmp_path, keep=4) as manager:
        saved(manager, run, 1, 2)
        expected = run.state()
        saved(manager, run, 3, 4)
    spoil, reason = DAMAGES[kind]
    for step in (3, 4):
        spoil(tmp_path / name(step))
    other = new_run(1)
    restored = CheckpointManager(tmp_path).restore_latest(other.optimizer, other.variables)
    assert restored is not None
    assert (restored.path, restored.step) == (tmp_path / name(2), 2)
    assert list(restored.refused) == [tmp_path / name(4), tmp_path / name(3)]
    assert all(reason in why for why in restored.refused.values())
    assert same(other.state(), expected)


def test_a_file_that_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is a reason like any other."""
    run = new_run()
    with CheckpointManager(tmp_path) as manager:
        saved(manager, run, 1, 2)

    def read_some(file: Any) -> Any:
        if file.name.endswith(name(2)):
            raise OSError(errno.EIO, "Input/output error")
        return header(file)

    monkeypatch.setattr(contents, "header", read_some)
    restored = CheckpointManager(tmp_path).restore_latest(run.optimizer, run.variables)
    assert restored is not None
    assert restored.step == 1
    assert "Input/output error" in restored.refused[tmp_path / name(2)]


def test_if_nothing_can_be_trusted_that_is_an_error(tmp_path: Path) -> None:
    """A run that has checkpoints is never silently begun anew."""
    run = new_run()
    with CheckpointManager(tmp_path) as manager:
        saved(manager, run, 1, 2)
    for step in (1, 2):
        damage(tmp_path / name(step))
    before = run.state()
    with pytest.raises(CheckpointError, match=r"found none: .*0002.*; .*0001") as raised:
        CheckpointManager(tmp_path).restore_latest(run.optimizer, run.variables)
    assert str(raised.value).startswith(f"Expected an intact checkpoint in {tmp_path}")
    assert same(run.state(), before)


@pytest.mark.parametrize("moment", ["before it is opened", "while the folder is listed"])
def test_a_file_that_a_saver_removes_is_not_missed(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a process that saves with keep=1, a folder is never taken for an empty one."""
    run, other = new_run(), new_run(1)
    with CheckpointManager(tmp_path, keep=1) as manager:
        saved(manager, run, 1)
        waiting = [2]

        def save_the_next() -> None:
            if waiting:
                saved(manager, run, waiting.pop())

        def read_late(path: Path) -> Any:
            save_the_next()
            return contents.read(path)

        class Listing(list[os.DirEntry[str]]):
            def __enter__(self) -> Any:
                save_the_next()
                return self

            def __exit__(self, *error: object) -> None: ...

        if moment == "before it is opened":
            monkeypatch.setattr(manager_module, "read", read_late)
        else:
            scandir = os.scandir

            def listing(path: Path) -> Any:
                with scandir(path) as entries:
                    return Listing(entries)

            monkeypatch.setattr(os, "scandir", listing)
        restored = CheckpointManager(tmp_path).restore_latest(other.optimizer, other.variables)
    assert restored == (tmp_path / name(2), 2, {})
    assert same(other.state(), run.state())


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError("no disk")])
def test_an_error_that_one_file_causes_is_not_the_end(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that memory cannot hold is passed over as one that the disk cannot read."""
    run = new_run()
    with CheckpointManager(tmp_path) as manager:
        saved(manager, run, 1, 2)

    def read_some(path: Path) -> Any:
        if path.name == name(2):
            raise error
        return contents.read(path)

    monkeypatch.setattr(manager_module, "read", read_some)
    restored = CheckpointManager(tmp_path).restore_latest(run.optimizer, run.variables)
    assert restored == (tmp_path / name(1), 1, {tmp_path / name(2): str(error)})


def test_a_sound_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """It is no reason to go back to an older one: the variables are other ones."""
    run = new_run()
    with CheckpointManager(tmp_path) as manager:
        saved(manager, run, 1, 2)
    with pytest.raises(CheckpointError, match=rf"{name(2)} does not fit: "):
        CheckpointManager(tmp_path).restore_latest(Adamax(), [Variable(np.ones(1), name="w")])


def test_a_run_goes_on_past_what_was_refused(tmp_path: Path) -> None:
    """After a fall back, steps are saved again, older ones than the damaged file too."""
    run = new_run()
    with CheckpointManager(tmp_path, keep=2) as manager:
        saved(manager, run, 1, 5)
    damage(tmp_path / name(5))
    CheckpointManager(tmp_path).restore_latest(run.optimizer, run.variables)
    with CheckpointManager(tmp_path, keep=1) as manager:
        saved(manager, run, 2, 3)
        assert names(tmp_path) == [name(3), name(5)]
        restored = CheckpointManager(tmp_path).restore_latest(run.optimizer, run.variables)
        assert restored is not None
        assert restored.step == 3
        saved(manager, run, 5, 6)
    assert names(tmp_path) == [name(6)]


def test_two_runs_are_not_mixed(tmp_path: Path) -> None:
    """A run that has not gone on from the later steps in a folder cannot save there."""
    first, second = new_run(), new_run(1)
    with CheckpointManager(tmp_path) as manager:
        saved(manager, first, 5)
    with (
        CheckpointManager(tmp_path) as manager,
        pytest.raises(CheckpointError, match=rf"later than step 1 in .*, found {name(5)}; resume"),
    ):
        saved(manager, second, 1)
    assert names(tmp_path) == [name(5)]


def test_a_failed_save_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the step that could not be written, and no other."""
    run = new_run()

    def full(descriptor: int, piece: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with CheckpointManager(tmp_path, keep=1) as manager:
        saved(manager, run, 1)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "_write", full)
            with pytest.raises(OSError, match="No space left"):
                saved(manager, run, 2)
        assert names(tmp_path) == [name(1)]
        saved(manager, run, 3)
    assert names(tmp_path) == [name(3)]


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    """Temporary files of checkpoints go with the first save; other files stay."""
    stale = [f".{name(7)}.{'0123456789abcdef'}.tmp", f".{name(8)}.{'f' * 16}.tmp"]
    others = [f".notes.{'0' * 16}.tmp", f".{name(7)}.tmp", f"{name(7)}.{'0' * 16}.tmp"]
    for left in (*stale, *others):
        (tmp_path / left).write_bytes(b"half")
    run = new_run()
    with CheckpointManager(tmp_path) as manager:
        assert manager.checkpoints() == {}
        saved(manager, run, 1)
    assert names(tmp_path) == sorted([*others, name(1)])


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[CheckpointManager]:
    """A manager that has saved and not been closed."""
    with CheckpointManager(tmp_path) as manager:
        run = new_run()
        saved(manager, run, 1)
        yield manager


def test_two_writers_are_one_too_many(owned: CheckpointManager, tmp_path: Path) -> None:
    """Another manager of the folder can restore and not save, until the first is closed."""
    run, other = new_run(1), CheckpointManager(tmp_path)
    assert other.restore_latest(run.optimizer, run.variables) is not None
    with pytest.raises(CheckpointError, match="Expected a single writer for"):
        saved(other, run, 2)
    assert names(tmp_path) == [name(1)]
    owned.close()
    with other:
        saved(other, run, 2)
    assert names(tmp_path) == [name(1), name(2)]


def test_a_manager_that_is_forgotten_lets_go(tmp_path: Path) -> None:
    """The lock ends with the object that holds it; after `close` it is taken again."""
    run = new_run()
    forgotten = CheckpointManager(tmp_path)
    saved(forgotten, run, 1)
    del forgotten
    gc.collect()
    with CheckpointManager(tmp_path) as manager:
        saved(manager, run, 2)
        manager.close()
        saved(manager, run, 3)
        with pytest.raises(CheckpointError, match="another CheckpointManager"):
            saved(CheckpointManager(tmp_path), run, 4)


def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not mistaken for one in which another manager saves."""

    def locked_file(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(manager_module, "FileLock", locked_file)
    with pytest.raises(PermissionError):
        saved(CheckpointManager(tmp_path), new_run(), 1)


HOLD = """
import sys, time
from adamax import Adamax, CheckpointManager

manager = CheckpointManager(sys.argv[1])
manager.save(Adamax())
print("saved", flush=True)
time.sleep(600)
"""


def test_the_lock_can_be_taken_before_the_first_save(tmp_path: Path) -> None:
    """A manager that has been locked keeps others from saving before it has saved itself."""
    with CheckpointManager(tmp_path / "run") as manager:
        manager.lock()
        manager.lock()
        with pytest.raises(CheckpointError, match="single writer"):
            CheckpointManager(tmp_path / "run").save(Adamax())
        manager.save(Adamax())


FORK = """
import os, sys, time
from ctypes import PyDLL
from adamax import Adamax, CheckpointError, CheckpointManager

with CheckpointManager(sys.argv[1]) as manager:
    manager.save(Adamax())
    child = os.fork() if sys.argv[2] == "python" else PyDLL(None).fork()
    if child == 0:
        if sys.argv[2] == "python":
            manager.close()
            try:
                manager.save(Adamax())
                os.write(1, b"saved\\n")
            except CheckpointError:
                os.write(1, b"refused\\n")
        time.sleep(600)
    os.write(1, b"%d\\n" % child)  # each line at once, as two processes write
    sys.stdin.readline()
os.write(1, b"closed\\n")
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(("fork", "end"), [("python", "close"), ("python", "kill"), ("C", "close")])
def test_a_forked_child_does_not_hold_the_lock(fork: str, end: str, tmp_path: Path) -> None:
    """The lock ends with its manager or process although a child lives, and not by the child."""
    command = [sys.executable, "-c", FORK, str(tmp_path), fork]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = {process.stdout.readline() for _ in range(1 + (fork == "python"))}
        (child,) = (int(line) for line in said if line.strip().isdigit())
        try:
            assert (b"refused\n" in said) == (fork == "python")
            with pytest.raises(CheckpointError, match="single writer"):
                CheckpointManager(tmp_path).save(Adamax())
            if end == "kill":
                process.kill()
                process.wait()
            else:
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert process.stdout.readline() == b"closed\n"
            os.kill(child, 0)  # it lives
            with CheckpointManager(tmp_path) as manager:
                manager.save(Adamax())
        finally:
            os.kill(child, signal.SIGKILL)
            process.kill()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    """Another process keeps this one out as long as it lives, and no longer."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"saved\n"
        with CheckpointManager(tmp_path) as manager:
            with pytest.raises(CheckpointError, match="this or another process"):
                manager.save(Adamax())
            process.kill()
            process.wait()
            manager.save(Adamax())
