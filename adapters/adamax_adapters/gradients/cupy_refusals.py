"""Errors of the functions of CuPy that accept its own arrays alone, made into advice.

Most of what is not elementwise and not a method is compiled for `cupy.ndarray`, and cannot be
hooked. NumPy's function of the same name can: it asks the tracer first, and then calls CuPy's.
"""

import re
from collections.abc import Callable, Iterator
from itertools import dropwhile
from types import FrameType
from typing import Any

from adamax.variable import Variable
from adamax_adapters.gradients.derivatives import CONSTANT, NUMPY_NAMES, RULES, SEQUENCE_RULES
from adamax_adapters.gradients.traced import COMPOSED, Traced

__all__ = ["advised"]

NAMED = re.compile(rf"cupy.*\b({Traced.__name__}|{Variable.__name__})\b")


def advised(loss: Callable[[], Any]) -> Any:
    """Call the loss; if CuPy refuses a tracer in it, say by which function and what works.

    CuPy's own errors are of several types, and name neither the function nor a way out.

    Raises
    ------
    TypeError
        In place of CuPy's error. All other errors of the loss are raised as they are.
    """
    try:
        return loss()
    except (AttributeError, TypeError, ValueError) as error:
        if (advice := _refusal(error)) is None:
            raise
        raise advice from error


def _refusal(error: Exception) -> TypeError | None:
    """Return an error with the way out, if `error` is CuPy's refusal of a tracer; else None."""
    frames = list(dropwhile(lambda frame: not _is_in(frame, "cupy"), _frames(error)))
    came_back = [frame.f_code.co_name for frame in frames if _is_in(frame, "adamax_adapters")]
    passed_on = any(map(_is_given_a_tracer, frames[:1]))
    by_cupy = not came_back or came_back[-1] in ("__array__", "__getattr__")
    if not (passed_on and by_cupy) and not NAMED.search(str(error)):
        return None
    return TypeError(_advice(_function(frames[0]) if frames else None))


def _advice(name: str | None) -> str:
    called = NUMPY_NAMES.get(name or "", name)
    if called in {*RULES, *SEQUENCE_RULES, *COMPOSED, *CONSTANT}:
        way_out = f"use {'@ or ' * (name == 'matmul')}numpy.{name}, which calls it"
    else:
        way_out = (
            "use others, such as @, numpy.sum and numpy.concatenate, or return (value, gradients)"
        )
    return (
        f"Expected cupy.ndarray, received what depends on variables, for cupy.{name or 'ndarray'}: "
        f"this function accepts nothing else and cannot be traced; {way_out}"
    )


def _frames(error: Exception) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _is_in(frame: FrameType, package: str) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == package


def _function(frame: FrameType) -> str:
    """Return the name of a function of CuPy: compiled ones have dots, objects have their own."""
    name = frame.f_code.co_name.rpartition(".")[2]
    return str(frame.f_locals["self"].__name__) if name == "__call__" else name


def _is_given_a_tracer(frame: FrameType) -> bool:
    return any(map(_holds_a_tracer, frame.f_locals.values()))


def _holds_a_tracer(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_holds_a_tracer, x))
    return isinstance(x, (Traced, Variable))
