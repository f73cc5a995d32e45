"""What a user of NumPy writes: a type checker knows the types, and has nothing to say."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from adamax import (
    Adamax,
    CheckpointManager,
    IndexedSlices,
    State,
    Variable,
    check_gradients,
    clipping,
    init,
    inspect_checkpoint,
    load_checkpoint,
    save_checkpoint,
    schedules,
    update,
    value_and_gradients,
)
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.typing import Array
from adamax_adapters.backends import standard
from adamax_adapters.backends.contract import Prepare, Target, Write

Floats = NDArray[np.float64]
Params = dict[str, Floats]


def norm(x: Array) -> float:
    """A function of arrays of any library."""
    total = abs(x) ** 2 / 2 + x
    return float(total.sum()) if x.ndim else float(x)


def test_a_loop_with_variables() -> None:
    w = Variable(np.ones(3), name="w", constraint=lambda x: np.clip(x, 0, 1))
    b = Variable(np.zeros((2, 3)))
    assert_type(w.value, np.ndarray[tuple[int], np.dtype[np.float64]])
    assert_type(w.numpy(), NDArray[Any])
    assert_type(w.shape, tuple[int, ...])
    variables: list[Variable] = [w, b]

    def loss() -> Any:
        return np.sum((w * 2 + b.value - 1) ** 2)

    optimizer = Adamax(0.1, clipnorm=1, backend="numpy")
    for _ in range(2):
        optimizer.minimize(loss, variables)
    assert float(optimizer.minimize(loss, {"w": w, "more": [b]}, return_loss=True)) > 0
    value, gradients = value_and_gradients(loss, lambda: [w, b], engine="tape")
    assert_type(optimizer.apply_gradients(zip(gradients, variables, strict=True)), Variable)
    optimizer.apply_gradients([(np.ones(3, np.float32), w)])
    some: list[Floats | None] = [np.ones((2, 3))]
    optimizer.apply_gradients(zip(some, [b], strict=True))
    optimizer.apply_gradients([(IndexedSlices(np.ones((1, 3)), np.array([1])), b)])
    optimizer.apply_gradients([(1, Variable(np.float64(0.5)))])
    assert_type(optimizer.get_slot(w, "m"), Variable)
    check_gradients(loss, variables)
    w.assign([1, 2, 3]).assign_add(w).assign_sub(np.float32(1))
    w += 1
    assert (norm(w), norm(value), norm(w.value)) > (0.0, 0.0, 0.0)


def test_raw_arrays() -> None:
    x = np.ones(3)
    Adamax(learning_rate=lambda: 0.5).apply_gradients([(2 * x, x)])
    assert (x < 1).all()


def test_the_pure_form_returns_what_it_is_given() -> None:
    def step(params: Params, state: State[Params]) -> tuple[Params, State[Params]]:
        gradients: Mapping[str, Floats | None] = {"w": 2 * params["w"], "b": None}
        return update(params, gradients, state, learning_rate=schedules.CosineDecay(0.1, 10))

    params: Params = {"w": np.ones(3), "b": np.zeros((2, 2))}
    state = init(params)
    assert_type(state, State[Params])
    params, state = step(params, state)
    assert_type(state.m["w"], Floats)
    assert_type(state.step, int | Array)
    assert state.step < 2
    x: Floats = np.ones(2)
    x, of_x = update(x, 2 * x, init(x))
    assert_type(x, Floats)
    assert_type(of_x.u, Floats)


def test_schedules_and_hyperparameters() -> None:
    class Halving(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            return 0.5**step

    decay = schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
    assert_type(decay(3), float)
    optimizer = Adamax(decay)
    assert isinstance(optimizer.learning_rate, schedules.LearningRateSchedule)
    optimizer.learning_rate = Halving()
    optimizer.learning_rate = 0.5
    assert_type(optimizer.current_learning_rate, float)
    optimizer.beta_1 = lambda: 0.8
    optimizer.epsilon = None
    optimizer.clipnorm = None
    other = Adamax(0.5)
    other.learning_rate *= 0.5
    other.lr.assign(other.lr / 2)
    rate: float = other.learning_rate + other.beta_2
    assert rate == 0.125 + 0.999


def test_clipping_keeps_the_kind_of_gradient() -> None:
    g: Floats = np.ones(3)
    rows = IndexedSlices(np.ones((2, 3)), [0, 1], dense_shape=(5, 3))
    assert_type(clipping.clip_by_norm(g, 1), Floats)
    assert_type(clipping.clip_by_value(rows, 0.5).indices, list[int])
    assert_type(clipping.clip_by_global_norm([g, g], 1.0), list[Floats])
    assert len(clipping.clip_by_global_norm([g, rows], 1.0)) == 2


def test_checkpoints(tmp_path: Path) -> None:
    w, optimizer = Variable(np.ones(3), name="w"), Adamax()
    optimizer.build([w])
    save_checkpoint(tmp_path / "file", optimizer, [w])
    assert_type(load_checkpoint(tmp_path / "file", optimizer, strict=False).missing, list[str])
    assert_type(inspect_checkpoint(tmp_path / "file"), dict[str, Any])
    with CheckpointManager(tmp_path / "run", keep=2) as manager:
        assert_type(manager.save(optimizer, {"w": w}), Path)
        restored = manager.restore_latest(optimizer)
    assert restored is not None
    assert_type(restored.step, int)
    optimizer.set_weights(optimizer.get_weights())
    assert_type(Adamax.from_config(optimizer.get_config()), Adamax)


class Plain:
    """A backend of one's own."""

    def dense(self, targets: Sequence[Target], rule: Rule = ADAMAX) -> Prepare:
        def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
            return lambda: [p.assign_sub(g) for (p, *_), g in zip(targets, gradients, strict=True)]

        return prepare

    def rows(
        self, target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX
    ) -> Write:
        raise NotImplementedError


def test_own_backends_and_engines() -> None:
    def engine(loss: Callable[[], Any], variables: list[Any]) -> tuple[Any, list[Any]]:
        return loss(), [np.ones(v.shape) for v in variables]

    w, optimizer = Variable(np.ones(2)), Adamax(backend=Plain())
    optimizer.minimize(lambda: w, w, engine=engine)
    assert w.value.tolist() == [0, 0]
    optimizer.backend = standard
