"""How a run shows that it advances: a live line on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from time import perf_counter

__all__ = ["Show", "progress"]

Show = Callable[[int, float], None]
"""Called with the number of steps done and their latest mean loss."""

LINES = 20  # plain lines in a whole run
BAR_CHARACTERS = 16


@contextmanager
def progress(start: int, steps: int, words: int) -> Iterator[Show]:
    """Give the block a function that prints how far it is.

    Parameters
    ----------
    start, steps : int
        Steps already done, and steps in all.
    words : int
        Words in a step.
    """
    began, due, live, line = perf_counter(), start + steps / LINES, sys.stdout.isatty(), ""

    def show(done: int, loss: float) -> None:
        nonlocal due, line
        if not live and done < due and done < steps:
            return
        due = done + steps / LINES
        speed = (done - start) * words / max(perf_counter() - began, 1e-9)
        left = (steps - done) * words / speed
        line = f"step {done}/{steps}  loss {loss:.3f}  {speed:,.0f} words/s  {left:.0f} s left"
        if live:
            full = BAR_CHARACTERS * done // steps
            width = get_terminal_size().columns - 1
            line = f"[{'#' * full}{'.' * (BAR_CHARACTERS - full)}] {line}"[:width].ljust(width)
        print(line, end="\r" if live else "\n", flush=True)

    try:
        yield show
    finally:
        if live and line:
            print()
