"""What a run is set to do, as options give it and as its folder remembers it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from adamax import validation
from adamax.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PolynomialDecay,
)
from adamax_adapters.durable import write_whole

__all__ = ["FORMAT", "SCHEDULES", "Settings", "UserError", "read_run", "resumed", "write_run"]

FORMAT = 1
"""Version of the layout of a run's folder."""


class UserError(Exception):
    """Something the user can put right; its message is one line."""


@dataclass(frozen=True)
class Settings:
    """One run; every field is an option of the command."""

    text: str | None = None  # path of a file; None is the documentation that Python ships
    backend: str = "numpy"
    steps: int = 2000
    batch: int = 256  # words predicted in a step
    learning_rate: float = 0.004
    schedule: str = "cosine"
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    context: int = 4  # previous words that the model sees
    embedding: int = 64  # numbers that stand for a word
    hidden: int = 128  # units of the tanh layer
    vocabulary: int = 4096  # words at most; the others are one unknown word
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "context", "embedding", "hidden", "vocabulary"):
            if getattr(self, name) < 1:
                raise UserError(f"{_option(name)} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise UserError(f"--seed must be at least 0, got {self.seed}")
        if self.schedule not in SCHEDULES:
            raise UserError(
                f"--schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
            )
        for name in ("learning_rate", "clipnorm", "clipvalue", "global_clipnorm"):
            value = getattr(self, name)
            try:
                if value is not None:
                    validation.non_negative(value, _option(name))
            except ValueError as error:
                raise UserError(str(error)) from None

    def rate(self) -> float | LearningRateSchedule:
        """Return the learning rate of the optimizer."""
        return SCHEDULES[self.schedule](self.learning_rate, self.steps)


SCHEDULES: Mapping[str, Callable[[float, int], float | LearningRateSchedule]] = {
    "constant": lambda rate, steps: rate,
    "cosine": CosineDecay,
    "exponential": lambda rate, steps: ExponentialDecay(rate, steps, 0.01),
    "linear": lambda rate, steps: PolynomialDecay(rate, steps, 0.0),
}
"""Names of schedules, and how they are made of the first learning rate and the number of steps."""


def write_run(folder: Path, settings: Settings, digest: str) -> None:
    """Write what a run needs to be resumed: its settings and the sha256 of its text."""
    content = {"format": FORMAT, "settings": asdict(settings), "text_sha256": digest}
    write_whole(folder / "run.json", [(json.dumps(content, indent=2) + "\n").encode()])


def read_run(folder: Path) -> tuple[Settings, str]:
    """Return what `write_run` wrote; UserError if there is no run or it is damaged."""
    path = folder / "run.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{path} has the format {content['format']!r}, expected {FORMAT}")
        return Settings(**content["settings"]), str(content["text_sha256"])
    except FileNotFoundError:
        raise UserError(f"there is no run to resume in {folder}: {path} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def resumed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a run, if the options given with --resume do not change them."""
    for field in fields(settings):
        before = getattr(settings, field.name)
        if given.get(field.name, before) != before:
            raise UserError(
                f"{_option(field.name)} {given[field.name]} conflicts with the run that is to be "
                f"resumed, which has {before}: leave it out, or start a new run in another folder"
            )
    return settings


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
