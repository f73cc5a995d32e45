"""A run that is killed again and again, at any moment, loses nothing that was acknowledged."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from runs import Run, new_run, same

from adamax import CheckpointManager, Variable
from adamax_adapters.checkpoint.contents import read
from adamax_adapters.checkpoint.durable import temporary_of

KILLS = int(os.environ.get("ADAMAX_KILLS", "25"))
BALLAST = 50_000  # further numbers, so that writing takes a while


def loaded_run() -> tuple[Run, Variable]:
    """Return a run before its first step, and a variable that makes its files large."""
    return new_run(), Variable(np.zeros(BALLAST), name="ballast")


def train_for_ever(folder: Path, acknowledged: Connection) -> None:
    """Go on with the run in a folder; acknowledge every step after it has been saved."""
    new_run().train(1)  # whatever the first step of a process loads or compiles
    run, ballast = loaded_run()
    manager = CheckpointManager(folder, keep=2)
    variables = [*run.variables, ballast]
    restored = manager.restore_latest(run.optimizer, variables)
    acknowledged.send_bytes(str(restored.step if restored else 0).encode())
    while True:
        run.train(1)
        ballast.assign(np.full(BALLAST, float(int(run.optimizer.iterations))))
        manager.save(run.optimizer, variables)
        acknowledged.send_bytes(str(int(run.optimizer.iterations)).encode())


def killed(folder: Path, delay: float) -> int:
    """Start a process, kill it some seconds after it has begun; return what it acknowledged."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["adamax_adapters.checkpoint.manager", "adamax_adapters.backends.numba", "runs"]
    )
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=train_for_ever, args=(folder, theirs))
    process.start()
    theirs.close()
    steps = [int(ours.recv_bytes())]
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with ours:
        steps += remaining(ours)
    return max(steps)


def remaining(connection: Connection) -> Iterator[int]:
    try:
        while True:
            yield int(connection.recv_bytes())
    except EOFError:
        return


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_killing_loses_nothing(tmp_path: Path) -> None:
    """After each of many kills all checkpoints are sound, and the newest is as new as was told.

    It holds what an uninterrupted run holds at that step. ADAMAX_KILLS=200 kills more often.
    """
    rng = random.Random(0)
    through, _ = loaded_run()
    unfinished = 0
    for _ in range(KILLS):
        told = killed(tmp_path, rng.uniform(0.0, 0.05))
        run, ballast = loaded_run()
        manager = CheckpointManager(tmp_path, keep=2)
        for path in manager.checkpoints().values():
            read(path)
        restored = manager.restore_latest(run.optimizer, [*run.variables, ballast])
        step = restored.step if restored else 0
        assert restored is None or not restored.refused
        assert step >= told
        through.train(step - int(through.optimizer.iterations))
        assert same(run.state(), through.state())
        assert np.all(ballast.numpy() == step)
        left = [path.name for path in tmp_path.iterdir() if temporary_of(path.name)]
        unfinished += len(left)
        assert len(left) <= 1  # that of the last writer: each removes what is there before it
    assert int(through.optimizer.iterations) > 0
    print(f"{KILLS} kills, step {step}, {unfinished} in the middle of a file")
