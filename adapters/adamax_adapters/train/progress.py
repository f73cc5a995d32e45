"""How a run shows that it goes on: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Show", "progress"]

Show = Callable[[int, float], None]
"""Called with the number of steps done and their latest mean loss."""

LINES = 20  # plain lines in a whole run


@contextmanager
def progress(console: Console, start: int, steps: int, words: int) -> Iterator[Show]:
    """Give the block a function that shows how far it is.

    Parameters
    ----------
    console : rich.console.Console
    start, steps : int
        Steps already done, and steps in all.
    words : int
        Words in a step.
    """
    began = perf_counter()

    def speed(done: int) -> float:
        return (done - start) * words / max(perf_counter() - began, 1e-9)

    if console.is_terminal:
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} words/s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=steps, completed=start, loss=float("nan"), speed=0.0)
            yield lambda done, loss: bar.update(task, completed=done, loss=loss, speed=speed(done))
        return

    due = start + steps / LINES

    def line(done: int, loss: float) -> None:
        nonlocal due
        if done >= due or done == steps:
            due = done + steps / LINES
            left = (steps - done) * words / speed(done)
            console.print(
                f"step {done}/{steps}  loss {loss:.3f}  {speed(done):,.0f} words/s  "
                f"{left:.0f} s left",
                highlight=False,
            )

    yield line
