"""Emulated launches: what of `cupy.cuda` a step needs, on arrays over the host's memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from cuda_emulator import on_host


class Launch(NamedTuple):
    """One launch: of which kernel, with what, and on which device."""

    name: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    device: int


class Host:
    """What a test sees of the emulator: the launches, and how often a kernel was made."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.kernels: list[tuple[str, str, tuple[str, ...]]] = []
        self.device = 0
        self.recording: list[Callable[[], None]] | None = None

    def kernel(self, code: str, name: str, options: tuple[str, ...]) -> Callable[..., None]:
        """Emulate `cupy.RawKernel`."""
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
    if hasattr(x, "data") and hasattr(x.data, "ptr"):
        return np.array(x.data.ptr)
    assert type(x) in (np.float32, np.float64, np.int64) or (type(x) is np.ndarray and x.size == 1)
    return x.copy()


class Device:
    """An emulated `cupy.cuda.Device`: the device that is current inside."""

    def __init__(self, host: Host, number: int) -> None:
        self.host, self.number = host, number

    def __enter__(self) -> None:
        self.before, self.host.device = self.host.device, self.number

    def __exit__(self, *error: object) -> None:
        self.host.device = self.before


class Stream:
    """An emulated `cupy.cuda.Stream`: launches are noted while a graph is recorded."""

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
    """An emulated `cupy.cuda.Graph`: launches that were noted."""

    def __init__(self, noted: list[Callable[[], None]]) -> None:
        self.noted = noted

    def launch(self) -> None:
        for run in self.noted:
            run()
