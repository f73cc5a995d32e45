"""CuPy's own arrays over the host's memory, and its launches on the host: a CuPy without a GPU.

Whatever is not replaced here still needs a device, so that a test which passes has allocated
nothing on one, and has not waited for one.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from host_cuda import on_host

pytest.importorskip("cupy")

import cupy

from adamax_adapters.backends import cupy as backend

_BaseMemory: Any = cupy.cuda.BaseMemory


class Launch(NamedTuple):
    """One launch: of which kernel, with what, and on which device."""

    name: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    device: int


class Host:
    """What a test sees of the stand-in: the launches, and how often a kernel was made."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.kernels: list[tuple[str, str, tuple[str, ...]]] = []
        self.device = 0
        self.recording: list[Callable[[], None]] | None = None

    def kernel(self, code: str, name: str, options: tuple[str, ...]) -> Callable[..., None]:
        """Stand in for `cupy.RawKernel`."""
        self.kernels.append((code, name, options))

        def launch(grid: tuple[int, ...], block: tuple[int], args: tuple[Any, ...]) -> None:
            passed = [as_passed(x) for x in args]  # copied here, as the driver does
            self.perform(
                Launch(name, grid, args, self.device),
                lambda: on_host(code, name)(grid, block[0], passed),
            )

        return launch

    def perform(self, launch: Launch, run: Callable[[], None]) -> None:
        """Do what is launched, or note it while a graph is recorded."""

        def done() -> None:
            self.launches.append(launch)
            run()

        if self.recording is None:
            done()
        else:
            self.recording.append(done)


def as_passed(x: Any) -> Any:
    """Return an argument as CuPy documents that it passes it; it checks none itself."""
    if isinstance(x, cupy.ndarray):
        return np.array(x.data.ptr)
    assert type(x) in (np.float32, np.float64, np.int64) or (type(x) is np.ndarray and x.size == 1)
    return x.copy()


class Device:
    """Stand in for `cupy.cuda.Device`: the device that is current inside."""

    def __init__(self, host: Host, number: int) -> None:
        self.host, self.number = host, number

    def __enter__(self) -> None:
        self.before, self.host.device = self.host.device, self.number

    def __exit__(self, *error: object) -> None:
        self.host.device = self.before


class HostMemory(_BaseMemory):  # type: ignore[misc]
    """Memory of the host, which CuPy takes for that of a device."""

    held: Any  # keeps it alive


class HostArray(cupy.ndarray):  # type: ignore[misc]
    """A CuPy array over the host's memory, which can be filled there."""

    def fill(self, value: float) -> None:
        memory: Any = self.data.mem.held
        memory[...] = value


class Stream:
    """Stand in for `cupy.cuda.Stream`: launches are noted while a graph is recorded."""

    def __init__(self, host: Host, non_blocking: bool) -> None:
        assert non_blocking  # the default stream cannot record
        self.host = host

    def __enter__(self) -> None:
        """Be the current stream."""

    def __exit__(self, *error: object) -> None:
        """Be it no longer."""

    def begin_capture(self) -> None:
        self.host.recording = []

    def end_capture(self) -> "Graph":
        assert self.host.recording is not None
        noted, self.host.recording = self.host.recording, None
        return Graph(noted)


class Graph:
    """Stand in for `cupy.cuda.Graph`."""

    def __init__(self, noted: list[Callable[[], None]]) -> None:
        self.noted = noted

    def launch(self) -> None:
        for run in self.noted:
            run()


def as_cupy(array: Any, device: int = 0) -> Any:
    """Return a CuPy array that shares the memory of a NumPy array."""

    memory = HostMemory()
    memory.ptr, memory.size, memory.device_id = array.ctypes.data, array.nbytes, device
    memory.held = array
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return HostArray(array.shape, array.dtype, pointer, array.strides)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """Stand in for `cupy.zeros`, which alone makes the slots of an optimizer."""
    return as_cupy(np.zeros(shape, dtype, order))  # type: ignore[call-overload]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Let CuPy launch on the host."""
    if cupy.is_available():
        pytest.skip("there is a GPU, on which the tests marked gpu run")
    try:
        as_cupy(np.zeros(1)).flags  # noqa: B018
    except AttributeError as error:
        pytest.skip(f"this CuPy makes no arrays over the host's memory: {error}")
    host = Host()
    monkeypatch.setattr(cupy, "RawKernel", host.kernel)
    monkeypatch.setattr(cupy.cuda, "Device", lambda number: Device(host, number))
    monkeypatch.setattr(cupy.cuda, "Stream", lambda non_blocking: Stream(host, non_blocking))
    monkeypatch.setattr(cupy, "zeros", zeros)
    backend._kernel.cache_clear()
    yield host
    backend._kernel.cache_clear()
