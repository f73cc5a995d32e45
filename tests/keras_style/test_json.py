"""Configuration as JSON text: exact for every kind of schedule, and of a version that is known."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamax import Adamax, schedules
from adamax.schedules import LearningRateSchedule

RATES = st.floats(0, 1e300)
FRACTIONS = st.floats(0, 1)
STEPS = st.integers(1, 10**9)
SCHEDULES = st.one_of(
    st.builds(schedules.ExponentialDecay, RATES, STEPS, FRACTIONS, st.booleans()),
    st.builds(schedules.InverseTimeDecay, RATES, STEPS, RATES, st.booleans()),
    st.builds(schedules.PolynomialDecay, RATES, STEPS, RATES, st.floats(0, 9), st.booleans()),
    st.builds(schedules.CosineDecay, RATES, STEPS, FRACTIONS),
    st.builds(schedules.CosineDecayRestarts, RATES, STEPS, st.floats(1, 9), FRACTIONS, FRACTIONS),
    st.builds(schedules.LinearCosineDecay, RATES, STEPS),
    st.builds(
        schedules.PiecewiseConstantDecay,
        st.just([10, 20.5]),
        st.lists(RATES, min_size=3, max_size=3),
    ),
)


@given(SCHEDULES)
def test_every_schedule_comes_back_exactly(schedule: LearningRateSchedule) -> None:
    """Through text, each number is the same double, and each rate with it."""
    text = Adamax(schedule).to_json()
    again = Adamax.from_json(text)
    assert again.to_json() == text
    rate = again.learning_rate
    assert type(rate) is type(schedule)
    assert json.dumps(rate.get_config()) == json.dumps(schedule.get_config())
    assert all(rate(step) == schedule(step) for step in (0, 7, 123_456))


@pytest.mark.parametrize("version", [0, 2, True, 1.0, "1", None, [1]], ids=repr)
def test_other_versions_are_refused(version: Any) -> None:
    """The format is the number 1; whatever else stands there is told, and not guessed at."""
    text = json.dumps(json.loads(Adamax().to_json()) | {"format": version})
    with pytest.raises(ValueError, match="expected format 1, received ") as raised:
        Adamax.from_json(text)
    assert f"received {version!r}; was it written by a later version" in str(raised.value)
