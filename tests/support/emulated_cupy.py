"""CuPy's own arrays over the host's memory, with emulated launches: CuPy without a GPU.

Whatever is not replaced here still needs a device, so that a test which passes has allocated
nothing on one, and has not waited for one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from emulated_launches import Device, Host, Stream

pytest.importorskip("cupy")

import cupy

from adamax_adapters.backends import cupy as backend

_BaseMemory: Any = cupy.cuda.BaseMemory


class HostMemory(_BaseMemory):  # type: ignore[misc]
    """Memory of the host, which CuPy takes for that of a device."""

    held: Any  # keeps it alive


class HostArray(cupy.ndarray):  # type: ignore[misc]
    """A CuPy array over the host's memory, which can be filled there."""

    def fill(self, value: float) -> None:
        memory: Any = self.data.mem.held
        memory[...] = value


def as_cupy(array: Any, device: int = 0) -> Any:
    """Return a CuPy array that shares the memory of a NumPy array."""

    memory = HostMemory()
    memory.ptr, memory.size, memory.device_id = array.ctypes.data, array.nbytes, device
    memory.held = array
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return HostArray(array.shape, array.dtype, pointer, array.strides)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """Emulate `cupy.zeros`, which alone makes the slots of an optimizer."""
    return as_cupy(np.zeros(shape, dtype, order))  # type: ignore[call-overload]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Let CuPy launch in the emulator."""
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
