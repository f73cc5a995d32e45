"""Configurations: dictionaries and JSON text from which an equal optimizer is built."""

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adamax
from adamax import Adamax, Variable, schedules

fractions = st.floats(0, 1, exclude_max=True)
sizes = st.floats(0, allow_infinity=False)
rates = st.one_of(
    sizes,
    st.builds(schedules.ExponentialDecay, sizes, st.floats(1, 1e6), sizes, st.booleans()),
    st.builds(
        lambda values: schedules.PiecewiseConstantDecay(range(1, len(values)), values),
        st.lists(sizes, min_size=2, max_size=5),
    ),
)
optimizers = st.builds(
    Adamax,
    learning_rate=rates,
    beta_1=fractions,
    beta_2=fractions,
    epsilon=sizes,
    name=st.text(min_size=1),
    decay=sizes,
    clipnorm=st.none() | sizes,
    clipvalue=st.none() | sizes,
    global_clipnorm=st.none() | sizes,
)


def of_config(optimizer: Adamax) -> Adamax:
    return Adamax.from_config(optimizer.get_config())


def of_serialized(optimizer: Adamax) -> Adamax:
    return adamax.deserialize(adamax.serialize(optimizer))


def of_plain_json(optimizer: Adamax) -> Adamax:
    text = json.dumps(adamax.serialize(optimizer), allow_nan=False)
    return adamax.get(json.loads(text))


def of_json(optimizer: Adamax) -> Adamax:
    return Adamax.from_json(optimizer.to_json())


each_round_trip = pytest.mark.parametrize(
    "round_trip", [of_config, of_serialized, of_plain_json, of_json]
)


@each_round_trip
@given(optimizer=optimizers)
def test_every_round_trip_is_exact(
    round_trip: Callable[[Adamax], Adamax], optimizer: Adamax
) -> None:
    """Every number of every hyperparameter comes back as the same double."""
    built = round_trip(optimizer)
    assert built.get_config() == optimizer.get_config()
    assert built.learning_rate == optimizer.learning_rate
    for name in ("decay", "beta_1", "beta_2", "epsilon", "clipnorm", "clipvalue"):
        assert getattr(built, name) == getattr(optimizer, name)


@each_round_trip
def test_a_rebuilt_optimizer_takes_the_same_steps(round_trip: Any) -> None:
    """After a round trip in mid-run, with the weights set, the run goes on bit for bit."""
    rate = schedules.CosineDecay(0.1, 10, alpha=0.1)
    optimizer = Adamax(rate, beta_1=0.7, clipnorm=1.0, global_clipnorm=0.9, decay=0.1)
    a, gradients = Variable(np.ones(3)), np.random.default_rng(6).normal(size=(6, 3))
    for gradient in gradients[:3]:
        optimizer.apply_gradients([(gradient, a)])
    b, built = Variable(a), round_trip(optimizer)
    built.build([b])
    built.set_weights(optimizer.get_weights())
    for gradient in gradients[3:]:
        optimizer.apply_gradients([(gradient, a)])
        built.apply_gradients([(gradient, b)])
    np.testing.assert_array_equal(a.value, b.value)


def test_keys_are_in_the_order_of_the_reference() -> None:
    """name, the limits that are set, then the five numbers; never `lr`."""
    optimizer = Adamax(lr=0.5, global_clipnorm=3, clipvalue=2, clipnorm=1)
    numbers = ["learning_rate", "decay", "beta_1", "beta_2", "epsilon"]
    limits = ["clipnorm", "clipvalue", "global_clipnorm"]
    assert list(optimizer.get_config()) == ["name", *limits, *numbers]
    assert list(Adamax().get_config()) == ["name", *numbers]


def test_config_is_a_copy() -> None:
    """What the caller does to a configuration does not reach the optimizer."""
    optimizer = Adamax(schedules.PiecewiseConstantDecay([1], [0.5, 0.25]))
    before = copy.deepcopy(optimizer.get_config())
    config = optimizer.get_config()
    config["learning_rate"]["config"]["values"].clear()
    config.clear()
    assert optimizer.get_config() == before


def test_config_follows_assignments() -> None:
    """A configuration holds what the hyperparameters are now."""
    optimizer = Adamax(0.1, clipnorm=1.0)
    optimizer.lr, optimizer.decay, optimizer.clipnorm = 0.2, 0.3, None
    config = optimizer.get_config()
    assert (config["learning_rate"], config["decay"]) == (0.2, 0.3)
    assert "clipnorm" not in config


def test_no_config_is_the_defaults() -> None:
    """An empty configuration builds the default optimizer."""
    assert Adamax.from_config({}).get_config() == Adamax().get_config()


def test_lr_wins_in_a_config_too() -> None:
    """`lr` in a configuration is `learning_rate`, and overrides it, also with a schedule."""
    schedule = schedules.InverseTimeDecay(0.5, 10, 0.1)
    config = {"learning_rate": 0.1, "lr": schedules.serialize(schedule)}
    assert Adamax.from_config(config).learning_rate == schedule
    assert Adamax.from_config({"learning_rate": schedule}).learning_rate is schedule


@pytest.mark.parametrize("config", [None, 7, "Adamax", ["lr"], [("lr", 0.5)]])
def test_what_is_no_config_is_refused(config: Any) -> None:
    """Whatever is no dictionary is a TypeError that shows it, by every way in."""
    with pytest.raises(TypeError, match="Expected config to be a dictionary, received"):
        Adamax.from_config(config)
    with pytest.raises(TypeError, match="Expected config to be a dictionary, received"):
        adamax.deserialize({"class_name": "Adamax", "config": config})


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"momentum": 0.9}, TypeError, "Unexpected keyword argument .*momentum"),
        ({"beta_1": 1.0}, ValueError, r"beta_1 in \[0, 1\)"),
        ({"learning_rate": None}, ValueError, "learning_rate to be a number"),
        ({"lr": "fast"}, TypeError, "learning_rate to be a number"),
        ({"learning_rate": {"class_name": "ExponentialDecay"}}, ValueError, "Improper config"),
        ({"learning_rate": {}}, ValueError, "Improper config"),
        ({"learning_rate": {"class_name": "Slow", "config": {}}}, ValueError, "Unknown decay"),
        (
            {"learning_rate": {"class_name": "exponentialdecay", "config": {}}},
            ValueError,
            "Unknown",
        ),
    ],
)
def test_wrong_configs_are_refused(
    config: dict[str, Any], error: type[Exception], message: str
) -> None:
    """An unknown key, a number out of range, a schedule that is none: the constructor's errors."""
    with pytest.raises(error, match=message):
        Adamax.from_config(config)


@dataclass(frozen=True)
class Halving(schedules.LearningRateSchedule):
    """A schedule of the caller's own."""

    start: float

    def __call__(self, step: int) -> float:
        return self.start * 0.5**step


def test_schedules_of_the_callers_own() -> None:
    """They are named in custom_objects, in every function that builds; unnamed they are unknown."""
    optimizer, named = Adamax(Halving(0.5)), {"Halving": Halving}
    for built in (
        Adamax.from_config(optimizer.get_config(), named),
        adamax.deserialize(adamax.serialize(optimizer), named),
        Adamax.from_json(optimizer.to_json(), named),
    ):
        assert built.learning_rate == Halving(0.5)
    for build in (of_config, of_serialized, of_json):
        with pytest.raises(ValueError, match=r"Unknown decay 'Halving'.*custom_objects"):
            build(optimizer)


def test_a_schedule_without_a_config_has_none() -> None:
    """A schedule that cannot describe itself is an error that names it."""

    class Silent(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            return 0.5

    with pytest.raises(NotImplementedError, match=r"Silent must define get_config\(\)"):
        Adamax(Silent()).to_json()


# serialize, deserialize, get


def test_serialize_names_the_class() -> None:
    """The dictionary holds the class's name and its configuration, and no more."""
    optimizer = Adamax(0.5)
    serialized = adamax.serialize(optimizer)
    assert serialized == {"class_name": "Adamax", "config": optimizer.get_config()}


def test_get_knows_three_identifiers() -> None:
    """An optimizer is itself; a name and a dictionary, of whatever type, build one."""
    optimizer = Adamax(0.5)
    assert adamax.get(optimizer) is optimizer
    assert adamax.get("adamax").get_config() == Adamax().get_config()
    serialized: Mapping[str, Any] = MappingProxyType(adamax.serialize(optimizer))
    assert adamax.get(serialized).learning_rate == 0.5


@pytest.mark.parametrize("identifier", [None, 7, Adamax, ["adamax"], b"adamax"])
def test_get_refuses_other_identifiers(identifier: Any) -> None:
    """Whatever else is given is an error that shows it."""
    with pytest.raises(ValueError, match=r"Could not interpret optimizer identifier.*received"):
        adamax.get(identifier)


@pytest.mark.parametrize(
    "config",
    [None, "Adamax", {}, {"class_name": "Adamax"}, {"config": {}}, ["class_name", "config"]],
)
def test_deserialize_refuses_what_is_no_description(config: Any) -> None:
    """A missing key is a ValueError that says which two there must be."""
    with pytest.raises(ValueError, match=r"Improper config.*'class_name' and 'config', received"):
        adamax.deserialize(config)


@pytest.mark.parametrize("name", ["Adam", "", None, 7, ["Adamax"], {"Adamax": 1}])
def test_unknown_optimizers_are_refused(name: Any) -> None:
    """A name that is not known, or is no text, is a ValueError that says what is."""
    with pytest.raises(ValueError, match=r"Unknown optimizer .*expected Adamax, or a class given"):
        adamax.deserialize({"class_name": name, "config": {}})


class Warm(Adamax):
    """A subclass with an argument of its own."""

    def __init__(self, warmup: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.warmup = warmup

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"warmup": self.warmup}


def test_subclasses_make_every_round_trip() -> None:
    """A subclass with arguments of its own is built by its own methods and by custom_objects."""
    optimizer = Warm(7, learning_rate=Halving(0.5), name="warm")
    named = {"Warm": Warm, "Halving": Halving}
    for built in (
        Warm.from_config(optimizer.get_config(), named),
        Warm.from_json(optimizer.to_json(), named),
        adamax.deserialize(adamax.serialize(optimizer), named),
    ):
        assert type(built) is Warm
        assert built.get_config() == optimizer.get_config()
    assert adamax.get(optimizer) is optimizer


def test_subclasses_must_be_named() -> None:
    """Without custom_objects a subclass is unknown; a class is not mistaken for another."""
    serialized = adamax.serialize(Warm())
    with pytest.raises(ValueError, match="Unknown optimizer 'Warm'"):
        adamax.get(serialized)
    with pytest.raises(ValueError, match="Unknown optimizer 'Warm': expected Adamax"):
        Adamax.from_json(Warm().to_json())
    with pytest.raises(ValueError, match="Unknown optimizer 'Adamax': expected Warm"):
        Warm.from_json(Adamax().to_json())


def test_classes_of_the_callers_own_come_first() -> None:
    """A class given as 'Adamax' replaces the built-in one, by that very name."""
    config = {"class_name": "Adamax", "config": {"warmup": 5}}
    built = adamax.deserialize(config, {"Adamax": Warm})
    assert isinstance(built, Warm)
    assert built.warmup == 5
    lower = {"class_name": "adamax", "config": {}}
    assert type(adamax.deserialize(lower, {"Adamax": Warm})) is Adamax


# JSON


def test_json_is_for_people_too() -> None:
    """The text has a version, the class and the configuration, a line for each number."""
    assert Adamax(0.1, clipnorm=1).to_json() == "\n".join(
        [
            "{",
            '  "format": 1,',
            '  "class_name": "Adamax",',
            '  "config": {',
            '    "name": "Adamax",',
            '    "clipnorm": 1.0,',
            '    "learning_rate": 0.1,',
            '    "decay": 0.0,',
            '    "beta_1": 0.9,',
            '    "beta_2": 0.999,',
            '    "epsilon": 1e-07',
            "  }",
            "}",
        ]
    )


def test_json_without_a_version_is_read() -> None:
    """What `serialize` returned, written by any JSON writer, is read too."""
    text = json.dumps(adamax.serialize(Adamax(0.25)), separators=(",", ":"))
    assert Adamax.from_json(text).learning_rate == 0.25


ADAMAX = Adamax().to_json()
BROKEN: dict[str, tuple[str, str]] = {
    "empty": ("", "the text is not JSON"),
    "cut off": (ADAMAX[:-2], "the text is not JSON"),
    "two": (ADAMAX * 2, "the text is not JSON"),
    "NaN": (ADAMAX.replace("0.001", "NaN"), "the text is not JSON: NaN is no JSON number"),
    "Infinity": (ADAMAX.replace("0.001", "-Infinity"), "-Infinity is no JSON number"),
    "endless digits": (ADAMAX.replace("0.001", "1" * 5000), "the text is not JSON"),
    "nested too deep": ("[" * 100_000, "the text is not JSON"),
    "array": ("[]", "expected a JSON object with the keys"),
    "number": ("7", "expected a JSON object with the keys"),
    "no config": ('{"class_name": "Adamax"}', "expected a JSON object with the keys"),
    "later version": (ADAMAX.replace('"format": 1', '"format": 2'), "format 1, received 2.*later"),
    "other class": (ADAMAX.replace('"Adamax",', '"Adam",', 1), "Unknown optimizer 'Adam'"),
    "beyond doubles": (ADAMAX.replace("0.001", "1e999"), "learning_rate to be a finite number"),
    "out of range": (ADAMAX.replace("0.999", "1.999"), r"beta_2 in \[0, 1\), received: 1.999"),
    "null": (ADAMAX.replace("0.001", "null"), "learning_rate to be a number, received: None"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_json_is_a_value_error(fault: str) -> None:
    """Text that is cut, foreign or out of range is a ValueError that says what is wrong with it."""
    text, message = BROKEN[fault]
    with pytest.raises(ValueError, match=message):
        Adamax.from_json(text)


def test_what_json_cannot_hold_is_not_written() -> None:
    """A configuration of a subclass with NaN in it, or with an object, is refused."""
    optimizer = Warm()
    for warmup, error in ((math.nan, ValueError), (object(), TypeError)):
        optimizer.warmup = warmup  # type: ignore[assignment]
        with pytest.raises(error, match="JSON"):
            optimizer.to_json()
