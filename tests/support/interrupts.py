"""Exceptions that come at a chosen instruction, as one from a signal handler may come at any."""

import sys
import warnings
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

__all__ = ["Interrupt", "interrupted_at_every_instruction"]


class Interrupt(BaseException):
    """What a signal handler may raise, such as KeyboardInterrupt."""


def interrupted_at_every_instruction(call: Callable[[], Any], *modules: ModuleType) -> int:
    """Run `call` until it ends, each time interrupted one instruction of `modules` later.

    Returns
    -------
    int
        How often it was interrupted. The caller checks inside `call` what each one has left.
    """
    files = {module.__file__ for module in modules}
    before = sys.gettrace()
    # Python 3.12 traces instructions only if a frame has asked for it before the tracer is set.
    sys._getframe().f_trace_opcodes = True
    number = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of a file that nobody could close
        while True:
            sys.settrace(_interrupting(files, number))
            try:
                call()
            except Interrupt:
                number += 1
            else:
                return number
            finally:
                sys.settrace(before)


def _interrupting(files: set[str | None], after: int) -> Callable[..., Any]:
    left = [after]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            if not left[0]:
                raise Interrupt
            left[0] -= 1
        return trace

    return trace
