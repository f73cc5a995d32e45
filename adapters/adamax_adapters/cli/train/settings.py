"""What a run is set to do, as options give it and as its folder remembers it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as short
from typing import Any, get_args

from adamax import validation
from adamax.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PolynomialDecay,
)
from adamax_adapters.checkpoint.durable import write_whole

__all__ = [
    "FORMER",
    "SCHEDULES",
    "Settings",
    "UserError",
    "kinds",
    "option",
    "read_run",
    "resumed",
    "write_run",
]

FORMAT = 1
"""Version of the layout of a run's folder."""

FORMER = {"library": "backend"}
"""Earlier names of settings, which commands and the folders of older runs still have."""

SCHEDULES: Mapping[str, Callable[[float, int], float | LearningRateSchedule]] = {
    "constant": lambda rate, steps: rate,
    "cosine": CosineDecay,
    "exponential": lambda rate, steps: ExponentialDecay(rate, steps, 0.01),
    "linear": lambda rate, steps: PolynomialDecay(rate, steps, 0.0),
}
"""Names of schedules, and how they are made of the first learning rate and the number of steps."""


class UserError(Exception):
    """Something the user can put right; its message is one line."""


MOST_STEPS = 10**9
MOST_UNITS = 10**6  # of any dimension of an array: more can only be a slip


def _setting(default: Any, text: str, most: int | None = None) -> Any:
    """Return a field with its help; `most` is the largest value of a number that counts."""
    return field(default=default, metadata={"help": text, "most": most})


@dataclass(frozen=True)
class Settings:
    """One run; every field is an option of the command."""

    text: str | None = _setting(None, "UTF-8 file to learn from; without it, Python's own manual")
    library: str = _setting("numpy", "array library to compute with")
    steps: int = _setting(2000, "steps of the optimizer", MOST_STEPS)
    batch: int = _setting(256, "words predicted in a step", MOST_UNITS)
    learning_rate: float = _setting(0.01, "learning rate of the first step")
    schedule: str = _setting("cosine", f"how the rate falls: {', '.join(SCHEDULES)}")
    clipnorm: float | None = _setting(None, "largest L2 norm of each gradient")
    clipvalue: float | None = _setting(None, "largest element of a gradient, of either sign")
    global_clipnorm: float | None = _setting(None, "largest common L2 norm of all gradients")
    context: int = _setting(4, "previous words that the model sees", MOST_UNITS)
    embedding: int = _setting(64, "numbers that represent a word", MOST_UNITS)
    hidden: int = _setting(128, "units of the tanh layer", MOST_UNITS)
    vocabulary: int = _setting(4096, "words at most; all others are one unknown word", MOST_UNITS)
    seed: int = _setting(0, "of the first values and of the batches")
    checkpoint_every: int = _setting(500, "steps between saves", MOST_STEPS)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, most = getattr(self, entry.name), entry.metadata["most"]
            if type(value) not in kinds(entry):
                raise _unexpected(f"a value of type {kinds(entry)[0].__name__}", value, entry.name)
            if most is not None and not 1 <= value <= most:
                raise _unexpected(f"a number from 1 to {most}", value, entry.name)
        if self.seed < 0:
            raise _unexpected("a number of at least 0", self.seed, "seed")
        if self.schedule not in SCHEDULES:
            raise _unexpected(f"one of {', '.join(SCHEDULES)}", self.schedule, "schedule")
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


def kinds(entry: Field[Any]) -> tuple[type, ...]:
    """Return the types that a field of `Settings` takes, that of its option first."""
    return get_args(entry.type) or (entry.type,)


def option(name: str) -> str:
    """Return the option of the command that sets a field."""
    return "--" + name.replace("_", "-")


def _saved(**values: Any) -> Settings:
    """Return the settings that a run saved, perhaps by their former names."""
    now = {former: name for name, former in FORMER.items()}
    return Settings(**{now.get(name, name): value for name, value in values.items()})


def _unexpected(requirement: str, value: Any, name: str) -> UserError:
    return UserError(f"Expected {requirement}, received {short(value)}, for {option(name)}")


def write_run(path: Path, settings: Settings, digest: str) -> None:
    """Write what a run needs to be resumed: its settings and the sha256 of its text."""
    content = {"format": FORMAT, "settings": asdict(settings), "text_sha256": digest}
    write_whole(path, [(json.dumps(content, indent=2) + "\n").encode()])


def read_run(path: Path) -> tuple[Settings, str]:
    """Return what `write_run` wrote; UserError if there is no run or its file is corrupt."""
    try:
        content = json.loads(path.read_text("utf-8"))
        layout = content["format"]
        if layout == FORMAT:
            return _saved(**content["settings"]), str(content["text_sha256"])
    except FileNotFoundError:
        raise UserError(
            f"Expected a run to resume, found no {path}; start one without --resume"
        ) from None
    except UserError as error:
        raise UserError(f"{path} is corrupt: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is corrupt: {type(error).__name__}: {error}") from None
    raise UserError(f"Expected the format {FORMAT}, found {short(layout)}, in {path}")


def resumed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a run, if the options given with --resume do not change them."""
    for name, value in given.items():
        before = getattr(settings, name)
        if value != before:
            raise UserError(
                f"Expected {before}, the value of the run to resume, received {short(value)}, for "
                f"{option(name)}; omit the option, or start a new run with another --output"
            )
    return settings
