"""What a step may cost, counted: passes, calls, plans, copies and compilations, not seconds."""

import os
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adamax
import adamax_adapters
from adamax import Adamax, IndexedSlices, Variable
from adamax_adapters.backends import BackendName, threads
from adamax_adapters.backends import numpy as numpy_backend
from adamax_adapters.step import identity

Array = Any

MIB = 1 << 20


@contextmanager
def peak() -> Iterator[list[int]]:
    """Give a list into which the most bytes that the block holds at once are written."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, *names: str) -> Counter[str]:
    """Return a counter of the calls of functions of a module."""
    calls: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return count

    for name in names:
        monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    return calls


def ones(count: int, size: int = 1000) -> list[Variable]:
    return [Variable(np.ones(size, np.float32)) for _ in range(count)]


def gradients(params: list[Variable]) -> list[tuple[Array, Variable]]:
    return [(np.ones(p.shape, np.float32), p) for p in params]


@pytest.mark.parametrize(("backend", "most"), [("numpy", 5 * MIB), ("numba", MIB)])
def test_a_large_step_needs_no_memory_of_its_own(
    backend: BackendName, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside 16 MiB of parameters a step holds a block per thread, however many cores there are."""
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    pytest.importorskip(f"adamax_adapters.backends.{backend}")
    params, optimizer = ones(1, 1 << 22), Adamax(backend=backend)
    pairs = gradients(params)
    optimizer.apply_gradients(pairs)
    with peak() as found:
        optimizer.apply_gradients(pairs)
    assert found[0] < most


def test_the_plain_rule_would_need_more() -> None:
    """The measure above can fail: array by array, the same step needs several copies."""
    params, optimizer = ones(1, 1 << 22), Adamax(backend="standard")
    pairs = gradients(params)
    optimizer.apply_gradients(pairs)
    with peak() as found:
        optimizer.apply_gradients(pairs)
    assert found[0] > 32 * MIB


OPERATIONS = ("abs", "add", "divide", "maximum", "multiply", "subtract")


def test_a_block_is_passed_over_once_by_each_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy is called ten times a block, as the rule has ten instructions."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    size = 5 * numpy_backend.BLOCK_BYTES // 4 + 1  # of float32: five blocks and one element
    params, optimizer = ones(1, size), Adamax(backend="numpy")
    pairs = gradients(params)
    optimizer.apply_gradients(pairs)
    calls = counted(monkeypatch, np, *OPERATIONS)
    optimizer.apply_gradients(pairs)
    assert sum(calls.values()) == 6 * 10
    assert calls["maximum"] == calls["abs"] == calls["divide"] == 6


def test_small_arrays_are_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 200 small arrays, NumPy is called as for one array of their elements."""
    calls = counted(monkeypatch, np, *OPERATIONS, "concatenate")
    params, optimizer = ones(200), Adamax(backend="numpy")
    pairs = gradients(params)
    optimizer.apply_gradients(pairs)
    calls.clear()
    optimizer.apply_gradients(pairs)
    assert calls.pop("concatenate") == 2  # gradients, parameters
    assert sum(calls.values()) == 10 * -(-200 * 1000 * 4 // numpy_backend.GATHERED_BLOCK_BYTES)


def test_numba_gathers_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With numba, small parameters are not gathered: one loop finds them where they are."""
    pytest.importorskip("numba")
    params, optimizer = ones(200), Adamax(backend="numba")
    pairs = gradients(params)
    optimizer.apply_gradients(pairs)
    calls = counted(monkeypatch, np, "concatenate")
    optimizer.apply_gradients(pairs)
    assert calls["concatenate"] == 1


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("count", "size", "most"), [(2, 10, MIB // 16), (600, 1000, 4 * MIB)])
def test_prepared_steps_hold_what_they_need(
    backend: BackendName, count: int, size: int, most: int
) -> None:
    """Buffers are as large as a few small arrays, and no larger for ever more of them."""
    pytest.importorskip(f"adamax_adapters.backends.{backend}")
    params, optimizer = ones(count, size), Adamax(backend=backend)
    optimizer.build(params)
    pairs = gradients(params)
    Adamax(backend=backend).apply_gradients(pairs)  # compiles
    with peak() as found:
        optimizer.apply_gradients(pairs)
    assert found[0] < most


@pytest.mark.parametrize("raw", [False, True])
def test_slots_are_made_in_linear_time(raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many variables take twice as many looks at memory to build, not four times."""
    places = counted(monkeypatch, identity, "memory_of")
    looks = []
    for count in (50, 100):
        arrays = [np.ones(2) for _ in range(count)]
        places.clear()
        Adamax().build(arrays if raw else [Variable(x) for x in arrays])
        looks.append(places["memory_of"])
    assert 0 < looks[1] == 2 * looks[0]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_rows_cost_what_is_touched(backend: BackendName) -> None:
    """In a table of 40 MiB a step of 50 rows holds less than 1 MiB."""
    pytest.importorskip(f"adamax_adapters.backends.{backend}")
    table = Variable(np.ones((10 * MIB // 64, 64), np.float32))
    indices = np.random.default_rng(0).permutation(table.shape[0])[:50]
    slices = IndexedSlices(np.ones((50, 64), np.float32), indices)
    optimizer = Adamax(backend=backend)
    optimizer.apply_gradients([(slices, table)])
    with peak() as found:
        optimizer.apply_gradients([(slices, table)])
    assert found[0] < MIB


def test_jax_compiles_a_step_once() -> None:
    """When the first steps are done, neither t nor the learning rate compiles anything again."""
    jnp = pytest.importorskip("jax.numpy")
    step = pytest.importorskip("adamax_adapters.backends.jax")._dense_step
    w, optimizer = Variable(jnp.ones(7)), Adamax(0.1)
    sizes = []
    for t in range(6):
        optimizer.learning_rate = 0.1 / (t + 1)
        optimizer.apply_gradients([(jnp.ones(7), w)])
        sizes.append(step._cache_size())
    assert len(set(sizes[1:])) == 1


def test_jax_guards_products_that_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the three products of the rule, the two that are summands are kept from being fused."""
    jnp = pytest.importorskip("jax.numpy")
    backend = pytest.importorskip("adamax_adapters.backends.jax")
    guards = counted(monkeypatch, backend, "_rounded")
    Adamax().apply_gradients([(jnp.ones(13), Variable(jnp.ones(13)))])
    assert guards == {"_rounded": 2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """After threads have been used, a fork takes a step too, instead of waiting for them."""
    code = """
import os, warnings
import numpy as np
from adamax import Adamax, Variable
from adamax_adapters.backends import threads

warnings.simplefilter("ignore")  # Python warns of any fork beside threads
threads.PART_ELEMENTS = 50
def work(start, stop):
    done[start:stop] = 1
done = np.zeros(100)
threads.share_out(work, 100)
child = os.fork()
done[:] = 0
threads.share_out(work, 100)
if child == 0:
    os._exit(0 if done.all() else 1)
print(os.waitpid(child, 0)[1], int(done.sum()))
"""
    path = os.pathsep.join(str(Path(str(p.__file__)).parents[1]) for p in (adamax, adamax_adapters))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "100"]


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten elements are enough for a second thread."""
    monkeypatch.setattr(threads, "PART_ELEMENTS", 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def test_what_a_thread_raises_is_raised(two_threads: None) -> None:
    """An error in any of the threads reaches the caller, after all have ended."""
    caller, both, met = threading.get_ident(), threading.Barrier(2), set()

    def work(start: int, stop: int) -> None:
        if (thread := threading.get_ident()) not in met:
            met.add(thread)
            both.wait(60)  # for the other's first range
        if thread != caller:
            raise RuntimeError("in a thread")

    with pytest.raises(RuntimeError, match="in a thread"):
        threads.share_out(work, 10)
    assert len(met) == 2


def test_ranges_make_up_the_whole(two_threads: None) -> None:
    """Every element is in one range, whichever thread takes it."""
    for size in (10, 11, 97, 1000):
        times = np.zeros(size, np.int64)

        def work(start: int, stop: int, times: Array = times) -> None:
            times[start:stop] += 1

        threads.share_out(work, size)
        np.testing.assert_array_equal(times, 1)


def test_a_thread_that_is_late_holds_up_nothing(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other thread comes, the caller does everything and waits for nobody."""
    busy, done = ThreadPoolExecutor(1), threading.Event()
    busy.submit(done.wait, 60)
    monkeypatch.setattr(threads, "_pool", lambda process: busy)
    ranges: list[tuple[int, int]] = []
    threads.share_out(lambda start, stop: ranges.append((start, stop)), 100)
    done.set()
    busy.shutdown()
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 100
    assert [stop for _, stop in ranges[:-1]] == [start for start, _ in ranges[1:]]


def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_NUM_THREADS decides; without it, or with nonsense, the cores of this process do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads.cores() == 7
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    for nonsense in ("", "0", "-3", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert threads.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.cores() == 1
