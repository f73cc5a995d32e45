"""Steps as a CUDA graph: what a step launches is recorded once and launched again as a whole."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cupy

from adamax._arrays import Array, is_cupy_array
from adamax.variable import Variable
from adamax_adapters.backends.cupy import scalars_from
from adamax_adapters.keras_style.hyperparameters import coefficients_of
from adamax_adapters.keras_style.optimizer import Adamax
from adamax_adapters.keras_style.weights import step_after

__all__ = ["captured"]


def captured(optimizer: Adamax, step: Callable[[], Any]) -> Callable[[], Variable]:
    """Take a step, and return a function that takes the next ones by launching a CUDA graph.

    Parameters
    ----------
    optimizer : Adamax
    step : callable ()
        Calls `apply_gradients` or `minimize` of the optimizer once. All that it reads is read
        again by every launch, from the same memory: new gradients are written where the first
        ones are, such as by ``gradient[...] = ...``.

    Returns
    -------
    callable () -> Variable
        Takes one step on the current stream and returns `iterations`, one higher.

    Raises
    ------
    CUDARuntimeError
        If the step does what a graph cannot record, such as wait for the device. The optimizer is
        as after the first step, and can be used.

    Notes
    -----
    The learning rate of every launch is that of its step, schedule and decay included. The other
    hyperparameters and the limits of clipping are as they were when the graph was recorded. All
    arrays are on the current device.
    """
    step_sizes = {dtype: cupy.zeros((), dtype) for dtype in ("float32", "float64")}
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    with scalars_from({"step_size": step_sizes}):
        # A step like any other, which makes the slots and compiles the kernels.
        _set_next(step_sizes, optimizer)
        step()
        done = int(optimizer.iterations)
        in_use = {weight.dtype.name for weight in optimizer.weights if is_cupy_array(weight.held)}
        # Memory that is used in between belongs to the graph, and to nobody else.
        with stream, cupy.cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            try:
                step()
            finally:  # nothing has been computed; and ending an invalid capture raises
                optimizer.iterations.assign(done)
                graph = stream.end_capture()
    step_sizes = {dtype: array for dtype, array in step_sizes.items() if dtype in in_use}
    return partial(_launch, optimizer, step_sizes, graph, pool)


def _launch(optimizer: Adamax, step_sizes: Mapping[str, Array], graph: Any, pool: Any) -> Variable:
    _set_next(step_sizes, optimizer)
    graph.launch()
    return optimizer.iterations.assign(step_after(optimizer.iterations))


def _set_next(step_sizes: Mapping[str, Array], optimizer: Adamax) -> None:
    """Write the step size of the next step, in the order of the current stream."""
    c = coefficients_of(optimizer, step_after(optimizer.iterations))
    for array in step_sizes.values():
        array.fill(c.step_size)
