"""The loss of every step: kept on the device until it is asked for, as a table and as a picture."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adamax._arrays import Array, array_namespace, to_numpy
from adamax_adapters.checkpoint.durable import write_whole
from adamax_adapters.cli.train.settings import UserError

__all__ = ["History", "draw", "read_history", "write_history"]

COLUMNS = ("step", "loss", "learning_rate")
SMOOTHED_STEPS = 50  # that the curve takes the mean of


class History:
    """The losses of a run, step by step."""

    def __init__(self, losses: Sequence[float] = ()) -> None:
        self._losses = list(losses)
        self._pending: list[Array] = []

    def add(self, loss: Array) -> None:
        """Record the loss of the next step, without waiting for the device that computes it."""
        self._pending.append(loss)

    def losses(self) -> list[float]:
        """Return all losses; waits for those that are still being computed."""
        if self._pending:
            xp = array_namespace(self._pending[0])
            self._losses += to_numpy(xp.stack(self._pending)).tolist()
            self._pending.clear()
        return self._losses


def write_history(path: Path, losses: Sequence[float], rate: Callable[[int], float]) -> None:
    """Write a CSV of one row a step, with the learning rate that it used."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    # Steps count from 1, and the first uses the rate at 0.
    writer.writerows((i + 1, repr(loss), repr(rate(i))) for i, loss in enumerate(losses))
    write_whole(path, [text.getvalue().encode()])


def read_history(path: Path, steps: int) -> list[float]:
    """Return the losses of the first `steps` steps; UserError if the file does not hold them."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from None
    if len(losses) < steps:
        raise UserError(
            f"Expected at least {steps} steps, those of the checkpoint, found {len(losses)}, "
            f"in {path}"
        )
    return losses[:steps]


def draw(path: Path, losses: Sequence[float], held_out: float, baseline: float) -> None:
    """Draw the loss against the step, with the held-out loss and that of the unigram baseline.

    Parameters
    ----------
    path : path of a PNG
    losses : sequence of float
        One a step, in nats a word.
    held_out, baseline : float
        Perplexities.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="each batch")
    if len(losses) >= SMOOTHED_STEPS:
        smooth = np.convolve(losses, np.full(SMOOTHED_STEPS, 1 / SMOOTHED_STEPS), "valid")
        name = f"mean of {SMOOTHED_STEPS} batches"
        axes.plot(steps[SMOOTHED_STEPS - 1 :], smooth, color="tab:blue", linewidth=1.8, label=name)
    for perplexity, color, name in (
        (baseline, "tab:gray", "unigram baseline, held out"),
        (held_out, "tab:orange", "this model, held out"),
    ):
        label = f"{name}: perplexity {perplexity:.1f}"
        axes.axhline(np.log(perplexity), color=color, linestyle="--", linewidth=1.2, label=label)
    axes.set(title="A language model trained with Adamax", xlabel="step", ylabel="nats a word")
    axes.grid(alpha=0.3)
    axes.legend(framealpha=1.0)
    picture = io.BytesIO()
    # Without the version of matplotlib in it, equal runs give equal files.
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_whole(path, [picture.getvalue()])
