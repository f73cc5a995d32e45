"""A change is prepared, then written: what fails, forks or looks on meets whole states only."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adamax
import adamax_adapters
from adamax import Adamax, IndexedSlices, Variable, load_checkpoint, save_checkpoint
from adamax_adapters.backends import numpy as numpy_backend
from adamax_adapters.backends import standard, table, threads

Array = Any


def state(optimizer: Adamax, variables: list[Variable]) -> list[bytes]:
    """Return every byte that a step changes."""
    arrays = [*(x.numpy() for x in variables), *optimizer.get_weights()]
    return [np.asarray(x).tobytes() for x in arrays]


def failing(compute: Callable[..., Any], at: int) -> Callable[..., Any]:
    """Return a function whose call number `at` runs out of memory."""
    calls: list[None] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == at:
            raise MemoryError
        return compute(*args, **kwargs)

    return call


def torch_variables() -> list[Variable]:
    torch = pytest.importorskip("torch")
    return [Variable(torch.ones(n), name=f"w{n}") for n in (3, 5, 7)]


def numpy_variables() -> list[Variable]:
    return [Variable(np.ones((10_000 * n, 2), np.float32), name=f"w{n}") for n in (3, 5, 7)]


TAKES_MEMORY: dict[str, tuple[Callable[[], list[Variable]], Any, str]] = {
    "standard": (numpy_variables, standard, "advanced"),
    "numpy": (numpy_variables, numpy_backend, "_scratch"),
    "rows": (numpy_variables, table, "whole"),
    "torch": (torch_variables, "torch", "empty"),
}


@pytest.mark.parametrize("case", TAKES_MEMORY)
def test_memory_that_runs_out_changes_nothing(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever request for memory fails, no variable and no count is a step ahead."""
    make, module, name = TAKES_MEMORY[case]
    variables = make()
    module = sys.modules[module] if isinstance(module, str) else module
    backend: Any = "numpy" if case == "rows" else case
    optimizer = Adamax(0.1, backend=backend)

    def step() -> None:
        gradients: list[Any] = [x.value * 0 + 1 for x in variables]
        if case == "rows":
            gradients = [IndexedSlices(g[:2], np.array([0, 2])) for g in gradients]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    step()
    before, compute, failed = state(optimizer, variables), getattr(module, name), 0
    for at in range(1, 10):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(compute, at))
            try:
                step()
            except MemoryError:
                failed += 1
            else:
                break
        assert state(optimizer, variables) == before
    assert failed
    assert int(optimizer.iterations) == 2


def test_what_a_later_backend_refuses_keeps_the_first_from_writing() -> None:
    """The parts of a step are all prepared before one of them is written."""

    class Refusing:
        def dense(self, targets: Any, rule: Any = None) -> Any:
            def prepare(gradients: Any, c: Any) -> Any:
                if refuse:
                    raise MemoryError
                return standard.dense(targets)(gradients, c)

            return prepare

        def rows(self, target: Any, slices: Any, c: Any, rule: Any = None) -> Any:
            return standard.rows(target, slices, c)

    refuse: list[None] = []
    table_, w = Variable(np.ones((3, 2))), Variable(np.ones(2))
    optimizer = Adamax(0.1, backend=Refusing())
    pairs: list[Any] = [(IndexedSlices(np.ones((1, 2)), np.array([1])), table_), (np.ones(2), w)]
    optimizer.apply_gradients(pairs)
    before = state(optimizer, [table_, w])
    refuse.append(None)
    with pytest.raises(MemoryError):
        optimizer.apply_gradients(pairs)
    assert state(optimizer, [table_, w]) == before


def test_a_variable_that_is_given_twice_goes_back_if_its_second_turn_fails() -> None:
    """The second turn reads what the first has written; if it fails, both are undone."""
    calls: list[int] = []

    class Second:
        def dense(self, targets: Any, rule: Any = None) -> Any:
            def prepare(gradients: Any, c: Any) -> Any:
                calls.append(len(calls))
                if len(calls) == 4:
                    raise MemoryError
                return standard.dense(targets)(gradients, c)

            return prepare

        def rows(self, target: Any, slices: Any, c: Any, rule: Any = None) -> Any:
            raise NotImplementedError

    w, optimizer = Variable(np.ones(2)), Adamax(0.1, backend=Second())
    pairs = [(np.ones(2), w), (np.ones(2), w)]
    optimizer.apply_gradients(pairs)
    before = state(optimizer, [w])
    with pytest.raises(MemoryError):
        optimizer.apply_gradients(pairs)
    assert len(calls) == 4
    assert state(optimizer, [w]) == before


def test_what_a_constraint_calls_is_refused_in_the_middle_of_a_step(tmp_path: Path) -> None:
    """Saves, loads, weights and steps inside a constraint are errors that change nothing."""
    optimizer = Adamax(0.1)
    calls: dict[str, Callable[[], Any]] = {}
    w = Variable(np.ones(2), name="w", constraint=lambda x: calls["now"]() or x)
    v = Variable(np.ones(2), name="v")
    calls["now"] = lambda: None
    pairs = [(np.ones(2), v), (np.ones(2), w)]
    optimizer.apply_gradients(pairs)
    save_checkpoint(tmp_path / "file", optimizer)
    before = state(optimizer, [w, v])
    weights = optimizer.get_weights()
    for name, call in {
        "save": lambda: save_checkpoint(tmp_path / "other", optimizer),
        "load": lambda: load_checkpoint(tmp_path / "file", optimizer) and None,
        "get": optimizer.get_weights,
        "set": lambda: optimizer.set_weights(weights),
        "step": lambda: optimizer.apply_gradients(pairs),
        "build": lambda: optimizer.build([w]),
        "pickle": lambda: pickle.dumps(optimizer),
        "copy": lambda: copy.deepcopy(optimizer),
    }.items():
        calls["now"] = call
        with pytest.raises(RuntimeError, match="Expected a call between two steps"):
            optimizer.apply_gradients(pairs)
        calls["now"] = lambda: None
        assert state(optimizer, [w, v]) == before, name
    assert not (tmp_path / "other").exists()


def test_a_callable_rate_may_save_what_is_there(tmp_path: Path) -> None:
    """The learning rate is asked for before anything moves: the file is of the step before."""
    w = Variable(np.ones(2), name="w")

    def rate() -> float:
        if not saving:
            saving.append(True)  # the file has the rate in it, so that saving asks for it too
            save_checkpoint(tmp_path / "file", optimizer)
            saving.clear()
        return 0.1

    saving: list[bool] = []

    optimizer = Adamax(rate)
    for _ in range(3):
        optimizer.apply_gradients([(np.ones(2), w)])
    other, twin = Adamax(), Variable(np.zeros(2), name="w")
    load_checkpoint(tmp_path / "file", other, [twin])
    assert int(other.iterations) == 2
    np.testing.assert_allclose(twin.value, 0.8, rtol=1e-6)


@contextmanager
def training(optimizer: Adamax) -> Iterator[None]:
    """Let a thread train four variables, whose elements are all alike, while the block runs."""
    variables = [Variable(np.ones(20_000), name=f"w{i}") for i in range(4)]
    gradient, done = np.ones(20_000), threading.Event()

    def train() -> None:
        while not done.is_set():
            optimizer.apply_gradients([(gradient, x) for x in variables])

    optimizer.apply_gradients([(gradient, x) for x in variables])
    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("look", ["get_weights", "pickle", "deepcopy"])
def test_moments_that_are_read_beside_a_thread_are_of_one_step(
    look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, pickles and copies that are made while a thread trains hold one step."""
    monkeypatch.setattr(threads, "PART_ELEMENTS", 1000)
    optimizer = Adamax(0.1)
    looks: dict[str, Callable[[], list[Array]]] = {
        "get_weights": optimizer.get_weights,
        "pickle": lambda: pickle.loads(pickle.dumps(optimizer)).get_weights(),
        "deepcopy": lambda: copy.deepcopy(optimizer).get_weights(),
    }
    with training(optimizer):
        for _ in range(30):
            t, *moments = looks[look]()
            assert {float(m[k]) for m in moments[:4] for k in (0, -1)} == {float(moments[0][0])}
            assert moments[0][0] == pytest.approx(1 - 0.9 ** int(t), rel=1e-9)


def ran(code: str, *arguments: str) -> str:
    """Return what a fresh interpreter prints, in which no other library has threads."""
    path = os.pathsep.join(str(Path(str(p.__file__)).parents[1]) for p in (adamax, adamax_adapters))
    env = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


FORKS = """
import os, sys, threading, time, warnings
import numpy as np
from adamax import Adamax, Variable, load_checkpoint, save_checkpoint

warnings.simplefilter("ignore")  # Python warns of any fork beside threads
folder, gradient = sys.argv[1], np.ones(20_000)
variables = [Variable(np.ones(20_000), name=f"w{i}") for i in range(4)]
optimizer, done = Adamax(0.1), threading.Event()

def train():
    while not done.is_set():
        optimizer.apply_gradients([(gradient, x) for x in variables])

optimizer.apply_gradients([(gradient, x) for x in variables])
threading.Thread(target=train, daemon=True).start()
for i in range(10):
    time.sleep(0.002)
    child = os.fork()
    if child == 0:
        save_checkpoint(f"{folder}/{i}", optimizer)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for i in range(10):
    twins = [Variable(np.zeros(20_000), name=f"w{k}") for k in range(4)]
    load_checkpoint(f"{folder}/{i}", Adamax(), twins)
    print(len({float(x.value[k]) for x in twins for k in (0, -1)}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_beside_a_step_saves_one_step(tmp_path: Path) -> None:
    """The child does not wait for a lock that nobody there holds, and sees no half of a step."""
    assert ran(FORKS, str(tmp_path)).split() == ["1"] * 10


FORKS_FIRST = """
import os
from adamax import Adamax

optimizer = Adamax()

from concurrent.futures import thread

class Lock:
    def acquire(self):
        print(thread._global_shutdown_lock.locked(), flush=True)

    def release(self):
        pass

optimizer._slots._guard._lock = Lock()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_steps_before_it_takes_the_lock_of_executors() -> None:
    """A step that is about to start threads needs that lock: neither waits for the other."""
    assert ran(FORKS_FIRST).split() == ["False"]


def test_threads_that_cannot_start_leave_the_work_to_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that is about to end starts no threads, and its step is finished without."""

    class Ended:
        def submit(self, *_: Any) -> Any:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(threads, "PART_ELEMENTS", 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(threads, "_pool", lambda process: Ended())
    w = Variable(np.ones(1000))
    Adamax(0.1, backend="numpy").apply_gradients([(np.ones(1000), w)])
    np.testing.assert_allclose(w.value, 0.9, rtol=1e-6)
