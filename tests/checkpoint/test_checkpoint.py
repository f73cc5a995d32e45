"""Checkpoints: what is saved is what comes back, by name, all of it or nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libraries import Library
from runs import environment, new_run, same
from test_tensorfile import ARRAYS, TEXT

from adamax import (
    Adamax,
    CheckpointError,
    Variable,
    deserialize,
    inspect_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from adamax.schedules import LearningRateSchedule
from adamax_adapters.checkpoint import contents
from adamax_adapters.checkpoint.contents import write
from adamax_adapters.checkpoint.state import snapshot
from adamax_adapters.step import assigning
from adamax_adapters.step.state import LoadReport

pytestmark = pytest.mark.feature("checkpoint")

NOTHING = LoadReport([], [], {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def test_everything_comes_back(path: Path) -> None:
    """Values, moments, further slots, added weights and iterations are those that were saved."""
    saved = new_run(0)
    saved.train(3)
    save_checkpoint(path, saved.optimizer, saved.variables)
    loaded = new_run(1)
    assert load_checkpoint(path, loaded.optimizer, loaded.variables) == NOTHING
    assert same(loaded.state(), saved.state())
    assert int(loaded.optimizer.iterations) == 3


def test_what_there_is_to_see(path: Path) -> None:
    """The file says what it holds: names in order, dtypes, shapes, hashes, the configuration."""
    run = new_run()
    run.train(2)
    save_checkpoint(path, run.optimizer, run.variables)
    seen = inspect_checkpoint(path)
    assert seen["format"] == 1
    assert seen["iterations"] == 2
    assert seen["library"].startswith("adamax ")
    assert seen["variables"] == ["dense/kernel", "table ü", "bias"]
    assert seen["weights"] == ["best loss"]
    assert list(seen["tensors"]) == [
        "variable/dense/kernel",
        "average/dense/kernel",
        "m/dense/kernel",
        "v/dense/kernel",
        "variable/table ü",
        "m/table ü",
        "v/table ü",
        "variable/bias",
        "m/bias",
        "v/bias",
        "weight/best loss",
    ]
    assert seen["tensors"]["v/table ü"]["shape"] == (5, 2)
    assert seen["tensors"]["weight/best loss"]["dtype"] == "float32"
    assert json.loads(json.dumps(seen))["optimizer"] == {
        "class_name": "Adamax",
        "config": run.optimizer.get_config(),
    }
    assert deserialize(seen["optimizer"]).get_config() == run.optimizer.get_config()


def test_hyperparameters_are_saved_and_not_assigned(path: Path) -> None:
    """A file never changes how an optimizer was set; it tells how the saved one was."""
    w = Variable(np.ones(2), name="w")
    saved = Adamax(0.5, beta_1=0.8, epsilon=0.0)
    saved.apply_gradients([(np.ones(2), w)])
    save_checkpoint(path, saved)
    loaded = Adamax(0.25)
    load_checkpoint(path, loaded, [w])
    assert loaded.get_config() == Adamax(0.25).get_config()
    assert inspect_checkpoint(path)["optimizer"]["config"] == saved.get_config()


class Halving(LearningRateSchedule):
    """A schedule of the caller's own."""

    def __init__(self, first: float, odd: Any = None) -> None:
        self.first, self.odd = first, odd

    def __call__(self, step: int) -> float:
        return self.first / 2.0**step

    def get_config(self) -> dict[str, Any]:
        return {"first": self.first, "odd": self.odd}


@given(first=st.floats(0, 1e300), odd=st.sampled_from([None, {"10": 1, "9": [2.5, "ü"]}, {}]))
def test_a_schedule_of_ones_own_comes_back(
    first: float, odd: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every double in its configuration is the same again, with its class in custom_objects."""
    path = tmp_path_factory.mktemp("run") / "file"
    save_checkpoint(path, Adamax(Halving(first, odd)))
    saved = inspect_checkpoint(path)["optimizer"]
    rate: Any = deserialize(saved, {"Halving": Halving}).learning_rate
    assert (rate.first, rate.odd) == (first, odd)


def test_keys_that_are_numbers_become_text(path: Path) -> None:
    """A configuration that JSON spells otherwise can still be read: numbers as keys are text."""
    save_checkpoint(path, Adamax(Halving(0.5, {10: "a", 9: "b"})))
    config = inspect_checkpoint(path)["optimizer"]["config"]["learning_rate"]["config"]
    assert config["odd"] == {"10": "a", "9": "b"}


@pytest.mark.parametrize("odd", [np.float32(0.5), float("nan"), {1, 2}], ids=str)
def test_a_configuration_that_json_cannot_hold_is_refused(odd: Any, path: Path) -> None:
    """The error comes before the old file is touched."""
    path.write_bytes(b"old")
    with pytest.raises(CheckpointError, match="configuration that JSON can hold"):
        save_checkpoint(path, Adamax(Halving(0.5, odd)))
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@given(names=st.lists(TEXT.filter(bool), unique=True, max_size=4))
def test_variables_of_any_name_are_found(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Names may hold whatever Unicode allows; the order in which variables are given is free."""
    path = tmp_path_factory.mktemp("run") / "file"
    values = {name: np.array([float(i)]) for i, name in enumerate(names)}
    save_checkpoint(path, Adamax(), [Variable(value, name) for name, value in values.items()])
    loaded = [Variable(np.array([-1.0]), name) for name in reversed(names)]
    assert load_checkpoint(path, Adamax(), loaded) == NOTHING
    assert all(np.array_equal(variable.numpy(), values[variable.name]) for variable in loaded)


@pytest.mark.parametrize("layout", ARRAYS)
def test_parameters_of_every_layout_come_back(layout: str, path: Path) -> None:
    """However an array lies in memory that is trained or loaded into, its numbers are the same."""
    array = ARRAYS[layout]()
    saved = Variable(array, name="w")
    optimizer = Adamax()
    optimizer.apply_gradients([(np.ones(array.shape), saved)])
    save_checkpoint(path, optimizer)
    other = np.asfortranarray(np.zeros(array.shape)[..., ::-1]) if array.ndim else np.zeros(())
    loaded, resumed = Variable(other, name="w"), Adamax()
    load_checkpoint(path, resumed, [loaded])
    assert np.array_equal(loaded.numpy(), saved.numpy())
    assert same(resumed.get_weights(), optimizer.get_weights())


@pytest.mark.parametrize("layout", ["0-d", "empty", "Fortran", "strided", "reversed", "big-endian"])
def test_raw_arrays_come_back_by_their_order(layout: str, path: Path) -> None:
    """Arrays without names are filled in place, the first with the first that was saved."""
    first, second = ARRAYS[layout](), ARRAYS[layout]()
    second += 0.5
    optimizer = Adamax(0.1)
    optimizer.apply_gradients([(np.ones(first.shape), first), (np.ones(first.shape), second)])
    save_checkpoint(path, optimizer)
    arrays = [np.zeros(first.shape, ">f8"), np.zeros(first.shape)]
    load_checkpoint(path, Adamax(0.1), arrays)
    assert np.array_equal(arrays[0], first)
    assert np.array_equal(arrays[1], second)


def test_every_library_saves_and_loads(library: Library, path: Path) -> None:
    """What one library wrote, it reads; moments keep the 32 bits of 16-bit parameters."""
    values = [[0.1, -3.0], [1e-3, 65000.0]]
    w = Variable(library.asarray(values), name="w")
    optimizer = Adamax(0.01)
    optimizer.apply_gradients([(library.asarray([[0.5, 0.25], [-1.0, 2.0]]), w)])
    save_checkpoint(path, optimizer)
    tensors = inspect_checkpoint(path)["tensors"]
    assert {name: tensors[name]["dtype"] for name in tensors} == {
        "variable/w": library.dtype,
        "m/w": library.wide,
        "v/w": library.wide,
    }
    loaded, resumed = Variable(library.asarray(np.zeros((2, 2))), name="w"), Adamax(0.01)
    load_checkpoint(path, resumed, [loaded])
    assert np.array_equal(library.read(loaded.value), library.read(w.value))
    for name in ("m", "v"):
        mine = library.read(resumed.get_slot(loaded, name).value, library.wide)
        assert np.array_equal(mine, library.read(optimizer.get_slot(w, name).value, library.wide))


def test_every_library_writes_what_numpy_wrote(library: Library, path: Path) -> None:
    """A file holds numbers, not arrays of a library: whichever saves them, the bytes are equal."""
    start = library.rounded([[0.1, -3.0, 7.0]])
    saved, optimizer = Variable(start, name="w"), Adamax(0.01)
    optimizer.apply_gradients([(np.array([[0.5, -1.0, 2.0]], library.wide), saved)])
    save_checkpoint(path, optimizer)
    there, resumed = Variable(library.asarray(np.zeros((1, 3))), name="w"), Adamax(0.01)
    load_checkpoint(path, resumed, [there])
    assert np.array_equal(library.read(there.value), saved.numpy().astype(np.float64))
    before = path.read_bytes()
    save_checkpoint(path, resumed)
    assert path.read_bytes() == before
    back, again = Variable(np.zeros_like(start), name="w"), Adamax(0.01)
    load_checkpoint(path, again, [back])
    assert same([back.numpy(), *again.get_weights()], [saved.numpy(), *optimizer.get_weights()])


def one_variable(path: Path, **values: Any) -> None:
    """Save variables after one step."""
    variables = [Variable(value, name=name) for name, value in values.items()]
    optimizer = Adamax()
    optimizer.apply_gradients([(np.ones(v.shape, v.dtype), v) for v in variables])
    save_checkpoint(path, optimizer)


def test_all_faults_are_told_at_once(path: Path) -> None:
    """Missing, unexpected and misfitting names are in one error, and nothing is assigned."""
    one_variable(path, a=np.ones(2), b=np.ones((2, 2)), c=np.ones(1))
    a = Variable(np.zeros(2, np.float32), name="a")
    b, d = (Variable(np.zeros(2), name=name) for name in "bd")
    optimizer = Adamax()
    optimizer.build([d])
    before = [weight.name for weight in optimizer.weights]
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path, optimizer, [a, b, d])
    text = str(raised.value)
    assert text.startswith(f"{path} does not fit: ")
    for part in (
        "'variable/a' must be float32 of shape (2,), is float64 of shape (2,)",
        "'v/b' must be float64 of shape (2,), is float64 of shape (2, 2)",
        "missing in the file: 'variable/d', 'm/d', 'v/d'",
        "only in the file: 'variable/c', 'm/c', 'v/c'",
    ):
        assert part in text
    assert [weight.name for weight in optimizer.weights] == before
    assert not any(variable.numpy().any() for variable in (a, b, d))
    assert int(optimizer.iterations) == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_infinity_norm_that_is_negative_is_refused(dtype: str, path: Path) -> None:
    """A largest size cannot be negative: steps would go uphill. NaN and -0.0 can be read."""
    w, optimizer = Variable(np.ones(3, dtype), name="w"), Adamax()
    optimizer.build([w])
    norm = optimizer.get_slot(w, "v")
    norm.assign(np.array([np.nan, -0.0, 1.0]))
    save_checkpoint(path, optimizer)
    load_checkpoint(path, optimizer)
    norm.assign(np.array([np.nan, 1.0, -1e-30]))
    optimizer.get_slot(w, "m").assign(np.array([1.0, 1.0, -1.0]))
    save_checkpoint(path, optimizer)
    other = Adamax()
    other.build([w])
    with pytest.raises(CheckpointError, match="'v/w' is negative somewhere"):
        load_checkpoint(path, other)
    assert not np.any(other.get_slot(w, "m").numpy())
    report = load_checkpoint(path, other, strict=False)
    assert list(report.misfits) == ["v/w"]
    assert not np.any(other.get_slot(w, "v").numpy())
    assert np.any(other.get_slot(w, "m").numpy())


def test_what_fits_is_loaded_if_that_is_asked_for(path: Path) -> None:
    """With ``strict=False`` the rest stays as it is, and is reported by name."""
    one_variable(path, a=np.full(2, 5.0), b=np.ones((2, 2)), c=np.ones(1))
    a, b, d = (Variable(np.zeros(2), name=name) for name in "abd")
    optimizer = Adamax()
    optimizer.build([d])
    report = load_checkpoint(path, optimizer, [a, b, d], strict=False)
    assert report.missing == ["variable/d", "m/d", "v/d"]
    assert report.unexpected == ["variable/c", "m/c", "v/c"]
    assert report.misfits.keys() == {"variable/b", "m/b", "v/b"}
    assert a.numpy() == pytest.approx([4.999, 4.999])
    assert np.array_equal(optimizer.get_slot(a, "v").numpy(), [1.0, 1.0])
    assert not any(variable.numpy().any() for variable in (b, d))
    assert int(optimizer.iterations) == 1


def test_an_optimizer_that_knows_nothing_says_so(path: Path) -> None:
    """The likely cause is in the message."""
    one_variable(path, a=np.ones(2))
    with pytest.raises(CheckpointError, match="has not seen a variable yet: pass variables"):
        load_checkpoint(path, Adamax())


def test_slots_can_be_saved_without_values(path: Path) -> None:
    """No variables are no values: the moments alone are saved, and loaded after `build`."""
    w = Variable(np.ones(2), name="w")
    saved = Adamax()
    saved.apply_gradients([(np.ones(2), w)])
    save_checkpoint(path, saved, [])
    assert list(inspect_checkpoint(path)["tensors"]) == ["m/w", "v/w"]
    other, loaded = Variable(np.zeros(2), name="w"), Adamax()
    with pytest.raises(CheckpointError, match="missing in the file: 'variable/w'"):
        load_checkpoint(path, loaded, [other])
    loaded.build([other])
    load_checkpoint(path, loaded, [])
    assert same(loaded.get_weights(), saved.get_weights())
    assert not other.numpy().any()


def test_variables_without_slots_can_be_saved(path: Path) -> None:
    """What is not trained is saved all the same, such as running means."""
    mean = Variable(np.arange(3), name="mean")
    save_checkpoint(path, Adamax(), {"means": [mean]})
    other = Variable(np.zeros(3, np.int64), name="mean")
    load_checkpoint(path, Adamax(), {"means": [other]})
    assert np.array_equal(other.numpy(), [0, 1, 2])


def test_names_that_cannot_be_told_apart_are_refused(path: Path) -> None:
    """Two variables or weights of one name, or a slot called as values are: all are named."""
    a, b = (Variable(np.ones(1), name="same") for _ in range(2))
    with pytest.raises(CheckpointError, match="received duplicates: 'variable/same'"):
        save_checkpoint(path, Adamax(), [a, b])
    optimizer = Adamax()
    for _ in range(2):
        optimizer.add_weight("twice", (1,))
    with pytest.raises(CheckpointError, match="'weight/twice'"):
        save_checkpoint(path, optimizer)
    optimizer = Adamax()
    optimizer.add_slot(Variable(np.ones(1), name="b/c"), "a")
    optimizer.add_slot(Variable(np.ones(1), name="c"), "a/b")
    with pytest.raises(CheckpointError, match="'a/b/c'"):
        save_checkpoint(path, optimizer, [])
    optimizer = Adamax()
    optimizer.add_slot(a, "variable")
    with pytest.raises(CheckpointError, match="slot names other than 'variable'"):
        save_checkpoint(path, optimizer, [])
    assert not path.exists()


def test_slots_may_be_called_anything_else(path: Path) -> None:
    """Slashes and the word for weights are no obstacle where nothing else has the name."""
    saved, loaded = ((Adamax(), Variable(np.ones(1), name="w/x")) for _ in range(2))
    for name in ("a/b", "weight", "ü", ""):
        saved[0].add_slot(saved[1], name, np.array([2.0]))
    save_checkpoint(path, *saved)
    load_checkpoint(path, *loaded)
    assert loaded[0].get_slot_names() == ["a/b", "weight", "ü", ""]
    assert all(weight.numpy() == 2.0 for weight in loaded[0].weights[1:])


def test_a_counter_that_is_too_small_is_told(path: Path) -> None:
    """Iterations that do not fit the counter's dtype are a misfit like any other."""
    saved = Adamax()
    saved.iterations.assign(2**40)
    save_checkpoint(path, saved)
    loaded = Adamax()
    loaded.iterations = Variable(np.asarray(7, np.int32))
    with pytest.raises(CheckpointError, match="'iterations' must be at most 2147483647"):
        load_checkpoint(path, loaded)
    report = load_checkpoint(path, loaded, strict=False)
    assert report.misfits.keys() == {"iterations"}
    assert int(loaded.iterations) == 7


def test_an_array_that_became_read_only_is_told(path: Path) -> None:
    """It is found before anything is assigned."""
    one_variable(path, array_0=np.ones(2), array_1=np.ones(2))
    arrays = [np.zeros(2), np.zeros(2)]
    optimizer = Adamax()
    optimizer.build(arrays)
    arrays[1].flags.writeable = False
    with pytest.raises(CheckpointError, match="'variable/array_1' cannot be assigned to"):
        load_checkpoint(path, optimizer)
    assert not arrays[0].any()


def test_a_library_that_cannot_take_the_numbers_leaves_all_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every array is converted before the first is assigned: a full device changes nothing."""
    saved = new_run(0)
    saved.train(1)
    save_checkpoint(path, saved.optimizer, saved.variables)
    loaded = new_run(1)
    before = loaded.state()
    converted: list[Any] = []

    def full(variable: Variable, array: Any) -> Any:
        if len(converted) == 8:
            raise MemoryError
        converted.append(array)
        return array

    monkeypatch.setattr(assigning, "_array_like", full)
    with pytest.raises(MemoryError):
        load_checkpoint(path, loaded.optimizer, loaded.variables)
    assert len(converted) == 8
    assert same(loaded.state(), before)


def test_a_missing_file_is_an_error_of_the_system(path: Path) -> None:
    """It is not mistaken for a damaged one."""
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path, Adamax())


def test_an_unknown_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later format is not guessed at; the message says where it may come from."""
    with monkeypatch.context() as patch:
        patch.setattr(contents, "FORMAT", 2)
        write(path, snapshot(Adamax())._replace(format=2))
    with pytest.raises(CheckpointError, match="expected format 1, found 2: was it written"):
        load_checkpoint(path, Adamax())


class Odd(Adamax):
    """An optimizer whose configuration is no dictionary."""

    def get_config(self) -> Any:
        return ["odd"]


def test_what_could_not_be_read_is_not_written(path: Path) -> None:
    """Negative steps and a configuration of another form are told before anything is replaced."""
    path.write_bytes(b"old")
    optimizer = Adamax()
    optimizer.iterations.assign(-1)
    with pytest.raises(CheckpointError, match="found -1"):
        save_checkpoint(path, optimizer)
    with pytest.raises(CheckpointError, match="of the wrong type"):
        save_checkpoint(path, Odd())
    assert path.read_bytes() == b"old"


def test_a_process_that_is_about_to_end_can_save(path: Path) -> None:
    """When no thread can be started any more, large arrays are still hashed and written."""
    code = (
        "import atexit, sys, numpy as np\n"
        "from adamax import Adamax, Variable, save_checkpoint\n"
        "w = Variable(np.ones(2**20), name='w')\n"
        "atexit.register(save_checkpoint, sys.argv[1], Adamax(), [w])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment())
    assert inspect_checkpoint(path)["tensors"]["variable/w"]["shape"] == (2**20,)
