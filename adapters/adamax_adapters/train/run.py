"""A run, from its settings to a trained model in a folder: started, stopped and resumed."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from adamax._arrays import Namespace
from adamax_adapters.files.durable import write_whole
from adamax_adapters.files.manager import CheckpointManager
from adamax_adapters.keras import Adamax
from adamax_adapters.optimizer.hyperparameters import rate_at
from adamax_adapters.train.backend import namespace
from adamax_adapters.train.corpus import Corpus, read_corpus
from adamax_adapters.train.history import History, draw, read_history, write_history
from adamax_adapters.train.measure import perplexity
from adamax_adapters.train.model import Model
from adamax_adapters.train.progress import progress
from adamax_adapters.train.report import report
from adamax_adapters.train.settings import Settings, UserError, read_run, resumed, write_run

__all__ = ["FILES", "train"]

FILES = {
    "settings": "run.json",
    "optimizer": "optimizer.json",
    "checkpoints": "checkpoints",
    "history": "history.csv",
    "picture": "loss.png",
}
"""What a run writes into its folder."""

SHOWN = 10  # steps after which the loss is read from the device and shown


class Run(NamedTuple):
    """Everything that changes while a model is trained, and what it is trained on."""

    settings: Settings
    corpus: Corpus
    xp: Namespace
    model: Model
    optimizer: Adamax
    history: History


def train(folder: Path, given: Mapping[str, Any], resume: bool, console: Console) -> bool:
    """Train the model to the end, or until Ctrl-C; say whether the end was reached.

    Parameters
    ----------
    folder : path
        Made where it is missing. Everything that the run writes goes into it.
    given : mapping
        The settings that are not to have their defaults.
    resume : bool
        Whether to go on with the run in the folder, or to start one.
    console : rich.console.Console

    Raises
    ------
    UserError
        If a setting is wrong, the text or the backend cannot be used, or the folder holds a run
        that would be lost, or none that could be resumed. Nothing has been written then.
    CheckpointError
        If the checkpoint of a run is damaged or does not fit it.
    """
    path = folder / FILES["settings"]
    if resume:
        settings, digest = read_run(path)
        run = _prepared(resumed(settings, given))
        if run.corpus.digest != digest:
            raise UserError(f"the text has changed since the run in {folder} was started")
        run = _restored(run, folder, console)
    else:
        if path.exists():
            raise UserError(
                f"{folder} holds a run already: go on with it by --resume, or start another with "
                "--output FOLDER"
            )
        run = _prepared(Settings(**given))
        folder.mkdir(parents=True, exist_ok=True)
        write_run(path, run.settings, run.corpus.digest)
    write_whole(folder / FILES["optimizer"], [run.optimizer.to_json().encode()])
    with CheckpointManager(folder / FILES["checkpoints"]) as manager, _interruptible() as stop:
        finished = _advance(run, console, stop, lambda: _save(run, folder, manager))
    if finished:
        measured = perplexity(run.model, run.corpus, run.settings.context, run.xp)
        baseline = run.corpus.baseline()
        draw(folder / FILES["picture"], run.history.losses(), measured, baseline)
        report(run.model, run.corpus, measured, baseline, console)
    return finished


def _prepared(settings: Settings) -> Run:
    """Return a run before its first step."""
    xp = namespace(settings.backend)
    corpus = read_corpus(settings.text, settings.context, settings.vocabulary)
    shape = (settings.context, settings.embedding, settings.hidden)
    model = Model(corpus.unigram(), *shape, settings.seed, xp)
    optimizer = Adamax(
        settings.rate(),
        clipnorm=settings.clipnorm,
        clipvalue=settings.clipvalue,
        global_clipnorm=settings.global_clipnorm,
    )
    return Run(settings, corpus, xp, model, optimizer, History())


def _restored(run: Run, folder: Path, console: Console) -> Run:
    """Return a run where it was last saved; without a checkpoint, before its first step."""
    manager = CheckpointManager(folder / FILES["checkpoints"])
    restored = manager.restore_latest(run.optimizer, run.model.variables)
    if restored is None:
        return run
    for reason in restored.refused.values():
        console.print(f"passed over: {reason}")
    return run._replace(history=History(read_history(folder / FILES["history"], restored.step)))


def _advance(
    run: Run, console: Console, stop: Callable[[], bool], save: Callable[[], None]
) -> bool:
    """Take the steps that are left, until told to stop; say whether all have been taken."""
    settings, start = run.settings, int(run.optimizer.iterations)
    with progress(console, start, settings.steps, settings.batch) as show:
        for step in range(start, settings.steps):
            if stop():
                save()
                return False
            # The batch follows from seed and step alone, so that a resumed run draws the same.
            rng = np.random.default_rng((settings.seed, step))
            places = rng.choice(run.corpus.train, settings.batch)
            words, targets = map(run.xp.asarray, run.corpus.windows(places, settings.context))
            loss, gradients = run.model.loss_and_gradients(words, targets)
            run.optimizer.apply_gradients(zip(gradients, run.model.variables, strict=True))
            run.history.add(loss)
            done = step + 1
            if done % SHOWN == 0 or done == settings.steps:
                show(done, float(np.mean(run.history.losses()[-SHOWN:])))
            if done % settings.checkpoint_every == 0 or done == settings.steps:
                save()
    return True


def _save(run: Run, folder: Path, manager: CheckpointManager) -> None:
    def rate(step: int) -> float:
        return rate_at(run.optimizer.learning_rate, run.optimizer.decay, step)

    # The history first: it may hold more steps than the checkpoint, never fewer.
    write_history(folder / FILES["history"], run.history.losses(), rate)
    manager.save(run.optimizer, run.model.variables)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let the block ask whether Ctrl-C was pressed; pressed again, it interrupts as usual."""
    pressed = []

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.signal(number, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
