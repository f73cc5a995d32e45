"""The state of an optimizer is plain data, which goes out and in: all of it, or nothing."""

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libraries import Library, Usage
from runs import new_run, same
from snapshots import snapshot

from adamax import Adamax, OptimizerState, Variable, load_checkpoint, save_checkpoint
from adamax_adapters.step import assigning
from adamax_adapters.step.state import LoadReport, VariableState

NOTHING = LoadReport([], [], {})
START = [[0.1, -3.0], [1e-3, 65000.0]]
SLOPE = [[0.5, 0.25], [-1.0, 2.0]]


def stepped(library: Library, name: str = "w") -> tuple[Adamax, Variable]:
    """Return an optimizer and a variable after one step."""
    w, optimizer = Variable(library.asarray(START), name=name), Adamax(0.01)
    optimizer.apply_gradients([(library.asarray(SLOPE), w)])
    return optimizer, w


def arrays(state: OptimizerState) -> list[Any]:
    """Return every array of a state, in order."""
    entries = [*state.variables, *state.weights]
    return [x for e in entries for x in [e.value, *e.slots.values()] if x is not None]


def test_a_state_holds_everything() -> None:
    """Its fields are what the optimizer's own methods return, in the order of the variables."""
    run = new_run()
    run.train(2)
    optimizer = run.optimizer
    state = optimizer.get_state()
    assert (state.step, state.class_name, state.epsilon_in) == (2, "Adamax", "division")
    assert state.hyperparameters == optimizer.get_config()
    assert [entry.name for entry in state.variables] == ["dense/kernel", "table ü", "bias"]
    assert [[*entry.slots] for entry in state.variables] == [
        ["average", "m", "v"],
        *[["m", "v"]] * 2,
    ]
    for entry, variable in zip(state.variables, run.variables, strict=True):
        assert (entry.dtype, entry.shape) == ("float64", variable.shape)
        assert same([entry.value], [variable.numpy()])
        for name, array in entry.slots.items():
            assert same([array], [optimizer.get_slot(variable, name).numpy()])
            assert state.slots[entry.name][name] is array
    (weight,) = state.weights
    assert (weight.name, weight.dtype, weight.shape, weight.slots) == (
        "best loss",
        "float32",
        (),
        {},
    )


def test_a_state_stays_what_it_was() -> None:
    """Neither later steps change it, nor does a change of it reach the optimizer."""
    run = new_run()
    run.train(1)
    state = run.optimizer.get_state()
    before = pickle.dumps(state)
    run.train(1)
    assert pickle.dumps(state) == before
    run.optimizer.set_state(state)
    live = run.state()
    for array in arrays(state):
        array[...] = 7.0
    assert same(run.state(), live)


def test_every_library_gives_and_takes_a_state(library: Library) -> None:
    """What goes out comes back bit by bit, into variables and slots that are made for it."""
    optimizer, w = stepped(library)
    state = optimizer.get_state()
    assert (state.variables[0].dtype, state.variables[0].shape) == (library.dtype, (2, 2))
    assert {name: x.dtype.name for name, x in state.slots["w"].items()} == dict.fromkeys(
        "mv", library.wide
    )
    other, resumed = Variable(library.asarray(np.zeros((2, 2))), name="w"), Adamax(0.01)
    assert resumed.set_state(state, [other]) == NOTHING
    assert np.array_equal(library.read(other.value), library.read(w.value))
    for name in ("m", "v"):
        mine = library.read(resumed.get_slot(other, name).value, library.wide)
        assert np.array_equal(mine, library.read(optimizer.get_slot(w, name).value, library.wide))
    assert int(resumed.iterations) == 1


def test_a_state_goes_from_one_library_to_another(library: Library) -> None:
    """What NumPy's arrays gave is what a variable of any library then has, and gives back."""
    giver = Library(Usage.NUMPY, library.dtype)
    optimizer, w = stepped(giver)
    other, resumed = Variable(library.asarray(np.zeros((2, 2))), name="w"), Adamax(0.01)
    assert resumed.set_state(optimizer.get_state(), [other]) == NOTHING
    assert np.array_equal(library.read(other.value), giver.read(w.value))
    back = resumed.get_state()
    w.assign(np.zeros((2, 2)))
    assert optimizer.set_state(back) == NOTHING
    assert np.array_equal(giver.read(w.value), back.variables[0].value.astype("float64"))


def test_names_that_are_not_unique_are_told_apart_by_order() -> None:
    """The second of a name in a state is the second among the variables that are given."""
    pair = [Variable(np.full(2, x), name="w") for x in (1.0, 2.0)]
    optimizer = Adamax()
    optimizer.apply_gradients([(np.full(2, x), w) for x, w in zip((3.0, 4.0), pair, strict=True)])
    state = optimizer.get_state()
    others = [Variable(np.zeros(2), name="w") for _ in range(2)]
    resumed = Adamax()
    resumed.build(others[::-1])
    assert resumed.set_state(state, others) == NOTHING
    for mine, theirs in zip(others, pair, strict=True):
        assert same([mine.numpy()], [theirs.numpy()])
        for name in ("m", "v"):
            slots = resumed.get_slot(mine, name), optimizer.get_slot(theirs, name)
            assert same(*([slot.numpy()] for slot in slots))
    with pytest.raises(ValueError, match="received duplicates: 'w'; read the slots of `variables`"):
        _ = state.slots


@pytest.mark.parametrize("count", [1, 3])
def test_names_that_do_not_tell_variables_apart_are_refused(count: int) -> None:
    """Two variables of a name and one or three in the state: nobody knows which is which."""
    pair = [Variable(np.ones(1), name="w") for _ in range(2)]
    optimizer = Adamax()
    optimizer.build(pair)
    state = optimizer.get_state()
    entries = [state.variables[0]] * count
    before = snapshot(optimizer, *pair)
    with pytest.raises(ValueError, match=r"as many variables of a name as the state has.*'w'"):
        optimizer.set_state(state._replace(variables=entries, step=9), strict=False)
    assert snapshot(optimizer, *pair) == before


def test_values_are_those_of_the_variables_that_are_asked_for() -> None:
    """Slots always go out; a value that is not asked for stays, and so does one not given."""
    run = new_run()
    run.train(1)
    first, *rest = run.variables
    state = run.optimizer.get_state([first])
    assert [entry.value is None for entry in state.variables] == [False, True, True]
    unseen = Variable(np.ones(1), name="unseen")
    assert [x.name for x in run.optimizer.get_state({"a": [unseen]}).variables][-1] == "unseen"
    other = new_run(1)
    other.optimizer.build(other.variables)
    values = [variable.numpy() for variable in other.variables[1:]]
    assert other.optimizer.set_state(state, other.variables[:1]) == NOTHING
    assert same([other.variables[0].numpy()], [first.numpy()])
    assert same([variable.numpy() for variable in other.variables[1:]], values)
    assert same(other.optimizer.get_weights(), run.optimizer.get_weights())
    assert rest[0].name == "table ü"


def test_what_does_not_fit_is_told_at_once_and_changes_nothing() -> None:
    """The error lists every fault by name, and neither a slot nor a number is touched."""
    pair = [Variable(np.ones(shape), name=name) for name, shape in (("a", 2), ("b", (2, 2)))]
    giver = Adamax()
    giver.apply_gradients([(np.ones(x.shape), x) for x in pair])
    a, b, d = (
        Variable(np.zeros(2, "f4"), "a"),
        Variable(np.zeros(2), "b"),
        Variable(np.zeros(1), "d"),
    )
    taker = Adamax()
    before = snapshot(taker, a, b, d)
    with pytest.raises(ValueError, match="does not fit") as raised:
        taker.set_state(giver.get_state(), [a, d])
    assert str(raised.value) == (
        "the state does not fit: "
        "'variable/a' must be float32 of shape (2,), is float64 of shape (2,); "
        "'m/a' must be float32 of shape (2,), is float64 of shape (2,); "
        "'v/a' must be float32 of shape (2,), is float64 of shape (2,); "
        "missing in the state: 'variable/d'; "
        "only in the state: 'variable/b', 'm/b', 'v/b'"
    )
    assert snapshot(taker, a, b, d) == before
    report = taker.set_state(giver.get_state(), [a, d], strict=False)
    assert report.missing == ["variable/d"]
    assert report.unexpected == ["variable/b", "m/b", "v/b"]
    assert [*report.misfits] == ["variable/a", "m/a", "v/a"]
    assert int(taker.iterations) == 1
    assert not np.any(a.numpy())


def changed(**fields: Any) -> Callable[[OptimizerState], Any]:
    return lambda state: state._replace(**fields)


def with_entry(**fields: Any) -> Callable[[OptimizerState], Any]:
    return lambda state: state._replace(variables=[state.variables[0]._replace(**fields)])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (changed(step=-1), ValueError, "'iterations' must be at least 0, is -1"),
        (changed(step=2**63), ValueError, "'iterations' must be at most 9223372036854775807"),
        (changed(step=1.5), TypeError, "float"),
        (changed(epsilon_in="maximum"), ValueError, "received a state with epsilon in the maximum"),
        (tuple, TypeError, "Expected an OptimizerState, received: tuple"),
        (with_entry(value=[1.0]), ValueError, "'variable/w' must be an array of NumPy, is a list"),
        (with_entry(slots={"m": np.zeros((2, 2))}), ValueError, "missing in the state: 'v/w'"),
        (
            with_entry(slots={"m": np.zeros((2, 2)), "v": -np.ones((2, 2))}),
            ValueError,
            "'v/w' is negative somewhere",
        ),
    ],
)
def test_states_that_cannot_be_meant_are_refused(
    change: Callable[[OptimizerState], Any], error: type[Exception], message: str
) -> None:
    """The error says what is wrong; the optimizer and the variable are as before."""
    optimizer, w = Adamax(), Variable(np.ones((2, 2)), name="w")
    optimizer.apply_gradients([(np.ones((2, 2)), w)])
    state = change(optimizer.get_state())
    before = snapshot(optimizer, w)
    with pytest.raises(error, match=message):
        optimizer.set_state(state)
    assert snapshot(optimizer, w) == before


def test_an_error_in_the_middle_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is full after some arrays leaves values, steps and the set of slots."""
    run = new_run()
    run.train(2)
    state = run.optimizer.get_state()
    other = new_run(1)
    before = snapshot(other.optimizer, *other.variables)
    converted: list[Any] = []

    def full(variable: Variable, array: Any) -> Any:
        if len(converted) == 5:
            raise MemoryError
        converted.append(array)
        return array

    monkeypatch.setattr(assigning, "_array_like", full)
    with pytest.raises(MemoryError):
        other.optimizer.set_state(state, other.variables)
    assert len(converted) == 5
    assert snapshot(other.optimizer, *other.variables) == before


def leaves(x: Any) -> list[Any]:
    """Return what is in nested tuples, lists and dictionaries."""
    if isinstance(x, dict):
        return [leaf for pair in x.items() for leaf in leaves(list(pair))]
    return [leaf for part in x for leaf in leaves(part)] if isinstance(x, tuple | list) else [x]


def test_a_state_is_plain_data(library: Library) -> None:
    """It holds tuples, lists, dictionaries, arrays of NumPy, text and numbers; it is pickled."""
    optimizer, _ = stepped(library)
    optimizer.add_weight("best", (2,))
    state = optimizer.get_state()
    plain = {np.ndarray, str, int, float, type(None)}
    assert {type(leaf) for leaf in leaves(state)} <= plain
    assert {type(entry) for entry in (*state.variables, *state.weights)} == {VariableState}
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is OptimizerState
    assert same(arrays(again), arrays(state))
    assert again._replace(variables=[], weights=[]) == state._replace(variables=[], weights=[])


def test_a_file_holds_what_a_state_holds(tmp_path: Path) -> None:
    """A state that went through a file is that which was taken out, bit by bit."""
    run = new_run()
    run.train(3)
    save_checkpoint(tmp_path / "file", run.optimizer)
    state = run.optimizer.get_state()
    other = new_run(1)
    load_checkpoint(tmp_path / "file", other.optimizer, other.variables)
    found = other.optimizer.get_state()
    assert [x.name for x in found.variables] == [x.name for x in state.variables]
    assert found.step == state.step
    assert same(arrays(found), arrays(state))


def test_description_has_no_numbers() -> None:
    """`describe` lists variables as they are given, with the slots that they have."""
    run = new_run()
    run.train(1)
    kernel, table, bias = run.variables
    raw = np.ones(3, "f4")
    assert run.optimizer.describe([bias, {"raw": raw}]) == [
        VariableState("bias", "float64", (), None, {"m": None, "v": None}),
        VariableState("array_0", "float32", (3,), None, {}),
    ]
    names = [entry.name for entry in run.optimizer.describe()]
    assert names == [kernel.name, table.name, bias.name]


def peak(call: Callable[[], Any]) -> int:
    """Return the bytes of memory that a call takes at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_state_and_files_copy_every_array_once(tmp_path: Path) -> None:
    """Taking out, saving and putting back hold one copy; loading holds the file too."""
    w, optimizer = Variable(np.ones(2**18), name="w"), Adamax()
    optimizer.apply_gradients([(np.ones(2**18), w)])
    once = 3 * w.numpy().nbytes
    state = optimizer.get_state()
    path = tmp_path / "file"
    assert once < peak(optimizer.get_state) < 1.1 * once
    assert once < peak(lambda: save_checkpoint(path, optimizer)) < 1.1 * once
    assert once < peak(lambda: optimizer.set_state(state)) < 1.2 * once
    assert 2 * once < peak(lambda: load_checkpoint(path, optimizer)) < 2.2 * once
