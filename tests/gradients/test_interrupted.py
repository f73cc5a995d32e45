"""A loss that is interrupted anywhere leaves nothing behind: no reader, and no running loss."""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any

import numpy as np
import pytest

from adamax import Variable
from adamax.reading import current_loss, running
from adamax_adapters.gradients import EngineName, value_and_gradients


class Interrupt(KeyboardInterrupt):
    """A Ctrl-C that no code catches by mistake."""


def interrupted_at(moment: int, function: Callable[[], Any]) -> bool:
    """Call `function`, raise before the instruction of that number, and say if it came to it."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_globals.get("__name__", "").startswith("adamax"):
            return None
        frame.f_trace_opcodes = True
        if event in ("opcode", "call"):
            count += 1
            if count == moment:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Interrupt):
            function()
    finally:
        sys.settrace(before)
    return count >= moment


# Python swallows what is raised in a generator that it closes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("engine", ["tape", "autograd", "jax", "torch"])
def test_an_interrupt_at_any_instruction_leaves_no_loss_behind(engine: EngineName) -> None:
    """After a Ctrl-C before any instruction, variables can be assigned to and differentiated."""
    if engine != "tape":
        pytest.importorskip(engine)
    library = {"jax": "jax.numpy", "torch": "torch"}.get(engine, "numpy")
    w = Variable(import_module(library).asarray(np.array([1.0, 2.0])))

    def differentiate() -> Any:
        return value_and_gradients(lambda: (w.value * w.value)[0], [w], engine=engine)

    differentiate()  # what is imported and compiled once is done
    moment = 1
    while interrupted_at(moment, differentiate):
        assert current_loss() is None
        assert w.value is w.value
        assert not running
        moment += 3 if engine == "tape" else 29  # tracing other libraries takes long
    assert moment > 200
    w.assign([3.0, 0.0])
    assert float(differentiate()[1][0][0]) == 6.0
