"""A run, from its settings to a trained model in a folder: started, stopped and resumed."""

import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from adamax._arrays import Namespace
from adamax_adapters.checkpoint.durable import write_whole
from adamax_adapters.checkpoint.manager import CheckpointManager
from adamax_adapters.checkpoint.tensorfile import CheckpointError
from adamax_adapters.cli.train.corpus import Corpus, read_corpus
from adamax_adapters.cli.train.history import History, draw, read_history, write_history
from adamax_adapters.cli.train.library import namespace
from adamax_adapters.cli.train.measure import perplexity
from adamax_adapters.cli.train.model import Model
from adamax_adapters.cli.train.progress import Show, progress
from adamax_adapters.cli.train.report import report
from adamax_adapters.cli.train.settings import Settings, UserError, read_run, resumed, write_run
from adamax_adapters.keras_style.hyperparameters import rate_at
from adamax_adapters.keras_style.optimizer import Adamax

__all__ = ["FILES", "train"]

FILES = {
    "settings": "run.json",
    "optimizer": "optimizer.json",
    "checkpoints": "checkpoints",
    "history": "history.csv",
    "picture": "loss.png",
}
"""What a run writes into its folder."""

MOSTLY = 0.5  # of the words of a text
SHOWN_STEPS = 10  # after which the loss is read from the device and shown


class Run(NamedTuple):
    """Everything that changes while a model is trained, and what it is trained on."""

    settings: Settings
    corpus: Corpus
    xp: Namespace
    model: Model
    optimizer: Adamax
    history: History


def train(folder: Path, given: Mapping[str, Any], resume: bool) -> int:
    """Train the model to the end, or until a signal stops it; print how it goes.

    Parameters
    ----------
    folder : path
        Created if it is missing. Everything that the run writes goes into it.
    given : mapping
        The settings that are not to have their defaults.
    resume : bool
        Whether to continue the run in the folder, or to start one.

    Returns
    -------
    int
        0 at the end of the run, or the number of the signal: SIGINT, as from Ctrl-C, or SIGTERM.
        All steps are saved then.

    Raises
    ------
    UserError
        If a setting is wrong, the text or the library cannot be used, another run writes into the
        folder, or it contains a run that would be lost, or none that could be resumed; nothing has
        been written then. If the loss is not finite.
    CheckpointError
        If the checkpoint of a run is corrupt or does not fit it.
    OSError
        If a file cannot be written. If the output cannot, all steps have been saved.
    """
    if resume:
        settings, digest = read_run(folder / FILES["settings"])
        run = _prepared(resumed(settings, given))
        if run.corpus.digest != digest:
            raise UserError(
                f"Expected the text that the run in {folder} started with, found another one; "
                "restore the text, or start a new run with another --output"
            )
    else:
        _refuse_run(folder)
        run = _prepared(Settings(**given))
    # BLAS and OpenMP spin while they wait for their other threads. On a busy machine that takes
    # several times longer than all the work in one thread. Overflow shows in the loss.
    with _locked(folder) as manager, threadpool_limits(1), np.errstate(all="ignore"):
        if resume:
            run = _restored(run, folder, manager)
        else:
            _refuse_run(folder)
            write_run(folder / FILES["settings"], run.settings, run.corpus.digest)
        write_whole(folder / FILES["optimizer"], [run.optimizer.to_json().encode()])
        with _stopping() as signals:
            stopped = _advance(run, signals, lambda: _save(run, folder, manager))
        if not stopped:
            measured = perplexity(run.model, run.corpus, run.settings.context, run.xp)
            baseline = run.corpus.baseline()
            draw(folder / FILES["picture"], run.history.losses(), measured, baseline)
            report(run.model, run.corpus, measured, baseline)
    return stopped


@contextmanager
def _locked(folder: Path) -> Iterator[CheckpointManager]:
    """Give the block the checkpoints of a folder, if no other run writes into it."""
    with CheckpointManager(folder / FILES["checkpoints"]) as manager:
        try:
            manager.lock()
        except CheckpointError:
            raise UserError(
                f"Expected a folder that no other run writes into, received {folder}, for "
                "--output; wait for that run to end, or choose another folder"
            ) from None
        yield manager


def _refuse_run(folder: Path) -> None:
    """Raise if a new run would replace the one in the folder."""
    if (folder / FILES["settings"]).exists():
        raise UserError(
            f"Expected a folder without a run, received {folder}, for --output; continue its run "
            "with --resume, or choose another folder"
        )


def _prepared(settings: Settings) -> Run:
    """Return a run before its first step."""
    xp = namespace(settings.library)
    corpus = read_corpus(settings.text, settings.context, settings.vocabulary)
    if corpus.unknown() > MOSTLY:
        print(
            f"warning: {corpus.unknown():.0%} of the text are words outside the vocabulary, which "
            "the model cannot tell apart: use a longer text, or a larger --vocabulary",
            file=sys.stderr,
        )
    shape = (settings.context, settings.embedding, settings.hidden)
    model = Model(corpus.unigram(), *shape, settings.seed, xp)
    optimizer = Adamax(
        settings.rate(),
        clipnorm=settings.clipnorm,
        clipvalue=settings.clipvalue,
        global_clipnorm=settings.global_clipnorm,
    )
    return Run(settings, corpus, xp, model, optimizer, History())


def _restored(run: Run, folder: Path, manager: CheckpointManager) -> Run:
    """Return a run where it was last saved; without a checkpoint, before its first step."""
    restored = manager.restore_latest(run.optimizer, run.model.variables)
    if restored is None:
        return run
    for reason in restored.refused.values():
        print(f"passed over: {reason}", file=sys.stderr)
    return run._replace(history=History(read_history(folder / FILES["history"], restored.step)))


def _advance(run: Run, signals: list[int], save: Callable[[], None]) -> int:
    """Take the steps that are left; return 0, or the first of the signals if one has arrived."""
    settings, start = run.settings, int(run.optimizer.iterations)
    with progress(start, settings.steps, settings.batch) as show:
        for step in range(start, settings.steps):
            if signals:
                save()
                return signals[0]
            # The batch follows from seed and step alone, so that a resumed run draws the same.
            rng = np.random.default_rng((settings.seed, step))
            positions = rng.choice(run.corpus.train, settings.batch)
            words, targets = map(run.xp.asarray, run.corpus.windows(positions, settings.context))
            loss, gradients = run.model.loss_and_gradients(words, targets)
            run.optimizer.apply_gradients(zip(gradients, run.model.variables, strict=True))
            run.history.add(loss)
            done = step + 1
            if done % SHOWN_STEPS == 0 or done == settings.steps:
                _show(show, done, float(np.mean(run.history.losses()[-SHOWN_STEPS:])), save)
            if done % settings.checkpoint_every == 0 or done == settings.steps:
                save()
    return 0


def _show(show: Show, done: int, loss: float, save: Callable[[], None]) -> None:
    """Show the loss; an output that is closed or full does not cost the steps."""
    if not math.isfinite(loss):
        raise UserError(
            f"Expected a finite loss, received {loss}, for step {done}: the learning rate is "
            "probably too high; start a new run with a lower --learning-rate"
        )
    try:
        show(done, loss)
    except OSError:
        save()
        raise


def _save(run: Run, folder: Path, manager: CheckpointManager) -> None:
    def rate(step: int) -> float:
        return rate_at(run.optimizer.learning_rate, run.optimizer.decay, step)

    # The history first: it may hold more steps than the checkpoint, never fewer.
    write_history(folder / FILES["history"], run.history.losses(), rate)
    manager.save(run.optimizer, run.model.variables)


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Give the block a list of the signals that ask it to stop; sent again, one acts as usual."""
    received: list[int] = []

    def record(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, usual[number])

    usual = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in usual:
            signal.signal(number, record)
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
