"""`adamax.schedules`: the reference's values, as written and after a trip through dictionaries."""

import dataclasses
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from every_schedule import ONE_OF_EACH
from hypothesis import given
from hypothesis import strategies as st
from libraries import Library, compiled_too
from reference_model import NumpyAdamax

from adamax import State, init, schedules, update
from adamax.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    LinearCosineDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    deserialize,
    serialize,
)

each_schedule = pytest.mark.parametrize("schedule", ONE_OF_EACH, ids=lambda s: type(s).__name__)


def travelled(schedule: LearningRateSchedule) -> LearningRateSchedule:
    """Return the schedule after it has been a dictionary, and that a text."""
    return deserialize(json.loads(json.dumps(serialize(schedule))))


either_way = pytest.mark.parametrize("kept", [pytest.param(lambda s: s, id="plain"), travelled])
Kept = Callable[[LearningRateSchedule], LearningRateSchedule]

AT = (0, 1, 5, 10, 15, 20, 25, 30)
# Values of TensorFlow 1.15.5 at these steps, in float32, printed with 6 or 7 digits.
TABLE: list[tuple[LearningRateSchedule, list[float]]] = [
    (
        ExponentialDecay(0.1, 10, 0.5),
        [0.1, 0.0933033, 0.0707107, 0.05, 0.0353553, 0.025, 0.0176777, 0.0125],
    ),
    (
        ExponentialDecay(0.1, 10, 0.5, staircase=True),
        [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125],
    ),
    (
        InverseTimeDecay(0.1, 10, 0.5),
        [0.1, 0.0952381, 0.08, 0.0666667, 0.0571429, 0.05, 0.0444444, 0.04],
    ),
    (
        InverseTimeDecay(0.1, 10, 0.5, staircase=True),
        [0.1, 0.1, 0.1, 0.0666667, 0.0666667, 0.05, 0.05, 0.04],
    ),
    (PolynomialDecay(0.1, 10, 0.01, power=2), [0.1, 0.0829, 0.0325, *[0.01] * 5]),
    (
        PolynomialDecay(0.1, 10, 0.01, power=2, cycle=True),
        [0.1, 0.0829, 0.0325, 0.01, 0.015625, 0.01, 0.0125, 0.01],
    ),
    (
        PiecewiseConstantDecay([5, 15], [0.1, 0.01, 0.001]),
        [0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001],
    ),
    (CosineDecay(0.1, 10, alpha=0.1), [0.1, 0.0977975, 0.055, *[0.01] * 5]),
    (
        CosineDecayRestarts(0.1, 10, 2, 0.5, 0.1),
        [0.1, 0.0977975, 0.055, 0.055, 0.0484099, 0.0325, 0.0165901, 0.0325],
    ),
    (
        CosineDecayRestarts(0.1, 10, 1, 0.5, 0.1),
        [0.1, 0.0977975, 0.055, 0.055, 0.0325, 0.0325, 0.02125, 0.02125],
    ),
    (LinearCosineDecay(0.1, 10), [0.1001, 0.0878975, 0.0251, *[0.0001] * 5]),
]


@either_way
@pytest.mark.parametrize(("schedule", "expected"), TABLE, ids=[repr(s) for s, _ in TABLE])
def test_values_of_the_reference(
    schedule: LearningRateSchedule, expected: list[float], kept: Kept
) -> None:
    """The values printed by TensorFlow 1.15.5 come out, to their last digit."""
    schedule = kept(schedule)
    found = [schedule(k) for k in AT]
    assert all(type(value) is float for value in found)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=6e-8)


@either_way
def test_exponential_decay(kept: Kept) -> None:
    """The reference's tests of exponential decay; a staircase counts whole periods."""
    assert kept(ExponentialDecay(0.05, 10, 0.96))(5) == pytest.approx(0.05 * 0.96**0.5, rel=1e-15)
    staircase = kept(ExponentialDecay(0.1, 3, 0.96, staircase=True))
    for step, periods in ((1, 0), (2, 0), (3, 1), (100, 33)):
        assert staircase(step) == pytest.approx(0.1 * 0.96**periods, rel=1e-15)


@either_way
def test_piecewise_constant_decay(kept: Kept) -> None:
    """The reference's tests of constants by pieces: a boundary belongs to the piece on its left."""
    found = kept(PiecewiseConstantDecay([100, 110, 120], [1.0, 0.1, 0.01, 0.001]))
    steps = (-999, 100, 101, 105, 110, 111, 120, 121, 999)
    assert [found(k) for k in steps] == [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    found = kept(PiecewiseConstantDecay([1, 2, 3], [0.4, 0.5, 0.6, 0.7]))
    assert [found(k) for k in range(5)] == [0.4, 0.4, 0.5, 0.6, 0.7]
    assert kept(PiecewiseConstantDecay([], [0.5]))(7) == 0.5


@either_way
@pytest.mark.parametrize("end", [0.0, 0.001])
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_polynomial_decay(end: float, power: float, kept: Kept) -> None:
    """The reference's tests of polynomial decay: half way, at the end, beyond it, and cycling."""
    found = kept(PolynomialDecay(0.05, 10, end, power))
    assert found(5) == pytest.approx((0.05 - end) * 0.5**power + end, rel=1e-15)
    assert found(10) == found(15) == end
    cycling = kept(PolynomialDecay(0.05, 10, end, power, cycle=True))
    assert cycling(0) == pytest.approx(0.05, rel=1e-15)
    assert cycling(5) == found(5)
    assert cycling(10) == end
    assert cycling(15) == pytest.approx((0.05 - end) * 0.25**power + end, rel=1e-15)


@either_way
@pytest.mark.parametrize("staircase", [False, True])
def test_inverse_time_decay(staircase: bool, kept: Kept) -> None:
    """The reference's tests of inverse-time decay, for steps 0 to 10."""
    found = kept(InverseTimeDecay(0.1, 10, 0.96, staircase))
    for k in range(11):
        periods = k // 10 if staircase else k / 10
        assert found(k) == pytest.approx(0.1 / (1 + 0.96 * periods), rel=1e-15)


@either_way
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_cosine_decay(alpha: float, kept: Kept) -> None:
    """The reference's tests of cosine decay, for steps 0 to 1250."""
    found = kept(CosineDecay(1.0, 1000, alpha))
    for k in range(0, 1500, 250):
        decayed = (1 - alpha) * 0.5 * (1 + math.cos(math.pi * min(k, 1000) / 1000)) + alpha
        assert found(k) == pytest.approx(decayed, rel=1e-15)
    assert found(1250) == pytest.approx(alpha, abs=1e-16)


@either_way
def test_cosine_decay_with_warmup(kept: Kept) -> None:
    """With a target, the rate rises to it in a line and the cosine starts there."""
    found = kept(CosineDecay(0.1, 10, alpha=0.5, warmup_target=0.3, warmup_steps=4))
    assert [found(k) for k in (0, 1, 2, 3)] == pytest.approx([0.1, 0.15, 0.2, 0.25], rel=1e-15)
    plain = CosineDecay(0.3, 10, alpha=0.5)
    assert [found(4 + k) for k in range(15)] == [plain(k) for k in range(15)]
    assert kept(CosineDecay(0.1, 10, warmup_steps=4))(0) == 0.1
    assert kept(CosineDecay(0.1, 10, warmup_target=0.3))(0) == 0.3


@either_way
def test_warmup_alone(kept: Kept) -> None:
    """A warm-up may have no decay after it, as the reference's test does: the target stays.

    The reference gives NaN after the warm-up.
    """
    found = kept(CosineDecay(0.0, 0, warmup_target=10.0, warmup_steps=1500))
    assert [found(k) for k in range(0, 1500, 250)] == pytest.approx(
        [k / 150 for k in range(0, 1500, 250)]
    )
    assert found(1500) == found(10**6) == 10.0
    for settings in ({}, {"warmup_steps": 4}, {"warmup_target": 0.1}):
        with pytest.raises(ValueError, match="Expected decay_steps > 0, received: 0"):
            CosineDecay(0.1, 0, **settings)


@either_way
@pytest.mark.parametrize(
    ("t_mul", "m_mul", "alpha"),
    [("2", 1.0, 0.0), ("2", 1.0, 0.1), ("2", 0.9, 0.0), ("1", 1.0, 0.0)],
)
def test_cosine_decay_restarts(t_mul: str, m_mul: float, alpha: float, kept: Kept) -> None:
    """The reference's tests of restarts, for steps 0 to 1250."""
    found = kept(CosineDecayRestarts(1.0, 1000, float(t_mul), m_mul, alpha))
    for k in range(0, 1500, 250):
        assert found(k) == pytest.approx(restarted(k, 1000, t_mul, m_mul, alpha), rel=1e-12)


def restarted(step: int, first: int, t_mul: str, m_mul: float, alpha: float) -> float:
    """Return the value after restarts that are counted one by one, in fractions."""
    begun, length, height = Fraction(0), Fraction(first), 1.0
    while step >= begun + length:
        begun, length, height = begun + length, length * Fraction(t_mul), height * m_mul
    wave = 0.5 * (1 + math.cos(math.pi * float((step - begun) / length)))
    return (1 - alpha) * height * wave + alpha


@given(
    st.integers(0, 3000),
    st.sampled_from([1, 3, 7, 10, 100]),
    st.sampled_from(["1", "1.01", "1.1", "1.5", "2", "3", "5", "7", "10"]),
)
def test_restarts_fall_on_their_step(step: int, first: int, t_mul: str) -> None:
    """However lengths multiply, a restart is at the step where it should be, not one later."""
    found = CosineDecayRestarts(1.0, first, float(t_mul), 0.9, 0.1)(step)
    assert found == pytest.approx(restarted(step, first, t_mul, 0.9, 0.1), abs=1e-9)


@pytest.mark.parametrize("t_mul", [3, 10])
def test_restarts_that_rounding_would_miss(t_mul: int) -> None:
    """At lengths of 3 and of 10 times the last, where log(1000) / log(10) is below 3, it starts."""
    found, begun = CosineDecayRestarts(1.0, 10, t_mul), 0
    for i in range(8):
        assert found(begun) == pytest.approx(1.0, abs=1e-9)
        begun += 10 * t_mul**i
        assert found(begun - 1) < 0.03


@either_way
@pytest.mark.parametrize(("alpha", "beta", "periods"), [(0.0, 0.001, 0.5), (0.1, 1e-4, 5.0)])
def test_linear_cosine_decay(alpha: float, beta: float, periods: float, kept: Kept) -> None:
    """The reference's tests of linear cosine decay, for steps 0 to 1250."""
    found = kept(LinearCosineDecay(1.0, 1000, periods, alpha, beta))
    for k in range(0, 1500, 250):
        done = min(k, 1000) / 1000
        wave = 0.5 * (1 + math.cos(2 * math.pi * periods * done))
        assert found(k) == pytest.approx((alpha + 1 - done) * wave + beta, rel=1e-12)


@given(st.integers(0, 5000), st.sampled_from([0.7, 0.3, 1.1, 3.3, 13.7]))
def test_cycles_of_broken_length_stay_real(step: int, decay_steps: float) -> None:
    """Where a cycle ends between steps, rounding does not lead under the root of less than 0."""
    found = PolynomialDecay(1.0, decay_steps, 0.25, power=0.5, cycle=True)(step)
    assert type(found) is float
    assert 0.25 <= found <= 1.0


@each_schedule
def test_schedules_are_frozen(schedule: LearningRateSchedule) -> None:
    """A schedule cannot be changed, is equal to another like it, and may be a key."""
    field = dataclasses.fields(schedule)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, field, 1.0)
    same = travelled(schedule)
    assert same == schedule
    assert hash(same) == hash(schedule)
    assert same is not schedule
    assert schedule != ExponentialDecay(0.7, 3, 0.3)


def test_lists_of_the_caller_are_copied() -> None:
    """Lists that the caller goes on changing are not the schedule's."""
    boundaries, values = [5, 15], [0.1, 0.01, 0.001]
    schedule = PiecewiseConstantDecay(boundaries, values)
    boundaries[0] = 20
    values.clear()
    assert [schedule(k) for k in (5, 6, 16)] == [0.1, 0.01, 0.001]


@each_schedule
def test_config_is_the_constructors_arguments(schedule: LearningRateSchedule) -> None:
    """The configuration has every argument of the constructor by its name, and builds an equal."""
    config = schedule.get_config()
    assert list(config) == list(inspect.signature(type(schedule)).parameters)
    assert type(schedule).from_config(config) == schedule
    assert serialize(schedule) == {"class_name": type(schedule).__name__, "config": config}


@pytest.mark.parametrize(
    ("cls", "keys"),
    [
        (ExponentialDecay, "initial_learning_rate decay_steps decay_rate staircase name"),
        (InverseTimeDecay, "initial_learning_rate decay_steps decay_rate staircase name"),
        (
            PolynomialDecay,
            "initial_learning_rate decay_steps end_learning_rate power cycle name",
        ),
        (PiecewiseConstantDecay, "boundaries values name"),
        (
            CosineDecay,
            "initial_learning_rate decay_steps alpha name warmup_target warmup_steps",
        ),
        (
            CosineDecayRestarts,
            "initial_learning_rate first_decay_steps t_mul m_mul alpha name",
        ),
        (LinearCosineDecay, "initial_learning_rate decay_steps num_periods alpha beta name"),
    ],
)
def test_arguments_are_in_the_references_order(cls: type, keys: str) -> None:
    """Arguments have the reference's names and order; `name` comes where it has it."""
    assert " ".join(inspect.signature(cls).parameters) == keys


def test_numpy_numbers_become_plain() -> None:
    """NumPy's numbers, arrays and text give Python floats and a configuration that JSON holds."""
    rate: Any = np.float32(0.1)
    numbers: list[Any] = [rate, np.int64(10), np.array(0.5), np.bool_(True), np.str_("e")]
    single = ExponentialDecay(*numbers)
    assert single.get_config() == {
        "initial_learning_rate": float(rate),
        "decay_steps": 10,
        "decay_rate": 0.5,
        "staircase": True,
        "name": "e",
    }
    # In the precision of float32 the value would have other digits.
    assert single(10) == float(rate) * 0.5
    assert type(single(10)) is float
    arrays: list[Any] = [np.array([1, 2]), np.array([3, 2, 1], np.float32)]
    pieces = PiecewiseConstantDecay(*arrays)
    assert pieces == PiecewiseConstantDecay([1, 2], [3, 2, 1])
    for schedule in (single, pieces):
        assert travelled(schedule) == schedule
        assert all(type(number) is float for number in pieces.get_config()["values"])


@pytest.mark.feature("schedules")
@compiled_too
def test_optimizer_follows_a_schedule(library: Library) -> None:
    """Steps of the pure form under a schedule are those of the reference model at its rates."""
    schedule, gradient = ExponentialDecay(0.1, 3, 0.5), np.array([0.5, -4.0])
    params, model = library.asarray([1, -2]), NumpyAdamax([[1, -2]])

    def step(params: Any, state: State, rate: Any) -> tuple[Any, State]:
        return update(params, library.asarray(gradient), state, learning_rate=rate)

    state, advance = init(params), library.compiled(step)
    for k in range(10):
        params, state = advance(params, state, schedule(int(state.step)))
        model.step([gradient], learning_rate=0.1 * 0.5 ** (k / 3))
    library.assert_close(params, model.x[0], roundings=20)


@dataclass(frozen=True)
class Halving(LearningRateSchedule):
    """A schedule of one's own, as in the documentation."""

    start: float
    marks: Any = ()

    def __call__(self, step: int) -> float:
        return self.start * 0.5**step


class Constant(LearningRateSchedule):
    """A schedule that is no dataclass."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate


class Configured(Constant):
    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate}


def test_schedules_of_ones_own() -> None:
    """A subclass needs `__call__`; a dataclass has its configuration for nothing."""
    custom = {"Halving": Halving, "Configured": Configured}
    rate: Any = np.float32(0.5)
    halving = Halving(rate, (np.int64(3), np.array([1.0, 2.0]), ["a", None, True]))
    assert halving.get_config() == {"start": 0.5, "marks": [3, [1.0, 2.0], ["a", None, True]]}
    assert json.loads(json.dumps(serialize(halving)))["config"] == halving.get_config()
    assert deserialize(serialize(Halving(0.5)), custom) == Halving(0.5, [])
    built = deserialize(serialize(Configured(0.2)), custom)
    assert type(built) is Configured
    assert built(9) == 0.2
    with pytest.raises(NotImplementedError, match=r"Constant must define get_config\(\)"):
        Constant(0.2).get_config()


def test_base_class_is_abstract_in_use() -> None:
    """The base class has neither a value nor a configuration."""
    base = LearningRateSchedule()
    with pytest.raises(NotImplementedError, match=r"LearningRateSchedule must define __call__"):
        base(0)
    with pytest.raises(NotImplementedError, match=r"LearningRateSchedule must define get_config"):
        base.get_config()


def test_custom_objects_come_first() -> None:
    """A class of the caller's is found before a built-in one of the same name."""

    class ExponentialDecay(schedules.ExponentialDecay):
        pass

    config = serialize(schedules.ExponentialDecay(0.1, 10, 0.5))
    assert type(deserialize(config, {"ExponentialDecay": ExponentialDecay})) is ExponentialDecay
    assert type(deserialize(config)) is schedules.ExponentialDecay


def test_keys_of_later_versions_are_read_over() -> None:
    """A dictionary with the keys that later Keras versions write is read; it is left as it is."""
    config = {
        "module": "keras.optimizers.schedules",
        "class_name": "ExponentialDecay",
        "config": {
            "initial_learning_rate": 0.1,
            "decay_steps": 10,
            "decay_rate": 0.5,
            "staircase": False,
            "name": None,
        },
        "registered_name": None,
    }
    before = json.dumps(config)
    assert deserialize(config) == ExponentialDecay(0.1, 10, 0.5)
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    "config",
    [
        None,
        "ExponentialDecay",
        {},
        {"class_name": "ExponentialDecay"},
        {"config": {}},
        {"class_name": "ExponentialDecay", "config": None},
        {"class_name": "ExponentialDecay", "config": [0.1, 10, 0.5]},
        {"class_name": ["ExponentialDecay"], "config": {}},
        {"class_name": None, "config": {}},
    ],
)
def test_improper_dictionaries(config: Any) -> None:
    """What is no pair of class name and configuration is told as such."""
    message = "Improper config for a schedule: expected a dictionary with the keys 'class_name' and"
    with pytest.raises(ValueError, match=message):
        deserialize(config)


def test_unknown_classes_are_told() -> None:
    """An unknown class name lists those that are known."""
    message = "Unknown decay 'exponentialdecay': expected one of CosineDecay, .*, PolynomialDecay, "
    with pytest.raises(ValueError, match=message + "or a class given in custom_objects"):
        deserialize({"class_name": "exponentialdecay", "config": {}})
    with pytest.raises(ValueError, match="Unknown decay 'LearningRateSchedule'"):
        deserialize({"class_name": "LearningRateSchedule", "config": {}})


def test_unknown_arguments_are_told() -> None:
    """A configuration with an argument that is none, or without one, names it."""
    config = {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}
    with pytest.raises(TypeError, match="'steps'"):
        deserialize({"class_name": "ExponentialDecay", "config": {**config, "steps": 1}})
    del config["decay_rate"]
    with pytest.raises(TypeError, match="'decay_rate'"):
        deserialize({"class_name": "ExponentialDecay", "config": config})


BAD_NUMBERS = [
    (None, ValueError, "to be a number, received: None"),
    (math.nan, ValueError, "to be a finite number, received: nan"),
    (math.inf, ValueError, "to be a finite number, received: inf"),
    (-0.5, ValueError, r">=? 0, received: -0\.5"),
    ("0.1", TypeError, "to be a number, received: '0.1' of type str"),
    (True, TypeError, "to be a number, received: True of type bool"),
    (1j, TypeError, "to be a number, received: 1j of type complex"),
    ([0.1], TypeError, r"to be a number, received: \[0\.1\] of type list"),
    (np.array([0.1]), TypeError, "to be a number, received: array"),
]


@pytest.mark.parametrize(("value", "error", "message"), BAD_NUMBERS, ids=repr)
@each_schedule
def test_numbers_are_checked(
    schedule: LearningRateSchedule, value: Any, error: type[Exception], message: str
) -> None:
    """Every number of every schedule is checked; the error names it."""
    config = schedule.get_config()
    numbers = [key for key, number in config.items() if type(number) is float]
    if value is None and "warmup_target" in numbers:
        numbers.remove("warmup_target")  # None is no warm-up
    for key in numbers:
        with pytest.raises(error, match=f"Expected {key} {message}"):
            type(schedule).from_config({**config, key: value})
    assert numbers or isinstance(schedule, PiecewiseConstantDecay)


@each_schedule
def test_no_steps_are_refused(schedule: LearningRateSchedule) -> None:
    """A schedule over 0 steps would divide by 0 at some step: it is refused at once."""
    config = {**schedule.get_config(), "warmup_steps": 0}
    if not isinstance(schedule, CosineDecay):
        del config["warmup_steps"]
    lengths = [key for key in config if key.endswith("decay_steps")]
    for key in lengths:
        with pytest.raises(ValueError, match=f"Expected {key} > 0, received: 0"):
            type(schedule).from_config({**config, key: 0})
    assert lengths or isinstance(schedule, PiecewiseConstantDecay)


def test_restarts_do_not_get_shorter() -> None:
    """Restarts that get ever shorter would end at some step of a long training: refused at once."""
    with pytest.raises(ValueError, match=r"Expected t_mul >= 1, received: 0\.5"):
        CosineDecayRestarts(0.1, 10, t_mul=0.5)


@pytest.mark.parametrize(
    ("boundaries", "values", "error", "message"),
    [
        ([1], [0.1], ValueError, "length of boundaries should be 1 less than the length of values"),
        ([1, 2], [0.1, 0.2], ValueError, "received: 2 boundaries and 2 values"),
        ([], [], ValueError, "received: 0 boundaries and 0 values"),
        (
            [2, 1],
            [1, 2, 3],
            ValueError,
            r"Expected increasing boundaries, received: \[2\.0, 1\.0\]",
        ),
        ([1, 1], [1, 2, 3], ValueError, "Expected increasing boundaries"),
        ([math.nan], [1, 2], ValueError, r"Expected boundaries\[0\] to be a finite number"),
        ([1, None], [1, 2, 3], ValueError, r"Expected boundaries\[1\] to be a number, received: N"),
        ([1], [1, -2], ValueError, r"Expected values\[1\] >= 0, received: -2"),
        ([1], ["a", "b"], TypeError, r"Expected values\[0\] to be a number, received: 'a'"),
        (None, [1], TypeError, "Expected boundaries to be a sequence of numbers, received: None"),
        ([1], 0.1, TypeError, r"Expected values to be a sequence of numbers, received: 0\.1"),
        ("1", [1, 2], TypeError, "Expected boundaries to be a sequence of numbers, received: '1'"),
    ],
)
def test_pieces_are_checked(
    boundaries: Any, values: Any, error: type[Exception], message: str
) -> None:
    """Boundaries and values that do not fit are told with their index."""
    with pytest.raises(error, match=message):
        PiecewiseConstantDecay(boundaries, values)


def test_a_rate_beyond_floats_is_infinite() -> None:
    """A schedule that grows for ever ends at infinity, as powers of the reference do."""
    growing = ExponentialDecay(0.1, 1, 1e300)
    assert growing(1) == 0.1 * 1e300
    assert growing(2) == math.inf
    restarting = CosineDecayRestarts(0.1, 1, t_mul=1.0, m_mul=2.0)
    assert restarting(1000) == 0.1 * 2.0**1000
    assert restarting(1024) == math.inf


def test_all_schedules_are_built_in() -> None:
    """Every public schedule can be read back, and the tests above go over all of them."""
    public = {getattr(schedules, name) for name in schedules.__all__}
    classes = {cls for cls in public if isinstance(cls, type)} - {LearningRateSchedule}
    assert (
        {type(schedule) for schedule in ONE_OF_EACH} == classes == set(schedules.BUILT_IN.values())
    )
