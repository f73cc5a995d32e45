"""Task 2: train with gradients by hand, save every epoch, and survive ``kill -9``."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import own_gradients
import pytest
from digits import digits
from fresh_process import ENVIRONMENT

import adamax

PROGRAM = Path(__file__).with_name("own_gradients.py")


def newest(folder: Path) -> int:
    """Return the step of the newest checkpoint that is listed."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*")), default=0)


def started(*arguments: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, PROGRAM, *arguments], env=ENVIRONMENT)


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Killed several times in the middle, a run ends as one that was never killed."""
    pictures = tmp_path / "digits.npz"
    np.savez(pictures, **digits(1000, seed=0)._asdict())
    through = tmp_path / "through"
    assert started(pictures, tmp_path / "a", through).wait() == 0

    rng = random.Random(0)
    folder, resumed = tmp_path / "b", tmp_path / "resumed"
    kills = 0
    while True:
        before = newest(folder)
        process = started(pictures, folder, resumed)
        while process.poll() is None and newest(folder) < before + 3 * own_gradients.BATCHES:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.01))
        process.kill()
        if process.wait() == 0:
            break
        kills += 1
    assert kills >= 2
    assert newest(folder) == own_gradients.EPOCHS * own_gradients.BATCHES
    assert resumed.read_bytes() == through.read_bytes()


def test_the_gradients_by_hand_are_right() -> None:
    """What the program derives by hand is what the tape finds for the same loss."""
    pictures = digits(20, seed=3)
    rng = np.random.default_rng(0)
    shapes = ((35, 48), (48,), (48, 10), (10,))
    variables = [adamax.Variable(rng.normal(size=shape) / 7) for shape in shapes]

    def loss() -> object:
        w1, b1, w2, b2 = (v.value for v in variables)
        s = np.tanh(pictures.x @ w1 + b1) @ w2 + b2
        chosen = np.sum(np.eye(10)[pictures.labels] * s, axis=1)
        return np.mean(np.log(np.sum(np.exp(s), axis=1)) - chosen)

    def by_hand() -> object:
        arrays = [v.value for v in variables]
        return loss(), own_gradients.gradients(arrays, pictures.x, pictures.labels)

    adamax.check_gradients(by_hand, variables)
