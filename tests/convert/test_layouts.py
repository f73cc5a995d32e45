"""The three orders in which Keras lists the state, held to lists that real Keras made."""

from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from runs import same

from adamax import Adamax, Variable, get_keras_weights, set_keras_weights
from adamax.schedules import ExponentialDecay
from adamax_adapters.convert.layouts import Layout

DATA = Path(__file__).parents[1] / "data" / "keras"
NAMES = ["first/kernel", "first/bias", "second/kernel", "second/bias"]
LAYOUT_OF: dict[str, Layout] = {
    "keras": "keras",
    "schedule": "keras",
    "tf-keras": "tf-keras",
    "legacy": "tf.keras",
}
each_kind = pytest.mark.parametrize("kind", LAYOUT_OF)


class Found:
    """What a real Keras optimizer held after 3 steps, by the names that Keras gave it."""

    def __init__(self, kind: str) -> None:
        with np.load(DATA / f"{kind}.npz") as file:
            self.arrays = dict(file)
        self.kind = kind

    def state(self) -> list[Any]:
        """Return the list in the order of that optimizer."""
        return [self.arrays[key] for key in sorted(self.arrays) if key.startswith("state/")]

    def variables(self, dtype: str = "float32") -> list[Variable]:
        """Return variables with the values of the model, in its order."""
        values = (self.arrays[f"variable/{name}"].astype(dtype) for name in NAMES)
        return [Variable(value, name=name) for value, name in zip(values, NAMES, strict=True)]

    def optimizer(self) -> Adamax:
        """Return one that is set as the Keras optimizer was, before its first step."""
        return Adamax(ExponentialDecay(0.25, 10, 0.5) if self.kind == "schedule" else 0.25)

    def check(self, optimizer: Adamax, variables: list[Variable]) -> None:
        """Every moment is that which Keras calls by the name of its variable; steps are 3."""
        assert int(optimizer.iterations) == 3
        for variable in variables:
            for slot in ("m", "v"):
                mine = optimizer.get_slot(variable, slot).numpy()
                assert np.array_equal(mine, self.arrays[f"{slot}/{variable.name}"]), variable.name

    def check_next_step(self, optimizer: Adamax, variables: list[Variable]) -> None:
        """One more step leads where it led Keras."""
        gradients = [self.arrays[f"gradient/{variable.name}"] for variable in variables]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for variable in variables:
            expected = self.arrays[f"next/{variable.name}"]
            assert variable.numpy() == pytest.approx(expected, rel=1e-6), variable.name


@each_kind
def test_lists_of_keras_are_understood(kind: str) -> None:
    """The right values are in the right places, and the next step is the one that Keras took."""
    found = Found(kind)
    optimizer, variables = found.optimizer(), found.variables()
    optimizer.build(variables)
    rate = set_keras_weights(optimizer, found.state(), LAYOUT_OF[kind])
    assert rate == (0.25 if kind == "keras" else None)
    found.check(optimizer, variables)
    found.check_next_step(optimizer, variables)


@each_kind
def test_lists_are_as_keras_makes_them(kind: str) -> None:
    """What was read is written again as it was: number, order, shapes and values."""
    found = Found(kind)
    optimizer = found.optimizer()
    variables = found.variables()
    optimizer.build(variables)
    set_keras_weights(optimizer, found.state(), LAYOUT_OF[kind])
    optimizer.add_slot(variables[0], "average")
    optimizer.add_weight("more", ())
    mine = get_keras_weights(optimizer, LAYOUT_OF[kind])
    assert len(mine) == len(found.state())
    assert all(np.array_equal(x, y) for x, y in zip(mine, found.state(), strict=True))
    assert same(mine[2:], found.state()[2:])
    assert mine[0].dtype == np.int64


@pytest.mark.parametrize("layout", ["tf.keras", "tf-keras", "keras"])
def test_lists_go_there_and_back_in_every_library(layout: Layout) -> None:
    """Arrays of another library, variables and numbers are taken as well as NumPy's."""
    found = Found("keras")
    optimizer = found.optimizer()
    optimizer.build(found.variables())
    set_keras_weights(optimizer, found.state(), "keras")
    listed = get_keras_weights(optimizer, layout)
    foreign = [array_api_strict.asarray(array) for array in listed]
    other, variables = found.optimizer(), found.variables()
    other.build(variables)
    set_keras_weights(other, foreign, layout)
    found.check(other, variables)
    set_keras_weights(other, [Variable(np.zeros_like(x)) for x in listed], layout)
    assert not any(weight.numpy().any() for weight in other.weights)
    set_keras_weights(other, [x.tolist() for x in listed], layout)
    found.check(other, variables)


def test_the_order_of_the_reference_is_that_of_get_weights() -> None:
    """tf.keras listed its weights as `get_weights` does here."""
    found = Found("legacy")
    optimizer = found.optimizer()
    optimizer.build(found.variables())
    optimizer.set_weights(found.state())
    assert same(optimizer.get_weights(), get_keras_weights(optimizer, "tf.keras"))


def test_16_bit_parameters_take_16_bit_moments() -> None:
    """What Keras kept in 16 bits goes on in 32."""
    found = Found("keras")
    optimizer, variables = found.optimizer(), found.variables("float16")
    optimizer.build(variables)
    halves = [x.astype(np.float16) if x.dtype.kind == "f" else x for x in found.state()]
    set_keras_weights(optimizer, halves, "keras")
    slot = optimizer.get_slot(variables[0], "m").numpy()
    assert slot.dtype == np.float32
    assert np.array_equal(slot, halves[2])


def wrong(state: list[Any], kind: str) -> list[Any]:
    """Return a list that is not quite right."""
    match kind:
        case "too few":
            return state[:-1]
        case "too many":
            return [*state, state[-1]]
        case "another shape":
            return [*state[:-1], state[-1][:1]]
        case "negative norm":
            return [*state[:-1], -state[-1]]
        case "no number":
            return [*state[:-1], np.array(["a", "b"])]
        case "no rate":
            return [state[0], state[2], *state[2:]]
        case "negative rate":
            return [state[0], -state[1], *state[2:]]
        case _:
            return [np.asarray(2.0**70), *state[1:]]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("too few", r"shape \(2, 2\) of Adamax/first/kernel/m is not compatible with .* \(\)"),
        ("too many", "weight list of length 11, but the optimizer was expecting 9 weights"),
        ("another shape", r"shape \(2,\) of Adamax/second/bias/v is not compatible with .* \(1,\)"),
        ("negative norm", "Adamax/second/bias/v is negative somewhere, which an infinity norm"),
        ("no number", "Expected an array of real numbers for Adamax/second/bias/v"),
        ("no rate", "Expected the learning rate among the weights to be a number"),
        ("negative rate", "Expected the learning rate among the weights >= 0"),
        ("too many steps", "Adamax/iter does not fit int64"),
    ],
)
def test_lists_that_do_not_fit_change_nothing(kind: str, message: str) -> None:
    """The error says what is wrong with which; whatever was there stays."""
    found = Found("keras")
    optimizer = found.optimizer()
    optimizer.build(found.variables())
    with pytest.raises((TypeError, ValueError), match=message):
        set_keras_weights(optimizer, wrong(found.state(), kind), "keras")
    assert not any(weight.numpy().any() for weight in optimizer.weights)


@pytest.mark.parametrize("slot", ["m", "v"])
def test_a_moment_that_became_read_only_is_told_before_anything_changes(slot: str) -> None:
    """Not even the moments before it in the list are assigned."""
    found = Found("keras")
    optimizer, variables = found.optimizer(), found.variables()
    optimizer.build(variables)
    optimizer.get_slot(variables[2], slot).value.flags.writeable = False
    with pytest.raises(ValueError, match=f"read-only one, for Adamax/second/kernel/{slot}"):
        set_keras_weights(optimizer, found.state(), "keras")
    assert not any(weight.numpy().any() for weight in optimizer.weights)


def test_a_list_in_another_order_is_noticed() -> None:
    """Shapes alone would not tell grouped from interleaved lists; a norm below 0 does."""
    found = Found("legacy")
    optimizer = found.optimizer()
    optimizer.build([variable for variable in found.variables() if variable.ndim == 1])
    biases = [array for array in found.state() if array.ndim != 2]
    assert len(biases) == 5
    with pytest.raises(ValueError, match="are the weights in another layout than 'tf-keras'"):
        set_keras_weights(optimizer, biases, "tf-keras")


def test_other_layouts_are_refused() -> None:
    """The error lists those there are."""
    layouts: list[Any] = ["keras 3", ""]
    for call in (
        lambda: get_keras_weights(Adamax(), layouts[0]),
        lambda: set_keras_weights(Adamax(), [], layouts[1]),
    ):
        with pytest.raises(ValueError, match=r"one of tf\.keras, tf-keras, keras, received"):
            call()
