"""Errors of the functions of CuPy that accept its own arrays alone, made into advice.

Most of what is not elementwise and not a method is compiled for `cupy.ndarray`, and cannot be
hooked. NumPy's function of the same name can: it asks the tracer first, and then calls CuPy's.
"""

import re
import sys
from collections.abc import Callable
from itertools import dropwhile, takewhile
from traceback import walk_tb
from types import FrameType
from typing import Any

import numpy as np

from adamax.variable import Variable
from adamax_adapters.gradients.derivatives import CONSTANT, NUMPY_NAMES, RULES, SEQUENCE_RULES
from adamax_adapters.gradients.tracer import COMPOSED, Tracer

__all__ = ["advised"]

WANTS = re.compile("cupy|Unsupported type", re.IGNORECASE)
NAMES = re.compile(rf"cupy.*\b({Tracer.__name__}|{Variable.__name__})\b")
"""Errors that ask for an array of CuPy's; and those that also name the type that they got."""


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
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    frames = list(dropwhile(lambda frame: not _is_in(frame, "cupy"), frames))
    asked = [frame.f_code.co_name for frame in frames if _is_in(frame, "adamax_adapters")]
    if asked:  # for what a tracer does not give
        refused = asked[-1] in ("__array__", "__getattr__")
    elif frames and _holds_a_tracer([*frames[0].f_locals.values()]):
        refused = WANTS.search(str(error)) is not None
    else:
        refused = NAMES.search(str(error)) is not None
    if not refused:
        return None
    return TypeError(_advice(_function(frames[0]) if frames else "a method of cupy.ndarray"))


def _advice(function: str) -> str:
    name = function.rpartition(".")[2]
    if _can_be_traced(name):
        way_out = f"use {'@ or ' * (name == 'matmul')}numpy.{name}, which calls it"
    else:
        way_out = (
            "use others, such as @, numpy.sum and numpy.concatenate, or return (value, gradients)"
        )
    return (
        f"Expected cupy.ndarray, received something that depends on variables, for {function}: it "
        f"accepts nothing else and cannot be traced; {way_out}"
    )


def _can_be_traced(name: str) -> bool:
    """Return whether NumPy's function of this name asks its arguments, and has a derivative."""
    function = getattr(np, name, None)
    asks = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    known = {*RULES, *SEQUENCE_RULES, *COMPOSED, *CONSTANT}
    return asks and NUMPY_NAMES.get(name, name) in known


def _is_in(frame: FrameType, package: str) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == package


def _function(frame: FrameType) -> str:
    """Return the name of a function of CuPy, with its public module.

    The names of compiled functions have dots, and objects that are called have their own.
    """
    name = frame.f_code.co_name.rpartition(".")[2]
    name = frame.f_locals["self"].__name__ if name == "__call__" else name
    public = takewhile(lambda part: part[0] != "_", frame.f_globals["__name__"].split("."))
    return f"{'cupy' if hasattr(sys.modules['cupy'], name) else '.'.join(public)}.{name}"


def _holds_a_tracer(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_holds_a_tracer, x))
    return isinstance(x, (Tracer, Variable))
