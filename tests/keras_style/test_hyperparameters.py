"""The constructor of the optimizer, and its hyperparameters as attributes."""

import copy
import inspect
import json
import math
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import snapshot

from adamax import Adamax, Variable, schedules
from adamax_adapters.keras_style.hyperparameters import Hyperparameter

RATES = ("learning_rate", "decay", "beta_1", "beta_2", "epsilon")
LIMITS = ("clipnorm", "clipvalue", "global_clipnorm")
fractions = st.floats(0, 1, exclude_max=True)
sizes = st.floats(0, allow_infinity=False)


def test_arguments_are_in_the_order_of_the_reference() -> None:
    """Five arguments can be positional; a sixth cannot."""
    optimizer = Adamax(0.1, 0.2, 0.3, 0.4, "mine")
    found = {name: getattr(optimizer, name) for name in RATES}
    assert found == {
        "learning_rate": 0.1,
        "beta_1": 0.2,
        "beta_2": 0.3,
        "epsilon": 0.4,
        "decay": 0.0,
    }
    assert optimizer.get_config()["name"] == "mine"
    with pytest.raises(TypeError, match="positional"):
        Adamax(0.1, 0.2, 0.3, 0.4, "mine", 0.5)  # type: ignore[call-arg]


def test_defaults() -> None:
    """The defaults are those of the reference page."""
    assert Adamax().get_config() == {
        "name": "Adamax",
        "learning_rate": 0.001,
        "decay": 0.0,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
    }


@given(learning_rate=sizes, beta_1=fractions, beta_2=fractions, epsilon=sizes, decay=sizes)
def test_every_number_in_range_is_kept(**numbers: Any) -> None:
    """Whatever finite double is in range is accepted and comes back as it is."""
    optimizer = Adamax(**numbers)
    assert {name: getattr(optimizer, name) for name in numbers} == numbers


def test_lr_wins() -> None:
    """`lr` beats `learning_rate`, also where it is 0."""
    assert Adamax(0.5, lr=0).learning_rate == 0.0
    assert Adamax(learning_rate=0.5, lr=0.25).learning_rate == 0.25


@pytest.mark.parametrize("value", [lambda: 0.1, schedules.ExponentialDecay(0.1, 1, 0.5), "0.1"])
def test_keyword_lr_is_a_number(value: Any) -> None:
    """Callables and schedules are given as `learning_rate`, as in the reference."""
    with pytest.raises(TypeError, match="Expected lr to be a number"):
        Adamax(lr=value)


def test_unknown_keywords_are_refused_first() -> None:
    """A keyword that is unknown is told of before the value of another is looked at."""
    make: Any = Adamax  # a type checker refuses them as well
    with pytest.raises(TypeError, match="keyword argument passed to optimizer: momentum"):
        make(decay=-1, momentum=0.9)
    with pytest.raises(TypeError, match="betas; pass beta_1 and beta_2"):
        make(betas=(0.9, 0.999))


def test_keywords_are_seen_by_editors() -> None:
    """The signature has every keyword of the constructor by its name."""
    keywords = {*LIMITS, "decay", "lr", "backend"}
    assert keywords <= set(inspect.signature(Adamax).parameters)


def test_settings_are_floats_that_can_be_assigned_to() -> None:
    """As in Keras 2, `opt.lr` has `numpy` and `assign`; a float it stays for all else."""
    optimizer = Adamax(0.1, beta_1=0.5, clipnorm=2.0)
    assert optimizer.lr.numpy() == np.float64(0.1)
    assert optimizer.lr.assign(0.25) == optimizer.learning_rate == 0.25
    optimizer.learning_rate.assign(optimizer.lr * 0.5)
    optimizer.beta_1.assign(np.float32(0.75))
    assert optimizer.clipnorm is not None
    optimizer.clipnorm.assign(3)
    assert (optimizer.lr, optimizer.beta_1, optimizer.clipnorm) == (0.125, 0.75, 3.0)
    with pytest.raises(ValueError, match="Expected learning_rate >= 0, received: -1"):
        optimizer.lr.assign(-1.0)
    assert type(optimizer.lr * 2) is float
    assert json.dumps(optimizer.lr) == "0.125"
    assert all(type(x) in (float, str) for x in optimizer.get_config().values())
    for copied in (pickle.loads(pickle.dumps(optimizer.lr)), copy.deepcopy(optimizer.lr)):
        assert type(copied) is float
    assert optimizer.lr is optimizer.lr


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_settings_leave_arrays_their_dtype(dtype: str) -> None:
    """An array times a hyperparameter has the bits that it has times the plain float."""
    optimizer, x = Adamax(0.1), np.array([1.0, 3.0, 7.0], dtype)
    rate, v = optimizer.lr, Variable(x)
    pairs: list[Any] = [(x * rate, x * 0.1), (rate * x, 0.1 * x), (v - rate * v, x - 0.1 * x)]
    pairs += [(np.maximum(rate, x), np.maximum(0.1, x)), (x < rate, x < 0.1)]
    for found, expected in pairs:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    x *= rate
    optimizer.minimize(lambda: np.sum(rate * v * optimizer.beta_1), [v])
    assert optimizer.get_slot(v, "v").value[0] == pytest.approx(0.09, rel=1e-3)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))]
)
def test_settings_of_a_copy_are_the_copys(copied: Callable[[Adamax], Adamax]) -> None:
    """To assign to a hyperparameter of a copy leaves the original alone, and the reverse."""
    optimizer = Adamax(0.1)
    assert optimizer.lr == 0.1
    other = copied(optimizer)
    other.lr.assign(0.5)
    assert (optimizer.lr, other.lr) == (0.1, 0.5)
    optimizer.lr.assign(0.25)
    assert (optimizer.lr, other.lr) == (0.25, 0.5)


def test_settings_do_not_keep_the_optimizer() -> None:
    """An optimizer whose hyperparameters were read goes when its last name goes."""
    optimizer = Adamax(0.1)
    rate, gone = optimizer.lr, weakref.ref(optimizer)
    del optimizer
    assert gone() is None
    assert rate == 0.1


def test_the_name_can_be_read() -> None:
    """`name` is what the constructor was given."""
    assert Adamax(name="mine").name == "mine"


def test_an_optimizer_shows_its_hyperparameters() -> None:
    """`repr` is the call that makes such an optimizer; a callable is not called."""
    assert (
        eval(repr(Adamax(0.1, clipnorm=1.0))).get_config() == Adamax(0.1, clipnorm=1.0).get_config()
    )
    assert repr(Adamax(backend="numpy")) == (
        "Adamax(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-07, "
        "backend='numpy', name='Adamax')"
    )
    assert "<lambda>" in repr(Adamax(lambda: 1 / 0))


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_may_be_0(limit: str) -> None:
    """A limit of 0 is one, and zeroes every gradient."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    setattr(optimizer, limit, 0)
    optimizer.apply_gradients([(np.full(2, 5.0), w)])
    np.testing.assert_array_equal(optimizer.get_slot(w, "v").value, np.zeros(2))
    np.testing.assert_array_equal(w.value, np.ones(2))


@pytest.mark.parametrize("name", [None, ""])
def test_an_optimizer_without_a_name_gets_one(name: str | None) -> None:
    """Names that are given out are adamax, adamax_1 and so on, each once."""
    names = [Adamax(name=name).get_config()["name"] for _ in range(3)]
    assert len(set(names)) == 3
    assert all(given.startswith("adamax") for given in names)


@pytest.mark.parametrize("name", [7, b"Adamax", ["Adamax"]])
def test_a_name_is_a_str(name: Any) -> None:
    """A name of another kind could not be told in JSON, and is refused."""
    with pytest.raises(TypeError, match="Expected name to be a str"):
        Adamax(name=name)


def test_constructing_makes_and_calls_nothing() -> None:
    """Nothing is asked of callables and schedules before it is needed; there are no slots."""

    def never() -> float:
        raise AssertionError("called too early")

    class Never(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            raise AssertionError("called too early")

    assert Adamax(never, never, never, never).get_slot_names() == []
    optimizer = Adamax(Never())
    assert len(optimizer.weights) == 1


def test_attributes_behave_like_those_of_any_object() -> None:
    """Unknown names are AttributeErrors, new ones may be set, hyperparameters cannot be deleted."""
    optimizer = Adamax()
    assert not hasattr(optimizer, "momentum")
    assert getattr(optimizer, "momentum", 7) == 7
    optimizer.note = "mine"  # type: ignore[attr-defined]
    assert optimizer.note == "mine"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        del optimizer.beta_1
    assert isinstance(Adamax.beta_1, Hyperparameter)


def test_optimizers_do_not_share_hyperparameters() -> None:
    """What is set on one optimizer is not set on another."""
    a, b = Adamax(0.5), Adamax()
    a.beta_1, a.clipnorm = 0.5, 1.0
    assert (b.learning_rate, b.beta_1, b.clipnorm) == (0.001, 0.9, None)


@pytest.mark.parametrize("name", [*RATES, *LIMITS])
def test_callables_are_called_once_a_step(name: str) -> None:
    """A step asks a callable once, whatever the number of variables; a config asks once too."""
    calls: list[int] = []

    def value() -> float:
        calls.append(len(calls))
        return 0.5

    optimizer = Adamax()
    variables: list[Any] = [Variable(np.ones(2)), Variable(np.ones(3)), np.ones(1)]
    setattr(optimizer, name, value)
    for done in range(1, 4):
        optimizer.apply_gradients([(np.ones(x.shape), x) for x in variables])
        assert len(calls) == done
    assert optimizer.get_config()[name] == 0.5
    assert len(calls) == 4
    assert getattr(optimizer, name) == 0.5
    assert len(calls) == 5


@pytest.mark.parametrize("name", [*RATES, *LIMITS])
@pytest.mark.parametrize(
    ("wrong", "error"), [(-1.0, ValueError), (math.nan, ValueError), ("1", TypeError)]
)
def test_callables_that_go_wrong_change_nothing(
    name: str, wrong: Any, error: type[Exception]
) -> None:
    """A callable that raises, or returns what is no such number, stops the step in time."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    optimizer.apply_gradients([(np.ones(2), w)])
    before = snapshot(optimizer, w)
    original = getattr(optimizer, name)

    def raising() -> float:
        raise ArithmeticError("no value")

    for value, expected in ((lambda: wrong, error), (raising, ArithmeticError)):
        setattr(optimizer, name, value)
        with pytest.raises(expected):
            optimizer.apply_gradients([(np.ones(2), w)])
        setattr(optimizer, name, original)
        assert snapshot(optimizer, w) == before


def test_assigning_in_mid_step_is_for_the_next() -> None:
    """A step has one set of numbers: a constraint that sets others sets them for the next step."""
    optimizer = Adamax(0.5, beta_1=0.0, epsilon=0.0)

    def slower(x: Any) -> Any:
        optimizer.learning_rate = 0.25
        return x

    a, b = Variable(np.zeros(1), constraint=slower), Variable(np.zeros(1))
    for expected in (-0.5, -0.75):
        optimizer.apply_gradients([(np.ones(1), a), (np.ones(1), b)])
        np.testing.assert_allclose([a.value, b.value], [[expected], [expected]], rtol=1e-15)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-0.1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (None, ValueError),
        (np.array([0.1, 0.1]), TypeError),
        ("0.1", TypeError),
    ],
)
def test_schedules_that_go_wrong_change_nothing(value: Any, error: type[Exception]) -> None:
    """What a schedule returns is checked; the error names the schedule and the step."""

    class Odd(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            result: float = value if step == 1 else 0.5
            return result

        def get_config(self) -> dict[str, Any]:
            return {}

    optimizer, w = Adamax(Odd()), Variable(np.ones(2))
    optimizer.apply_gradients([(np.ones(2), w)])
    before = snapshot(optimizer, w)
    with pytest.raises(error, match="Odd at step 1"):
        optimizer.apply_gradients([(np.ones(2), w)])
    assert snapshot(optimizer, w) == before


@pytest.mark.parametrize("number", [np.float32(0.5), np.asarray(0.5), np.array(0.5, np.float16)])
def test_schedules_may_return_numbers_of_numpy(number: Any) -> None:
    """A rate from a schedule is a Python float too, and promotes no array."""

    class Given(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            result: float = number
            return result

    optimizer, w = Adamax(Given(), epsilon=0.0), Variable(np.zeros(2, np.float32))
    assert type(optimizer.current_learning_rate) is float
    optimizer.apply_gradients([(np.ones(2), w)])
    np.testing.assert_array_equal(w.value, np.full(2, -0.5, np.float32))


@pytest.mark.parametrize("iterations", [65519, 65520, 2**24 + 1, 2**40])
def test_late_steps_do_not_fade(iterations: int) -> None:
    """The rate at step numbers that float16 and float32 cannot hold is that of double precision."""
    optimizer = Adamax(1.0, decay=1e-3)
    optimizer.iterations.assign(iterations)
    expected = 1.0 / (1 + 1e-3 * iterations)
    assert optimizer.current_learning_rate == expected
    w = Variable(np.zeros(1, np.float16))
    optimizer.apply_gradients([(np.ones(1), w)])
    assert optimizer.iterations == iterations + 1
    np.testing.assert_array_equal(w.value, np.array([-0.1 * expected]).astype(np.float16))


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.ExponentialDecay(0.1, 1, 1e300),
        schedules.CosineDecayRestarts(0.1, 1, t_mul=1.0, m_mul=1e200),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_schedule_that_is_infinite_is_refused_by_name(schedule: Any) -> None:
    """The step that would use it changes nothing, and says which schedule it was, and when."""
    w, optimizer = Variable(np.zeros(2)), Adamax(schedule)
    for _ in range(2):
        optimizer.apply_gradients([(np.ones(2), w)])
    before = w.numpy()
    message = f"Expected {type(schedule).__name__} at step 2 to be a finite number, received: inf"
    with pytest.raises(ValueError, match=message):
        optimizer.apply_gradients([(np.ones(2), w)])
    np.testing.assert_array_equal(w.numpy(), before)
    assert int(optimizer.iterations) == 2
