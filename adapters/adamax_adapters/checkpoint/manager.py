"""The checkpoints of one run in one folder: the last few kept, the newest sound one found."""

import os
import re
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from adamax._public import public
from adamax.typing import Variables
from adamax_adapters.checkpoint.contents import Contents, read, write
from adamax_adapters.checkpoint.durable import make_folder, temporary_of
from adamax_adapters.checkpoint.locking import FileLock
from adamax_adapters.checkpoint.state import restore, snapshot
from adamax_adapters.checkpoint.tensorfile import CheckpointError
from adamax_adapters.step.state import HasState

__all__ = ["CheckpointManager", "Restored"]

NAME = re.compile(r"step-(\d{10,})\.safetensors")


class Restored(NamedTuple):
    """What `CheckpointManager.restore_latest` did."""

    path: Path
    step: int
    refused: dict[Path, str]  # newer files that could not be trusted, and why


@public
class CheckpointManager:
    """Saves checkpoints of one run into a folder, and restores the newest intact one.

    Parameters
    ----------
    directory : path
        Made at the first `save`. The files in it are called ``step-0000001000.safetensors``.
    keep : int
        How many of them to keep, at least 1; older ones are removed.

    Notes
    -----
    `lock`, or else the first `save`, locks the folder against other managers. `close`, the end of
    the ``with`` block, or the end of the process, even by a kill, releases the lock. The child of a
    fork does not hold it.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from adamax import Adamax, Variable
    >>> folder = tempfile.TemporaryDirectory()
    >>> w, opt = Variable(np.ones(3), name="w"), Adamax()
    >>> with CheckpointManager(folder.name, keep=2) as manager:
    ...     for _ in range(5):
    ...         _ = opt.apply_gradients([(np.ones(3), w)])
    ...         _ = manager.save(opt)
    >>> [path.name for path in manager.checkpoints().values()]
    ['step-0000000004.safetensors', 'step-0000000005.safetensors']
    >>> CheckpointManager(folder.name).restore_latest(Adamax(), [w]).step
    5
    >>> folder.cleanup()
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 3) -> None:
        if type(keep) is not int or keep < 1:
            raise ValueError(f"Expected keep to be an int >= 1, received: {keep!r}")
        self.directory = Path(directory)
        self.keep = keep
        self._damaged: set[Path] = set()
        self._lock: FileLock | None = None

    def save(self, optimizer: HasState, variables: Variables | None = None) -> Path:
        """Write a checkpoint, named after its step, and remove those that are no longer kept.

        Parameters are those of `adamax.save_checkpoint`.

        Returns
        -------
        Path
            The file; it is on disk, and will be after a crash.

        Raises
        ------
        CheckpointError
            If another manager saves into the folder; if the folder holds a checkpoint of a later
            step, which is another run's or has not been restored; or as `save_checkpoint` does.
        OSError
            If the file cannot be written; the others are still there.
        """
        contents = snapshot(optimizer, variables)
        self.lock()
        step, path = contents.iterations, self.directory / _name(contents.iterations)
        self._refuse_later(step)
        write(path, contents)
        self._damaged.discard(path)
        kept = [file for at, file in self.checkpoints().items() if at <= step]
        for file in kept[: -self.keep]:
            file.unlink(missing_ok=True)
        return path

    def restore_latest(
        self, optimizer: HasState, variables: Variables | None = None
    ) -> Restored | None:
        """Load the newest intact checkpoint; another process may save into the folder meanwhile.

        Parameters are those of `adamax.load_checkpoint`.

        Returns
        -------
        Restored or None
            Which file it was, and which newer ones were refused and why; None if the folder holds
            no checkpoint.

        Raises
        ------
        CheckpointError
            If it has checkpoints and none is intact, or if the newest intact one does not fit.
        """
        refused: dict[Path, str] = {}
        listed = self.checkpoints()
        while listed:
            step, path = listed.popitem()
            try:
                contents = _trusted(path, step)
            except FileNotFoundError:  # removed by a process that has saved a newer one
                refused, listed = {}, self.checkpoints()
            except (CheckpointError, OSError, MemoryError) as error:
                refused[path] = str(error) or repr(error)
            else:
                restore(path, contents, optimizer, variables)
                return Restored(path, step, refused)
        if refused:
            reasons = "; ".join(refused.values())
            raise CheckpointError(
                f"Expected an intact checkpoint in {self.directory}, found none: {reasons}"
            )
        return None

    def checkpoints(self) -> dict[int, Path]:
        """Return the files that are called as checkpoints are, by their steps, the newest last."""
        if not self.directory.exists():
            return {}
        # The listing itself says which are files: one that a process removes meanwhile is listed,
        # so that whoever opens it notices, and not left out.
        with os.scandir(self.directory) as entries:
            steps = {_step(entry.name): entry.name for entry in entries if entry.is_file()}
        return {step: self.directory / steps[step] for step in sorted(steps) if step >= 0}

    def lock(self) -> None:
        """Create the folder, and keep other managers from saving into it, before the first `save`.

        Files that a killed process left half written are removed.

        Raises
        ------
        CheckpointError
            If another manager holds the lock.
        OSError
            If the folder cannot be created or locked.
        """
        if self._lock is not None and self._lock.held:
            return
        make_folder(self.directory)
        try:
            self._lock = FileLock(self.directory / ".lock")
        except BlockingIOError:
            raise CheckpointError(
                f"Expected a single writer for {self.directory}, found another CheckpointManager "
                "in this or another process; close it, or save to another folder"
            ) from None
        for path in self.directory.iterdir():
            if _step(temporary_of(path.name)) >= 0:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other managers save into the folder; the next `lock` or `save` takes it back."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _refuse_later(self, step: int) -> None:
        """Raise if the folder holds a sound checkpoint of a later step."""
        for at, path in self.checkpoints().items():
            if at <= step or path in self._damaged:
                continue
            try:
                _trusted(path, at)
            except (CheckpointError, OSError):
                self._damaged.add(path)
                continue
            raise CheckpointError(
                f"Expected no checkpoint later than step {step} in {self.directory}, found "
                f"{path.name}; resume from it with restore_latest, or save to another folder"
            )


def _trusted(path: Path, step: int) -> Contents:
    """Return the contents of a file, if all of it is sound and of the step that its name says."""
    contents = read(path)
    if contents.iterations != step:
        raise CheckpointError(f"{path} is of step {contents.iterations}, or renamed")
    return contents


def _name(step: int) -> str:
    return f"step-{step:010d}.safetensors"


def _step(name: str) -> int:
    """Return the step in the name of a checkpoint; -1 if it is not the name of one."""
    match = NAME.fullmatch(name)
    step = int(match[1]) if match else -1
    return step if _name(step) == name else -1
