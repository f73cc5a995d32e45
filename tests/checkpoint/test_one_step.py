"""A checkpoint is of one step, although another thread trains on."""

import copy
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, Variable, load_checkpoint, save_checkpoint
from adamax_adapters.checkpoint import contents
from adamax_adapters.checkpoint.contents import read
from adamax_adapters.checkpoint.durable import write_whole

COUNT, SIZE, SAVED = 12, 5_000, 10


def parts() -> tuple[Adamax, list[Variable]]:
    """Return an optimizer and variables that all go through the same numbers."""
    return Adamax(0.1), [Variable(np.zeros(SIZE), name=f"w{i}") for i in range(COUNT)]


def slope(step: int) -> float:
    """Return a gradient that changes in size and sign from step to step."""
    return math.sin(step)


def flat(step: int) -> float:
    """Return a gradient that is always the same."""
    return 1.0


def step(
    optimizer: Adamax, variables: list[Variable], slope: Callable[[int], float] = slope
) -> None:
    """Take a step whose gradient follows from its number alone, the same for every element."""
    gradient = np.full(SIZE, slope(int(optimizer.iterations)))
    optimizer.apply_gradients([(gradient, variable) for variable in variables])


@contextmanager
def training(
    optimizer: Adamax, variables: list[Variable], slope: Callable[[int], float] = slope
) -> Iterator[None]:
    """Let another thread train on while the block runs."""
    stopped = threading.Event()

    def train() -> None:
        while not stopped.is_set():
            step(optimizer, variables, slope)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def expected(steps: int, slope: Callable[[int], float] = slope) -> list[dict[str, float]]:
    """Return what every variable and its moments hold after 0, 1, ..., `steps` steps."""
    m = v = w = 0.0
    states = [{"variable": w, "m": m, "v": v}]
    for t in range(1, steps + 1):
        gradient = slope(t - 1)
        m += (gradient - m) * (1 - 0.9)
        v = max(v * 0.999, abs(gradient))
        w -= m / (v + 1e-7) * (0.1 / (1 - 0.9**t))
        states.append({"variable": w, "m": m, "v": v})
    return states


def test_every_tensor_is_of_the_step_that_the_file_names(tmp_path: Path) -> None:
    """While a thread trains without a pause, each file holds one step of all variables."""
    optimizer, variables = parts()
    step(optimizer, variables)
    saved = []
    with training(optimizer, variables):
        for i in range(SAVED):
            save_checkpoint(tmp_path / str(i), optimizer)
            saved.append(read(tmp_path / str(i)))
    states = expected(saved[-1].iterations)
    assert len({found.iterations for found in saved}) > 1
    for found in saved:
        state = states[found.iterations]
        for name, part in found.tensors.items():
            kind = name.partition("/")[0]
            assert np.allclose(part.array(), state[kind], rtol=1e-9, atol=1e-12), name
            assert np.ptp(part.array()) == 0.0, name


def test_steps_are_taken_while_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the copying holds a step up: one taken in mid-writing is not in the file."""
    optimizer, variables = parts()
    step(optimizer, variables)

    def write_slowly(path: Any, pieces: Any, **rest: Any) -> None:
        thread = threading.Thread(target=step, args=(optimizer, variables))
        thread.start()
        thread.join(timeout=60)
        assert not thread.is_alive()
        write_whole(path, pieces, **rest)

    monkeypatch.setattr(contents, "write_whole", write_slowly)
    save_checkpoint(tmp_path / "file", optimizer)
    assert int(optimizer.iterations) == 2
    found = read(tmp_path / "file")
    assert found.iterations == 1
    assert np.all(found.tensors["m/w0"].array() == expected(1)[1]["m"])


def test_loading_waits_for_a_step_and_no_step_sees_half_of_it(tmp_path: Path) -> None:
    """While a thread trains, a file is loaded whole: all variables go on from its step."""
    optimizer, variables = parts()
    for _ in range(3):
        step(optimizer, variables, flat)
    save_checkpoint(tmp_path / "file", optimizer)
    with training(optimizer, variables, flat):
        for _ in range(50):
            load_checkpoint(tmp_path / "file", optimizer)
    values = np.stack([variable.numpy() for variable in variables])
    state = expected(int(optimizer.iterations), flat)[-1]
    assert np.ptp(values) == 0.0
    assert values[0, 0] == pytest.approx(state["variable"], rel=1e-9)


def pickled(optimizer: Adamax) -> Any:
    return pickle.loads(pickle.dumps(optimizer))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_waits_for_nobody(copied: Callable[[Any], Any], tmp_path: Path) -> None:
    """A copy of an optimizer is saved while the original is in the middle of a step."""
    optimizer, variables = parts()
    step(optimizer, variables)
    other = copied(optimizer)
    with optimizer._slots._guard._lock:
        thread = threading.Thread(target=save_checkpoint, args=(tmp_path / "file", other))
        thread.start()
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert read(tmp_path / "file").iterations == 1
