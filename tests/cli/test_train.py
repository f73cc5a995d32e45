"""`adamax_adapters.cli.train`: the corpus, the model, and runs that stop and go on."""

import csv
import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from trained import SMALL, contents, end, interrupted, run

from adamax import Adamax, IndexedSlices, Variable, inspect_checkpoint
from adamax._arrays import array_namespace
from adamax_adapters.checkpoint.manager import CheckpointManager
from adamax_adapters.cli.train import run as runs
from adamax_adapters.cli.train.corpus import Corpus, read_corpus
from adamax_adapters.cli.train.history import History
from adamax_adapters.cli.train.measure import neighbours, perplexity
from adamax_adapters.cli.train.model import Model
from adamax_adapters.cli.train.run import FILES
from adamax_adapters.cli.train.settings import SCHEDULES, Settings, UserError
from adamax_adapters.gradients import value_and_gradients

Array = Any

NUMPY = array_namespace(np.empty(0))
LONGER = {**SMALL, "steps": 150, "learning_rate": 0.05, "checkpoint_every": 40}


def test_corpus_holds_out_blocks(text: str) -> None:
    """No window of the training part shares a word with the held-out part, at any context."""
    for context in (1, 7):
        corpus = read_corpus(text, context, 100)
        span = np.arange(-context, 1)
        trained = {*(corpus.train[:, None] + span).ravel().tolist()}
        held_out = {*(corpus.held_out[:, None] + span).ravel().tolist()}
        assert trained.isdisjoint(held_out)
        assert trained | held_out == set(range(len(corpus.ids)))


def test_windows_are_what_stands_before(text: str) -> None:
    """The context of a position is the words that end right before it, in their order."""
    corpus = read_corpus(text, 3, 100)
    before, at = corpus.windows(np.array([3, 11]), 3)
    np.testing.assert_array_equal(before, [corpus.ids[0:3], corpus.ids[8:11]])
    np.testing.assert_array_equal(at, corpus.ids[[3, 11]])


def test_vocabulary_is_bounded(text: str) -> None:
    """Words beyond the vocabulary are all number 0; the text can be read back from the numbers."""
    small = read_corpus(text, 2, 3)
    whole = read_corpus(text, 2, 100)
    assert len(small.words) == 3
    assert len(whole.words) == 6
    assert (small.ids == 0).any()
    read_back = " ".join(whole.words[i] for i in whole.ids)
    assert read_back == Path(text).read_text()


def test_baseline_is_that_of_counts(text: str) -> None:
    """The unigram baseline is the perplexity of counted words, each counted once more."""
    corpus = read_corpus(text, 2, 100)
    counts = dict.fromkeys(range(len(corpus.words)), 1)
    for position in corpus.train:
        counts[int(corpus.ids[position])] += 1
    total = sum(counts.values())
    logs = [np.log(counts[int(corpus.ids[i])] / total) for i in corpus.held_out]
    assert corpus.baseline() == pytest.approx(np.exp(-np.mean(logs)), rel=1e-12)


def test_default_text_ships_with_python() -> None:
    """Without a file, the text is Python's manual: English, and long enough to learn from."""
    corpus = read_corpus(None, 4, 4096)
    assert len(corpus.ids) > 50_000
    assert {"the", "function", "class"} <= set(corpus.words)


def double(model: Model) -> Model:
    """Return the model in float64."""
    model.variables = [
        Variable(v.numpy().astype(np.float64) * 3, name=v.name) for v in model.variables
    ]
    return model


def test_gradients_by_hand_are_those_of_the_tape() -> None:
    """The hand-written gradients are those that the tape derives from the losses alone."""
    rng = np.random.default_rng(1)
    model = double(Model(np.full(7, 1 / 7), 2, 3, 4, 0, NUMPY))
    words, targets = rng.integers(0, 7, size=(9, 2)), rng.integers(0, 7, size=9)
    loss, by_hand = model.loss_and_gradients(words, targets)
    xp = array_namespace(words)

    def plain() -> Array:
        return xp.mean(model.losses(words, targets))

    expected_loss, expected = value_and_gradients(plain, model.variables, engine="tape")
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-14)
    for found, reference in zip(by_hand, expected, strict=True):
        np.testing.assert_allclose(whole(found), whole(reference), rtol=1e-12, atol=1e-15)


def whole(gradient: Any) -> Array:
    if not isinstance(gradient, IndexedSlices):
        return gradient
    assert gradient.dense_shape is not None
    table = np.zeros(gradient.dense_shape)
    np.add.at(table, gradient.indices, gradient.values)
    return table


def test_model_without_knowledge_is_the_unigram() -> None:
    """With no weights from the hidden layer, the loss of a word is that of its probability."""
    unigram = np.array([0.5, 0.25, 0.25])
    model = Model(unigram, 1, 2, 2, 0, NUMPY)
    model.variables[3].assign(np.zeros((2, 3)))
    losses = model.losses(np.array([[0], [1], [2]]), np.array([0, 1, 2]))
    np.testing.assert_allclose(losses, -np.log(unigram), rtol=1e-6)


def test_perplexity_of_a_uniform_model_is_the_number_of_words(text: str) -> None:
    """A model that holds all words equally likely has their number as its perplexity."""
    corpus = read_corpus(text, 2, 100)
    model = Model(corpus.unigram(), 2, 3, 4, 0, NUMPY)
    model.variables[3].assign(np.zeros((4, 6)))
    model.variables[4].assign(np.zeros(6))
    assert perplexity(model, corpus, 2, NUMPY) == pytest.approx(6.0, rel=1e-6)


def test_neighbours_are_those_of_the_same_direction() -> None:
    """Words are alike by the angle of their embeddings; neither itself nor the unknown is one."""
    table = np.array([[1.0, 0.0], [2.0, 0.1], [1.0, 0.2], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0]])
    words = ["<unk>", "a", "b", "c", "d", "e"]
    found = neighbours(table, words, ["a", "d"], count=2)
    assert found == {"a": ["b", "c"], "d": ["c", "e"]}


def test_history_reads_the_device_once_for_many(text: str) -> None:
    """Losses that are added stay where they are until they are asked for, in their order."""
    history = History([0.5])
    for loss in (1.0, 2.0):
        history.add(array_api_strict.asarray(loss))
    assert history.losses() == [0.5, 1.0, 2.0]
    assert history.losses() == [0.5, 1.0, 2.0]


def test_run_learns_and_leaves_its_files(tmp_path: Path, text: str) -> None:
    """A run beats the baseline, tells so, and leaves all its files, each of which can be read."""
    folder = tmp_path / "deep" / "run"
    printed = run(folder, text=text, **LONGER)
    assert {path.name for path in folder.iterdir()} == set(FILES.values())
    numbers = re.findall(r"^(?:unigram baseline|this model|ratio) +([\d.]+)$", printed, re.M)
    baseline, model, ratio = map(float, numbers)
    assert model < 0.5 * baseline
    assert ratio == pytest.approx(model / baseline, abs=0.01)
    assert re.search(r"^avword  \w+word, ", printed, re.M)  # with its neighbours
    assert "step 150/150  loss" in printed
    with (folder / FILES["history"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 151))
    assert float(rows[0]["learning_rate"]) == 0.05
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    rate: Any = Adamax.from_json((folder / FILES["optimizer"]).read_text()).learning_rate
    assert rate(149) == pytest.approx(float(rows[149]["learning_rate"]))
    kept = CheckpointManager(folder / FILES["checkpoints"]).checkpoints()
    assert list(kept) == [80, 120, 150]
    assert inspect_checkpoint(kept[150])["iterations"] == 150
    assert (folder / FILES["picture"]).read_bytes().startswith(b"\x89PNG")


def test_terminal_shows_a_live_line(tmp_path: Path, text: str) -> None:
    """On a terminal the steps, the loss, the speed and the time left are one line, drawn again."""
    printed = run(tmp_path / "run", terminal=True, text=text, **SMALL)
    *live, after = printed.split("\r")
    assert len(live) == 2
    assert live[-1].startswith(f"[{'#' * 16}] step 12/12  loss ")
    assert re.search(r" words/s  0 s left *$", live[-1])
    assert after.startswith("\nheld-out text")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("stops", [[1], [5], [11], [2, 3, 4]], ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resumed_run_is_the_uninterrupted_one(
    number: signal.Signals,
    stops: list[int],
    schedule: str,
    tmp_path: Path,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped by a signal at any step and resumed, a run leaves the same bytes in all its files."""
    given = {"text": text, "schedule": schedule, "global_clipnorm": 1.0, **SMALL}
    run(tmp_path / "whole", **given)
    for i, after in enumerate(stops):
        with monkeypatch.context() as patch:
            interrupted(after, patch, number)
            printed = run(tmp_path / "parts", resume=i > 0, **given if i == 0 else {})
        assert "perplexity" not in printed
        assert FILES["picture"] not in contents(tmp_path / "parts")
    run(tmp_path / "parts", resume=True)
    assert end(tmp_path / "parts") == end(tmp_path / "whole")


def test_run_without_a_checkpoint_starts_again(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed before its first checkpoint is resumed from its first step."""
    run(tmp_path / "whole", text=text, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_advance", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "parts", text=text, **SMALL)
    run(tmp_path / "parts", resume=True)
    assert end(tmp_path / "parts") == end(tmp_path / "whole")


def killed(*_: Any) -> bool:
    raise SystemExit


def test_damaged_checkpoint_is_passed_over(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run whose newest checkpoint is damaged goes on from the one before it, and says so."""
    folder = tmp_path / "run"
    run(folder, text=text, **LONGER)
    before = end(folder)
    damage_newest(folder)
    printed = run(folder, resume=True)
    assert "passed over:" in capsys.readouterr().err
    assert "step 150/150" in printed
    assert "step 110/150" not in printed
    assert end(folder) == before


@pytest.mark.parametrize("terminal", [True, False])
def test_finished_run_is_shown_again(terminal: bool, tmp_path: Path, text: str) -> None:
    """Resuming a run that has ended prints its results alone, and changes no file."""
    printed = run(tmp_path, text=text, **SMALL)
    before = contents(tmp_path)
    again = run(tmp_path, resume=True, terminal=terminal)
    assert contents(tmp_path) == before
    assert again.startswith("held-out text")
    assert printed.endswith(again)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_second_signal_is_the_usual_one(number: signal.Signals) -> None:
    """A signal asks once; sent again before the step has ended, it acts as it usually does."""

    class Usual(Exception):
        pass

    def usual(*_: Any) -> None:
        raise Usual

    before = signal.signal(number, usual)
    try:
        with runs._stopping() as received:
            signal.raise_signal(number)
            assert received == [number]
            with pytest.raises(Usual):
                signal.raise_signal(number)
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full")], ids=["closed", "full"])
def test_output_that_fails_costs_no_step(
    error: OSError, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a line cannot be printed, the steps that have been taken are saved before the run ends."""
    given = {**SMALL, "steps": 40, "checkpoint_every": 40, "text": text}
    run(tmp_path / "whole", **given)

    @contextmanager
    def failing(*_: int) -> Iterator[Callable[[int, float], None]]:
        def show(done: int, loss: float) -> None:
            if done == 20:
                raise error

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(runs, "progress", failing)
        with pytest.raises(type(error)):
            run(tmp_path / "parts", **given)
    folder = tmp_path / "parts" / FILES["checkpoints"]
    assert list(CheckpointManager(folder).checkpoints()) == [20]
    run(tmp_path / "parts", resume=True)
    assert end(tmp_path / "parts") == end(tmp_path / "whole")


@pytest.mark.parametrize("resume", [True, False])
def test_second_run_in_a_folder_writes_nothing(resume: bool, tmp_path: Path, text: str) -> None:
    """While a run saves into a folder, another is refused there before it changes any file."""
    folder = tmp_path / "run"
    run(folder, text=text, **SMALL)
    if not resume:  # the other run started first, and is about to write its settings
        (folder / FILES["settings"]).unlink()
    (folder / FILES["history"]).write_text("of the first run")
    before = contents(folder)
    with CheckpointManager(folder / FILES["checkpoints"]) as other:
        other.lock()
        with pytest.raises(UserError, match="a folder that no other run writes into"):
            run(folder, resume=resume, text=text, **SMALL)
    assert contents(folder) == before


def test_run_that_came_first_is_kept(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is refused if another one starts and ends in its folder while it reads its text."""
    folder, prepared = tmp_path / "run", runs._prepared
    first: dict[str, bytes] = {}

    def slow(settings: Settings) -> Any:
        monkeypatch.undo()
        run(folder, text=text, **SMALL)
        first.update(contents(folder))
        return prepared(settings)

    monkeypatch.setattr(runs, "_prepared", slow)
    with pytest.raises(UserError, match="a folder without a run"):
        run(folder, text=text, **SMALL)
    assert contents(folder) == first


def test_loss_that_is_not_finite_ends_the_run(tmp_path: Path, text: str) -> None:
    """A run whose loss is infinite or NaN ends with the likely cause, and saves nothing of it."""
    with pytest.raises(UserError, match=r"a finite loss, received .* step 10: the learning rate"):
        run(tmp_path / "run", text=text, **{**SMALL, "learning_rate": 1e38})
    assert not CheckpointManager(tmp_path / "run" / FILES["checkpoints"]).checkpoints()


def test_text_of_unknown_words_is_told(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """If most words are outside the vocabulary, a warning says how many; otherwise none."""
    run(tmp_path / "known", text=text, vocabulary=4, **SMALL)
    assert capsys.readouterr().err == ""
    run(tmp_path / "unknown", text=text, vocabulary=2, **SMALL)
    err = capsys.readouterr().err
    assert re.fullmatch(r"warning: (7\d|8\d)% of the text are words outside the .*\n", err)


DAMAGES: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "no run": (lambda f: (f / "run.json").unlink(), {}, "a run to resume, found no .*run.json"),
    "no JSON": (lambda f: (f / "run.json").write_text("{"), {}, "run.json is corrupt"),
    "later format": (lambda f: edit_run(f, format=2), {}, "the format 1, found 2, in .*run.json"),
    "a lost key": (lambda f: (f / "run.json").write_text('{"format": 1}'), {}, "corrupt: KeyError"),
    "an unknown setting": (lambda f: edit_run(f, settings={"no": 1}), {}, "corrupt: TypeError"),
    "another text": (
        lambda f: edit_run(f, text_sha256="0"),
        {},
        "the text that the run in .* started with",
    ),
    "another option": (
        lambda f: None,
        {"seed": 4},
        "Expected 0, the value of the run to resume, received 4, for --seed",
    ),
    "no history": (lambda f: (f / "history.csv").unlink(), {}, "history.csv cannot be read"),
    "a short history": (
        lambda f: (f / "history.csv").write_text("step,loss,learning_rate\n1,1,1\n"),
        {},
        "at least 12 steps, those of the checkpoint, found 1, in .*history.csv",
    ),
    "a history of words": (
        lambda f: (f / "history.csv").write_text("step,loss\n1,one\n"),
        {},
        "history.csv cannot be read: ValueError",
    ),
    "a damaged checkpoint": (
        lambda f: damage_newest(f),
        {},
        "Expected an intact checkpoint in .*, found none: .*corrupt or other file",
    ),
}


def damage_newest(folder: Path) -> None:
    kept = CheckpointManager(folder / FILES["checkpoints"]).checkpoints()
    kept[max(kept)].write_bytes(b"not a checkpoint")


def edit_run(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_resumed_is_told_and_kept(damage: str, tmp_path: Path, text: str) -> None:
    """A damaged or conflicting run is refused with its cause, and no file of it changes."""
    folder = tmp_path / "run"
    run(folder, text=text, **SMALL)
    do, given, message = DAMAGES[damage]
    do(folder)
    before = contents(folder)
    with pytest.raises((UserError, ValueError), match=message):
        run(folder, resume=True, **given)
    assert contents(folder) == before


def test_settings_are_kept_for_the_resumed_run(tmp_path: Path, text: str) -> None:
    """Options that repeat those of the run are no conflict, and its defaults may change later."""
    run(tmp_path, text=text, **SMALL)
    saved = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert saved == {**vars(Settings()), "text": text, **SMALL}
    run(tmp_path, resume=True, text=text, **SMALL)


def test_corpus_type_is_plain_data(text: str) -> None:
    """Reading the same text twice gives equal corpora: nothing is drawn at random."""
    a, b = read_corpus(text, 2, 50), read_corpus(text, 2, 50)
    assert isinstance(a, Corpus)
    assert (a.words, a.digest) == (b.words, b.digest)
    np.testing.assert_array_equal(a.ids, b.ids)
