"""Steps launched as a CUDA graph: the step size of each, and the counter, are those of its step."""

from typing import Any

import numpy as np
import pytest
from cuda_emulator import needs_gxx
from libraries import Usage

from adamax import Adamax, Variable, schedules
from adamax.rule import coefficients, step

pytest.importorskip("cupy")

from emulated_cupy import HostArray, as_cupy, host
from emulated_launches import Graph, Host, Stream

from adamax_adapters.keras_style.cuda_graph import captured

__all__ = ["host"]  # a fixture

pytestmark = [needs_gxx, pytest.mark.feature("schedules", usage=Usage.CUPY_ON_HOST)]


def numpy_steps(p: Any, gradients: list[Any], rates: list[float]) -> tuple[Any, Any, Any]:
    m, u = np.zeros_like(p), np.zeros_like(p)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        c = coefficients(t, learning_rate=rate, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
        p, m, u = step(p, g, m, u, c)
    return p, m, u


def test_launches_take_the_steps_of_their_turn(host: Host) -> None:
    """Under a schedule, one step and four launches are five steps of NumPy, with new gradients."""
    rng = np.random.default_rng(0)
    p, gradients = rng.standard_normal((3, 2)), list(rng.standard_normal((5, 3, 2)))
    rate = schedules.ExponentialDecay(0.1, 1, 0.5)
    opt = Adamax(rate, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
    wanted = numpy_steps(p, gradients, [float(rate(t)) for t in range(5)])
    variable, g = Variable.of_array(as_cupy(p), "p"), gradients[0].copy()
    pairs = [(as_cupy(g), variable)]
    launch = captured(opt, lambda: opt.apply_gradients(pairs))
    assert (int(opt.iterations), len(host.launches)) == (1, 1)
    for t in range(1, 5):
        g[...] = gradients[t]
        assert int(launch().numpy()) == t + 1
    m, u = (opt.get_slot(variable, name).value.data.mem.held for name in ("m", "v"))
    for got, want in zip((p, m, u), wanted, strict=True):
        assert np.array_equal(got.reshape(want.shape), want)
    assert len(host.launches) == 5


def test_a_step_that_fails_while_it_is_recorded_counts_as_none(host: Host) -> None:
    """The first step stays; the recorded one, which was not taken, does not count."""
    opt = Adamax()
    calls: list[None] = []
    pairs = [(as_cupy(np.ones(2)), Variable.of_array(as_cupy(np.ones(2)), "p"))]

    def fails_again() -> None:
        opt.apply_gradients(pairs)
        calls.append(None)
        if len(calls) == 2:
            raise ArithmeticError("the loss of the second step")

    with pytest.raises(ArithmeticError):
        captured(opt, fails_again)
    assert int(opt.iterations) == 1
    assert len(host.launches) == 1


def test_an_invalid_capture_counts_as_no_step(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """If CUDA refuses to end a capture, the optimizer is as after the first step, and goes on."""
    p, gradient = np.ones(2), np.full(2, 0.5)
    wanted, _, _ = numpy_steps(p.copy(), [gradient] * 2, [0.001] * 2)
    pairs = [(as_cupy(gradient), Variable.of_array(as_cupy(p), "p"))]
    opt = Adamax(beta_2=0.99)

    def invalidated(stream: Stream) -> Graph:
        stream.host.recording = None
        raise RuntimeError("cudaErrorStreamCaptureInvalidated")

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "end_capture", invalidated)
        with pytest.raises(RuntimeError, match="Invalidated"):
            captured(opt, lambda: opt.apply_gradients(pairs))
    assert (int(opt.iterations), len(host.launches)) == (1, 1)
    opt.apply_gradients(pairs)
    assert int(opt.iterations) == 2
    assert np.array_equal(p, wanted)


@pytest.mark.parametrize("dtypes", [["float32"], ["float64"], ["float32", "float64"]])
def test_a_launch_writes_the_step_sizes_that_are_read(
    host: Host, monkeypatch: pytest.MonkeyPatch, dtypes: list[str]
) -> None:
    """One number is written for each dtype of slots, and none for a dtype without slots."""
    pairs = [
        (as_cupy(np.ones(2, dtype)), Variable.of_array(as_cupy(np.ones(2, dtype)), dtype))
        for dtype in dtypes
    ]
    opt = Adamax()
    launch = captured(opt, lambda: opt.apply_gradients(pairs))
    written: list[str] = []
    monkeypatch.setattr(HostArray, "fill", lambda self, value: written.append(self.dtype.name))
    launch()
    assert sorted(written) == dtypes
