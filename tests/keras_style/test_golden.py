"""The 34 trajectories measured from `tf.keras.optimizers.Adamax` of TensorFlow 1.15.5.

Every backend of the matrix goes along them, so that each is held to the reference itself.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libraries import LIBRARIES, Library, Usage

from adamax import Adamax, IndexedSlices, Variable
from adamax._arrays import array_namespace

Array = Any

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "tf115.json").read_text())["cases"]
BY_NAME = {case["name"]: case for case in CASES}


def features(case: Mapping[str, Any]) -> Iterator[str]:
    """Yield the features that a case is about."""
    yield "sparse" if case["sparse"] else "dense"
    if any("clip" in key for key in case["config"]):
        yield "clipping"
    if "decay" in case["config"] or isinstance(case["config"].get("learning_rate"), dict):
        yield "schedules"
    if case["via"] == "minimize":
        yield "gradients"


# They compile for every number of rows, or build a graph of every step: one dtype will do.
SLOW = (Usage.JAX, Usage.DASK)
RUNS = [
    pytest.param(
        case,
        library,
        id=f"{case['name']}-{library}",
        marks=[pytest.mark.feature(*features(case)), *library.usage.marks],
    )
    for case in CASES
    for library in LIBRARIES
    if library.dtype == case["dtype"] and (library.usage not in SLOW or library.dtype == "float64")
]


@pytest.fixture(scope="module")
def numbers() -> Iterator[Any]:
    with np.load(DATA / "tf115.npz") as arrays:
        yield {name: arrays[name] for name in arrays.files}


class Trajectory:
    """One case: its variables of some library, and an optimizer to take the steps with."""

    def __init__(self, case: dict[str, Any], numbers: dict[str, Array], library: Library) -> None:
        self.case, self.numbers, self.library = case, numbers, library
        self.optimizer = Adamax.from_config(case["config"])
        self.indices = range(len(case["shapes"]))
        self.variables = [Variable(library.asarray(self.of("x0", i))) for i in self.indices]

    def of(self, kind: str, *indices: int) -> Array:
        return self.numbers["|".join([self.case["name"], kind, *map(str, indices)])]

    def gradient(self, i: int, step: int) -> Any:
        if self.case["sparse"]:
            values, rows = self.of("g", i, step), self.of("idx", i, step)
            return IndexedSlices(self.library.asarray(values), self.library.asarray(rows, "int32"))
        return self.library.asarray(self.of("g", i)[step])

    def advance(self, step: int) -> None:
        self._advance(step)
        for part in (*self.variables, *self.optimizer.weights[1:]):
            part.held = self.library.computed(part.value)

    def _advance(self, step: int) -> None:
        gradients = [self.gradient(i, step) for i in self.indices]
        if self.case["via"] == "apply":
            self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
            return

        def loss() -> Array:
            xp = array_namespace(self.variables[0])
            return sum(xp.sum(v.value * g) for g, v in zip(gradients, self.variables, strict=True))

        self.optimizer.minimize(loss, self.variables)

    def slots(self, i: int) -> dict[str, Array]:
        slots = {name: self.optimizer.get_slot(self.variables[i], name) for name in "mv"}
        return {name: self.library.read(slot.value) for name, slot in slots.items()}


def test_every_case_is_run() -> None:
    """There are 34 cases of distinct names, half in each precision, of every kind."""
    assert len(CASES) == len(BY_NAME) == 34
    assert [case["dtype"] for case in CASES].count("float64") == 17
    assert {case["via"] for case in CASES} == {"apply", "minimize"}
    assert {case["sparse"] for case in CASES} == {True, False}


@pytest.mark.parametrize(("case", "library"), RUNS, indirect=["library"])
def test_trajectory(case: dict[str, Any], library: Library, numbers: Any) -> None:
    """Every step and the last slots are the reference's, in every library.

    In float64 each element of a variable agrees to 1e-14 of its own size, and each element of m
    and v to 1e-14 of v, which bounds m. In float32, where the reference rounds hyperparameters to
    float32 first, no element of a variable is off by more than 1e-5 of the way that it has
    travelled, nor one of m and v by more than 1e-5 of v.
    """
    exact = case["dtype"] == "float64"
    tolerance = 1e-14 if exact else 1e-5
    run = Trajectory(case, numbers, library)
    before = [library.read(variable.value) for variable in run.variables]
    travelled = [np.zeros_like(x) for x in before]
    for step in range(case["steps"]):
        run.advance(step)
        for i, variable in enumerate(run.variables):
            found = library.read(variable.value)
            expected = run.of("x", i)[step].astype(np.float64)
            travelled[i] += np.abs(expected - before[i])
            scale = np.abs(expected) if exact else travelled[i]
            assert np.all(np.abs(found - expected) <= tolerance * scale)
            before[i] = expected
    assert run.optimizer.iterations == case["steps"]
    for i in run.indices:
        m, v = run.of("m", i), run.of("v", i)
        slots = run.slots(i)
        assert np.all(np.abs(slots["m"] - m) <= tolerance * v)
        assert np.all(np.abs(slots["v"] - v) <= tolerance * v)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, case in BY_NAME.items()
        if case["dtype"] == "float64" and not case["sparse"] and "clipnorm" not in case["config"]
    ],
)
def test_dense_steps_are_equal_bit_for_bit(name: str, numbers: Any) -> None:
    """In float64, without a norm to sum up, dense steps are the reference's to the last bit."""
    run = Trajectory(BY_NAME[name], numbers, Library(Usage.NUMPY, "float64"))
    for step in range(run.case["steps"]):
        run.advance(step)
        for i, variable in enumerate(run.variables):
            np.testing.assert_array_equal(variable.value, run.of("x", i)[step])
    for i in run.indices:
        for slot, found in run.slots(i).items():
            np.testing.assert_array_equal(found, run.of(slot, i))
