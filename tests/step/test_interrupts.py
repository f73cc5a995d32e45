"""Interrupts at random moments: a call has changed nothing or everything, and nothing lingers.

`ADAMAX_INTERRUPTS=1000 pytest tests/step/test_interrupts.py` interrupts each call so often.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, Variable, load_checkpoint, save_checkpoint
from adamax_adapters.backends import BackendName, problem, threads
from adamax_adapters.step import signals

INTERRUPTS = int(os.environ.get("ADAMAX_INTERRUPTS", "15"))
BACKENDS = ["numba", "numpy", "standard", "torch"]
SIZES = {"small": (30, 10), "large": (4, 40_000)}  # arrays, and elements of each

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here"),
    # Python drops what is raised in a callback of the collector, such as an interrupt, and leaves
    # to it a file that is interrupted between its opening and its first use.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

rng = random.Random(0)


class Interrupt(BaseException):
    """What the handler of the signal raises, as that of Ctrl-C raises KeyboardInterrupt."""


@pytest.fixture(autouse=True)
def handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SIGALRM raise Interrupt, and large arrays have several threads.

    Afterwards every signal must have the handler that it had before.
    """
    monkeypatch.setattr(threads, "PART_ELEMENTS", 5000)

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    handlers = {number: signal.getsignal(number) for number in signal.Signals}
    yield
    assert {number: signal.getsignal(number) for number in signal.Signals} == handlers
    signal.signal(signal.SIGALRM, before)


def interrupted(call: Callable[[], Any], seconds: float) -> bool:
    """Call and interrupt at a random moment of so many seconds; return whether it came to that."""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(rng.uniform(0, 1.1 * seconds), 1e-6))
            call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupt:
        return True
    return False


def duration(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Run:
    """Variables whose elements are all alike, so that one number tells of which step each is."""

    def __init__(self, backend: BackendName, size: str) -> None:
        if problem(backend) is not None:
            pytest.skip(f"the backend {backend} is not installed")
        if backend == "torch":
            import torch

            filled: Any = lambda n, value: torch.full((n,), value, dtype=torch.float64)  # noqa: E731
        else:
            filled = np.full
        arrays, elements = SIZES[size]
        self.variables = [Variable(filled(elements, 1.0), name=f"w{i}") for i in range(arrays)]
        self.gradient = filled(elements, 0.5)
        self.optimizer = Adamax(0.1, backend=backend)
        self.model, self.of_model = Adamax(0.1), Variable(np.ones(1), name="model")
        self.expected: dict[int, tuple[float, ...]] = {0: (1.0, 0.0, 0.0)}

    def step(self) -> None:
        self.optimizer.apply_gradients([(self.gradient, variable) for variable in self.variables])

    def minimize(self) -> None:
        self.optimizer.minimize(
            lambda: sum((w * 0.5).sum() for w in self.variables), self.variables
        )

    def state(self) -> list[Any]:
        """Return copies of everything that a step changes, variables first."""
        return [*(x.numpy() for x in self.variables), *self.optimizer.get_weights()[1:]]

    def is_whole(self, with_variables: bool = True) -> bool:
        """Return whether all moments, and variables, are those of step `iterations`."""
        t = int(self.optimizer.iterations)
        while t not in self.expected:
            self.model.apply_gradients([(np.full(1, 0.5), self.of_model)])
            parts = (self.of_model, *self.model.weights[1:])
            self.expected[int(self.model.iterations)] = tuple(float(x.value[0]) for x in parts)
        state = self.state()
        many = len(self.variables)
        groups = [
            state[:many] if with_variables else [],
            state[many : 2 * many],
            state[2 * many :],
        ]
        return all(
            (part == value).all()
            for group, value in zip(groups, self.expected[t], strict=True)
            for part in group
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", ["step", "minimize"])
def test_a_step_is_not_begun_or_finished(call: str, backend: BackendName, size: str) -> None:
    """Variables, moments and iterations are of one step, and no thread writes on afterwards."""
    run = Run(backend, size)
    step = getattr(run, call)
    step()
    seconds = min(duration(step) for _ in range(5))
    came = 0
    for _ in range(INTERRUPTS):
        was = interrupted(step, seconds)
        came += was
        before = run.state() if was else []
        assert run.is_whole()
        if was and size == "large":
            time.sleep(seconds)
            assert all(map(np.array_equal, before, run.state()))
    assert came
    step()
    assert run.is_whole()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", ["load_checkpoint", "set_weights"])
def test_a_state_is_loaded_wholly_or_not_at_all(
    call: str, backend: BackendName, tmp_path: Path
) -> None:
    """An interrupted load or set_weights has assigned everything or nothing."""
    run = Run(backend, "small")
    run.step()
    save_checkpoint(tmp_path / "file", run.optimizer)
    weights = run.optimizer.get_weights()

    def load() -> None:
        load_checkpoint(tmp_path / "file", run.optimizer)

    calls = {"load_checkpoint": load, "set_weights": lambda: run.optimizer.set_weights(weights)}
    seconds = min(duration(calls[call]) for _ in range(3))
    reached = set()
    for _ in range(2 * INTERRUPTS):
        load()
        run.step()
        assert run.is_whole()
        interrupted(calls[call], seconds)
        assert run.is_whole(with_variables=call == "load_checkpoint")
        reached.add(int(run.optimizer.iterations))
    assert reached <= {1, 2}


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupted_save_leaves_one_file(backend: BackendName, tmp_path: Path) -> None:
    """The file is the old one or the new one, and there is no other."""
    run, path = Run(backend, "small"), tmp_path / "file"
    run.step()
    save_checkpoint(path, run.optimizer)
    seconds = min(duration(lambda: save_checkpoint(path, run.optimizer)) for _ in range(3))
    for _ in range(INTERRUPTS):
        run.step()
        interrupted(lambda: save_checkpoint(path, run.optimizer), seconds)
        assert [file.name for file in tmp_path.iterdir()] == ["file"]
        twin = Run(backend, "small")
        load_checkpoint(path, twin.optimizer, twin.variables)
        assert twin.is_whole()
        assert int(run.optimizer.iterations) - int(twin.optimizer.iterations) <= INTERRUPTS


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_handler_that_saves_saves_one_step(backend: BackendName, tmp_path: Path) -> None:
    """A file that the handler of a signal saves in the middle of a step is of one step."""
    run, path, saved = Run(backend, "large"), tmp_path / "file", []

    def save(number: int, frame: Any) -> None:
        save_checkpoint(path, run.optimizer)
        saved.append(int(run.optimizer.iterations))

    before = signal.signal(signal.SIGALRM, save)
    try:
        run.step()
        seconds = duration(run.step)
        for _ in range(INTERRUPTS):
            count = len(saved)
            interrupted(run.step, seconds)
            if len(saved) > count:
                twin = Run(backend, "large")
                load_checkpoint(path, twin.optimizer, twin.variables)
                assert twin.is_whole()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert saved


def test_every_signal_that_arrived_is_handled_afterwards() -> None:
    """Handlers run after the hold, in the order of their signals, though one of them raises."""
    ran: list[str] = []

    def note(number: int, frame: Any) -> None:
        ran.append(signal.Signals(number).name)

    before = {n: signal.signal(n, note) for n in (signal.SIGUSR1, signal.SIGUSR2)}
    try:
        held = signals.hold()
        assert signals.hold() is None  # one hold is enough
        for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGUSR2):
            signal.raise_signal(number)
        ran.append("written")
        with pytest.raises(Interrupt):
            signals.release(held)
        assert ran == ["written", "SIGUSR1", "SIGUSR2"]
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def test_other_threads_hold_nothing() -> None:
    """Outside the main thread, which alone runs handlers, there is nothing to hold back."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(signals.hold()))
    thread.start()
    thread.join()
    assert found == [None]
