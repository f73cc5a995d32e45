"""What people write first, out of the habits of other libraries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshots import snapshot

from adamax import Adamax, IndexedSlices, Variable, check_gradients, load_checkpoint
from adamax import save_checkpoint as save
from adamax_adapters.gradients import value_and_gradients

Iterables = Callable[[dict[str, Variable]], Any]


class Held:
    """A variable as Keras 3 has it: no array, with a value and `assign`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def assign(self, value: Any) -> None:
        raise AssertionError("the optimizer writes to the value")


def frozen(x: Any) -> Any:
    x.flags.writeable = False
    return x


G = np.ones(2)
SWAPPED: list[tuple[Any, Any]] = [
    (Variable(np.ones(2)), np.ones(2)),
    (Variable(np.ones(2)), None),
    (Variable(np.ones(2)), frozen(np.ones(2))),
    (Variable(np.ones(2)), IndexedSlices(np.ones(1), np.array([0]))),
    (Held(np.ones(2)), np.ones(2)),
    (np.ones(2), None),
    (np.ones(2), frozen(np.ones(2))),
    (np.ones(2), IndexedSlices(np.ones(1), np.array([0]))),
]


@pytest.mark.parametrize("pair", SWAPPED)
def test_swapped_pairs_are_refused(pair: tuple[Any, Any]) -> None:
    """(variable, gradient) for (gradient, variable) is told, where it shows, at every step."""
    w = Variable(np.ones(2), name="w")
    optimizer = Adamax()
    optimizer.apply_gradients([(G, w)])
    before = snapshot(optimizer, w)
    with pytest.raises(TypeError, match=r"grads_and_vars\[1\]: are gradient and variable swapped"):
        optimizer.apply_gradients([(G, w), pair])
    assert snapshot(optimizer, w) == before


def test_swapped_tensors_are_refused() -> None:
    """A parameter of torch in the place of a gradient is told by the graph that it is a leaf of."""
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="are gradient and variable swapped"):
        Adamax().apply_gradients([(parameter, torch.ones(2))])


def test_a_variable_may_be_the_gradient_of_another() -> None:
    """Pairs that are meant are no error: of Variables, of raw arrays, and of one and itself."""
    a, b, raw = Variable(np.ones(2)), Variable(np.ones(2)), np.ones(2)
    optimizer = Adamax(0.1)
    optimizer.apply_gradients([(a, b), (b, a), (raw, raw), (raw, a)])
    assert optimizer.iterations == 1


ITERABLES: dict[str, Iterables] = {
    "values": lambda named: named.values(),
    "iterator": lambda named: iter(named.values()),
    "generator": lambda named: (v for v in named.values()),
    "map": lambda named: map(named.get, named),
    "nested": lambda named: {"all": [iter(named.values())]},
    "lists": lambda named: [[v] for v in named.values()],
}


@pytest.mark.parametrize("given", ITERABLES.values(), ids=ITERABLES)
def test_variables_come_in_any_iterable(given: Iterables, tmp_path: Path) -> None:
    """Wherever variables are taken, an iterable of them is, and read once, in its order."""
    named = {name: Variable(np.ones(n), name=name) for n, name in enumerate("cab", 1)}
    optimizer = Adamax(0.1)
    optimizer.build(given(named))
    assert [x.name for x in optimizer.weights[1:4]] == [f"Adamax/{name}/m" for name in "cab"]

    def loss() -> Any:
        return sum(np.sum(v.value**2) for v in named.values())

    _, gradients = value_and_gradients(loss, given(named))
    assert [len(g) for g in gradients] == [1, 2, 3]
    check_gradients(loss, given(named))
    optimizer.minimize(loss, given(named))
    optimizer.minimize(loss, lambda: given(named))
    path = tmp_path / "run.safetensors"
    save(path, optimizer, given(named))
    values = {name: v.numpy() for name, v in named.items()}
    optimizer.minimize(loss, given(named))
    load_checkpoint(path, optimizer, given(named))
    assert all((named[name].numpy() == values[name]).all() for name in named)


def test_gradients_are_nested_as_a_generator_was() -> None:
    """A loss that returns gradients lines them up with variables that a generator gave."""
    variables = [Variable(np.ones(n)) for n in (1, 2)]
    optimizer = Adamax(0.1)
    optimizer.minimize(lambda: (0.0, [v.value for v in variables]), (v for v in variables))
    assert [v.numpy()[0] for v in variables] == pytest.approx([0.9, 0.9])


@pytest.mark.parametrize("unordered", [set, frozenset])
def test_sets_of_variables_are_refused(unordered: Callable[[Any], Any]) -> None:
    """A set has another order in every process, in which slots would not be found again."""
    with pytest.raises(TypeError, match=r"Expected variables in an order, received a .*set"):
        Adamax().build(unordered([Variable(np.ones(1))]))


def test_a_module_is_told_to_pass_its_parameters() -> None:
    """A module of torch, which is callable and may be iterable, is no set of variables."""
    torch = pytest.importorskip("torch")
    optimizer, linear = Adamax(), torch.nn.Linear(2, 1)
    for module in (linear, torch.nn.Sequential(linear)):
        with pytest.raises(TypeError, match=r"received a torch.*; pass its parameters\(\)"):
            optimizer.build(module)
        with pytest.raises(TypeError, match=r"received a torch.*; pass its parameters\(\)"):
            optimizer.minimize(lambda: linear(torch.ones(1, 2)).sum(), module)
        with pytest.raises(TypeError, match=r"the constructor takes no parameters"):
            Adamax(module)


def test_parameters_of_a_module_are_taken() -> None:
    """`module.parameters()` is a generator of what torch trains."""
    torch = pytest.importorskip("torch")
    module, optimizer = torch.nn.Linear(2, 1), Adamax(0.1)
    optimizer.build(module.parameters())
    before = [p.detach().clone() for p in module.parameters()]
    optimizer.minimize(lambda: module(torch.ones(3, 2)).sum(), module.parameters())
    for p, was in zip(module.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), was - 0.1)


PARAMETERS: list[tuple[Any, str]] = [
    ([np.ones(2)], "list"),
    ({"w": np.ones(2)}, "dict"),
    (map(np.ones, (1, 2)), "map"),
    (np.ones(2), "numpy.ndarray"),
]


@pytest.mark.parametrize(("parameters", "received"), PARAMETERS)
def test_parameters_in_the_constructor_are_refused(parameters: Any, received: str) -> None:
    """`Adamax(model.parameters(), lr=...)` says where parameters go, also where `lr` is given."""
    told = f"Expected learning_rate to be a number, received: {received}; .*call minimize"
    for lr in (None, 0.1):
        with pytest.raises(TypeError, match=told):
            Adamax(parameters, lr=lr)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("step", "call minimize"),
        ("zero_grad", "keeps no gradients"),
        ("param_groups", "one optimizer for each group"),
        ("state_dict", "save_checkpoint"),
        ("load_state_dict", "load_checkpoint"),
    ],
)
def test_members_of_other_optimizers_say_what_to_do(name: str, way: str) -> None:
    """An attribute that torch's optimizers have is missing, and the error has the way out."""
    optimizer = Adamax()
    assert not hasattr(optimizer, name)
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; .*{way}"):
        getattr(optimizer, name)


def test_a_writable_value_is_trained_in_place() -> None:
    """A `keras.Variable` of NumPy or torch is its array: known again, its slots found."""
    held: Any = Held(np.ones(2))
    other: Any = Held(held.value)
    optimizer = Adamax(0.1)
    for _ in range(2):
        optimizer.apply_gradients([(G, held)])
    optimizer.build([held, other])
    assert held.value.tolist() == pytest.approx([0.8, 0.8])
    assert optimizer.get_slot_names() == ["m", "v"]
    assert len(optimizer.weights) == 3
    assert optimizer.get_slot(held, "m") is optimizer.get_slot(held.value, "m")


def test_a_value_that_cannot_be_written_to_is_refused() -> None:
    """A `keras.Variable` of JAX or TensorFlow is named, with a way that works."""
    optimizer = Adamax()
    for value in (frozen(np.ones(2)), [1.0, 1.0]):
        held: Any = Held(value)
        for use in (
            lambda: optimizer.apply_gradients([(G, held)]),  # noqa: B023
            lambda: optimizer.build([held]),  # noqa: B023
            lambda: optimizer.get_slot(held, "m"),  # noqa: B023
        ):
            with pytest.raises(TypeError, match=r"received a .*Held, whose value, a .* v.assign"):
                use()
    assert optimizer.get_slot_names() == []


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_broadcast_views_are_refused(library: str) -> None:
    """An array whose elements are one element in memory cannot be stepped element by element."""
    xp = pytest.importorskip(library)
    if library == "torch":
        view = xp.ones(1).expand(3)
    else:
        view = np.lib.stride_tricks.as_strided(np.ones(1), (3,), (0,))
    optimizer = Adamax()
    for use in (optimizer.build, lambda x: optimizer.apply_gradients([(xp.ones(3), x[0])])):
        with pytest.raises(ValueError, match=r"broadcast view.* for array_0; pass a copy"):
            use([view])
    assert view.tolist() == [1, 1, 1]
    assert optimizer.get_slot_names() == []


def test_an_aggregation_flag_is_accepted() -> None:
    """`experimental_aggregate_gradients` says nothing in one process, as in the reference."""
    w = Variable(np.ones(2))
    for flag in (True, False):
        Adamax(0.1).apply_gradients([(G, w)], experimental_aggregate_gradients=flag)
    assert w.value.tolist() == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize("method", ["_aggregate_gradients", "_resource_apply_dense"])
def test_methods_that_only_keras_calls_are_refused(method: str) -> None:
    """A subclass that overrides one of them would have no effect, and is an error at once."""
    with pytest.raises(TypeError, match=f"received {method}, for the class Mine: only Keras calls"):
        type("Mine", (Adamax,), {method: lambda self, *arguments: None})
