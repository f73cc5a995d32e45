"""What a run is set to do, as options give it and as its folder remembers it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adamax import validation
from adamax.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PolynomialDecay,
)
from adamax_adapters.files.durable import write_whole

__all__ = ["SCHEDULES", "Settings", "UserError", "option", "read_run", "resumed", "write_run"]

FORMAT = 1
"""Version of the layout of a run's folder."""

SCHEDULES: Mapping[str, Callable[[float, int], float | LearningRateSchedule]] = {
    "constant": lambda rate, steps: rate,
    "cosine": CosineDecay,
    "exponential": lambda rate, steps: ExponentialDecay(rate, steps, 0.01),
    "linear": lambda rate, steps: PolynomialDecay(rate, steps, 0.0),
}
"""Names of schedules, and how they are made of the first learning rate and the number of steps."""


class UserError(Exception):
    """Something the user can put right; its message is one line."""


def _setting(default: Any, what: str) -> Any:
    return field(default=default, metadata={"help": what})


@dataclass(frozen=True)
class Settings:
    """One run; every field is an option of the command."""

    text: str | None = _setting(None, "UTF-8 file to learn from; without it, Python's own manual")
    backend: str = _setting("numpy", "array library to compute with")
    steps: int = _setting(2000, "steps of the optimizer")
    batch: int = _setting(256, "words predicted in a step")
    learning_rate: float = _setting(0.01, "learning rate of the first step")
    schedule: str = _setting("cosine", f"how the rate falls: {', '.join(SCHEDULES)}")
    clipnorm: float | None = _setting(None, "largest L2 norm of each gradient")
    clipvalue: float | None = _setting(None, "largest element of a gradient, of either sign")
    global_clipnorm: float | None = _setting(None, "largest common L2 norm of all gradients")
    context: int = _setting(4, "previous words that the model sees")
    embedding: int = _setting(64, "numbers that stand for a word")
    hidden: int = _setting(128, "units of the tanh layer")
    vocabulary: int = _setting(4096, "words at most; all others are one unknown word")
    seed: int = _setting(0, "of the first values and of the batches")
    checkpoint_every: int = _setting(500, "steps after which everything is saved")

    def __post_init__(self) -> None:
        for name in "steps batch context embedding hidden vocabulary checkpoint_every".split():
            if getattr(self, name) < 1:
                raise UserError(f"{option(name)} must be at least 1, got {getattr(self, name)}")
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
                    validation.non_negative(value, option(name))
            except ValueError as error:
                raise UserError(str(error)) from None

    def rate(self) -> float | LearningRateSchedule:
        """Return the learning rate of the optimizer."""
        return SCHEDULES[self.schedule](self.learning_rate, self.steps)


def option(name: str) -> str:
    """Return the option of the command that sets a field."""
    return "--" + name.replace("_", "-")


def write_run(path: Path, settings: Settings, digest: str) -> None:
    """Write what a run needs to be resumed: its settings and the sha256 of its text."""
    content = {"format": FORMAT, "settings": asdict(settings), "text_sha256": digest}
    write_whole(path, [(json.dumps(content, indent=2) + "\n").encode()])


def read_run(path: Path) -> tuple[Settings, str]:
    """Return what `write_run` wrote; UserError if there is no run or it is damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{path} has the format {content['format']!r}, expected {FORMAT}")
        return Settings(**content["settings"]), str(content["text_sha256"])
    except FileNotFoundError:
        raise UserError(f"there is no run to resume: {path} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def resumed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a run, if the options given with --resume do not change them."""
    for name, value in given.items():
        before = getattr(settings, name)
        if value != before:
            raise UserError(
                f"{option(name)} {value} conflicts with the run that is to be resumed, which has "
                f"{before}: leave it out, or start a new run in another folder"
            )
    return settings
