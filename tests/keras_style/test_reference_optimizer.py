"""The reference's tests of optimizers at large, each with its inputs, asked of Adamax.

The tests are those of `optimizer_v2_test` and `optimizers_test` in TensorFlow 1.15 and after. What
they ask of graphs, distribution strategies and hooks has no counterpart here.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference_model import NumpyAdamax

import adamax
from adamax import Adamax, Variable, schedules

Array = Any
EXACT: dict[str, Any] = {"learning_rate": 3.0, "epsilon": 0.0}
"""With epsilon 0 the first step is the learning rate, in the direction of the sign."""


def two(dtype: str = "float64") -> tuple[Variable, Variable]:
    """Return the variables that the reference's tests begin with."""
    return Variable(np.array([1.0, 2.0], dtype)), Variable(np.array([3.0, 4.0], dtype))


def weighted(a: Variable, b: Variable) -> Callable[[], Array]:
    """Return the loss that they minimise."""
    return lambda: 5 * a + 3 * b


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_basic(dtype: str) -> None:
    """`testBasic`: minimize updates the variables, of a list and of a callable, and counts."""
    a, b = two(dtype)
    optimizer = Adamax(**EXACT)
    assert optimizer.minimize(weighted(a, b), [a, b]) == 1
    np.testing.assert_allclose(a.value, [-2.0, -1.0])
    np.testing.assert_allclose(b.value, [0.0, 1.0], atol=1e-6)


def test_adaptive_learning_rate() -> None:
    """`testAdaptiveLearningRate`: the rate is changed to a number, then to a schedule."""
    a, b = two()
    optimizer, model = Adamax(1.0), NumpyAdamax([[1, 2], [3, 4]])

    def assert_step(rate: float) -> None:
        optimizer.minimize(weighted(a, b), [a, b])
        for variable, expected in zip((a, b), model.step([5.0, 3.0], rate), strict=True):
            np.testing.assert_allclose(variable.value, expected, rtol=1e-12, atol=1e-15)

    assert_step(1.0)
    optimizer.learning_rate = 0.5
    assert_step(0.5)
    optimizer.learning_rate = schedules.InverseTimeDecay(0.5, decay_steps=1.0, decay_rate=0.5)
    assert_step(0.5 / (1 + 0.5 * 2))


def test_precomputed_gradient() -> None:
    """`testPrecomputedGradient`: grad_loss weighs the elements of the loss, signs included."""
    a, b = two()
    optimizer = Adamax(**EXACT)
    optimizer.minimize(weighted(a, b), [a, b], grad_loss=np.array([42.0, -42.0]))
    np.testing.assert_allclose(a.value, [1.0 - 3.0, 2.0 + 3.0])
    np.testing.assert_allclose(b.value, [3.0 - 3.0, 4.0 + 3.0])
    np.testing.assert_allclose(optimizer.get_slot(a, "v").value, [5 * 42, 5 * 42])


def test_no_gradients() -> None:
    """`testNoGradients`: a variable that the loss does not hold is told of."""
    a, b = two()
    with pytest.raises(ValueError, match="No gradients"):
        Adamax().minimize(lambda: 5 * a, [b])


def test_no_gradients_for_any_variables_minimize() -> None:
    """`testNoGradientsForAnyVariables_Minimize`: a constant loss has no gradient at all."""
    a, b = two()
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        Adamax().minimize(lambda: np.asarray(5.0), [a, b])


def test_no_gradients_for_any_variables_apply_gradients() -> None:
    """`testNoGradientsForAnyVariables_ApplyGradients`: nor has a list of None."""
    a, b = two()
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        Adamax().apply_gradients([(None, a), (None, b)])


def test_gradients_as_variables() -> None:
    """`testGradientsAsVariables`: gradients may be held in Variables, and are not changed."""
    a, b = two()
    grads = [Variable(np.full(2, 5.0)), Variable(np.full(2, 3.0))]
    optimizer, model = Adamax(), NumpyAdamax([[1, 2], [3, 4]])
    for _ in range(2):
        optimizer.apply_gradients(zip(grads, [a, b], strict=True))
        expected = model.step([5.0, 3.0])
    np.testing.assert_allclose([a.value, b.value], expected, rtol=1e-12)
    np.testing.assert_array_equal([x.value for x in grads], [[5, 5], [3, 3]])


def test_compute_gradients_with_tensors() -> None:
    """`testComputeGradientsWithTensors`: what cannot be assigned to is no variable."""
    constant = np.asarray(1.0)
    constant.flags.writeable = False
    with pytest.raises(TypeError, match=r"read-only numpy.ndarray.*wrap"):
        Adamax().apply_gradients([(np.asarray(1.0), constant)])


def test_constraint() -> None:
    """`testConstraint`: every variable keeps to its constraint after the update."""
    a = Variable(np.array([1.0, 2.0]), constraint=lambda x: np.clip(x, -0.1, 0.0))
    b = Variable(np.array([3.0, 4.0]), constraint=lambda x: np.clip(x, 0.0, 1.0))
    Adamax(**EXACT).minimize(weighted(a, b), [a, b])
    np.testing.assert_array_equal(a.value, [-0.1, -0.1])
    np.testing.assert_array_equal(b.value, [0.0, 1.0])


def test_iteration_without_minimize() -> None:
    """`testIterationWithoutMinimize`: iterations reads 0 before any step."""
    assert Adamax(3.0).iterations == 0


def test_config() -> None:
    """`testConfig`: a float rate survives the round trip before and after variables exist."""
    optimizer = Adamax(learning_rate=1.0)
    rebuilt = Adamax.from_config(optimizer.get_config())
    assert rebuilt.lr == optimizer.lr == 1.0
    a, _ = two()
    rebuilt.minimize(lambda: 3 * a, [a])
    again = Adamax.from_config(rebuilt.get_config())
    assert again.get_config() == rebuilt.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.InverseTimeDecay(0.5, decay_steps=1.0, decay_rate=0.1),
        schedules.PiecewiseConstantDecay([5], [1.0, 0.5]),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_config_with_learning_rate_decay(schedule: schedules.LearningRateSchedule) -> None:
    """`testConfigWithLearningRateDecay`: so does a schedule, to the same rate at step 10."""
    a, _ = two()
    optimizer = Adamax(schedule)
    rebuilt = Adamax.from_config(optimizer.get_config())
    rate: Any = rebuilt.learning_rate
    assert rate(10) == schedule(10)
    rebuilt.minimize(lambda: 3 * a, [a])
    rate = Adamax.from_config(rebuilt.get_config()).learning_rate
    assert rate(10) == schedule(10)
    assert rate == schedule


@pytest.mark.parametrize("clip", ["clipvalue", "clipnorm"])
def test_grad_clip(clip: str) -> None:
    """`testGradClipValue`, `testGradClipNorm`: a gradient of 3 is clipped to 1."""
    a = Variable(np.array([1.0]))
    limits: dict[str, Any] = {clip: 1.0}
    optimizer = Adamax(1.0, epsilon=0.0, **limits)
    optimizer.minimize(lambda: 3 * a, [a])
    np.testing.assert_allclose(a.value, [0.0], atol=1e-15)
    np.testing.assert_array_equal(optimizer.get_slot(a, "v").value, [1.0])


def test_grad_global_clip_norm() -> None:
    """`testGradGlobalClipNorm`: 3 and 4 under a common norm of 2 become 1.2 and 1.6."""
    a, b = Variable(np.array([1.0])), Variable(np.array([2.0]))
    optimizer = Adamax(1.0, global_clipnorm=2.0)
    optimizer.minimize(lambda: 3 * a + 4 * b, [a, b])
    found = [optimizer.get_slot(x, "v").value for x in (a, b)]
    np.testing.assert_allclose(found, [[1.2], [1.6]], rtol=1e-15)


def test_invalid_clip_norm() -> None:
    """`testInvalidClipNorm`: a norm below 0 is refused."""
    with pytest.raises(ValueError, match=">= 0"):
        Adamax(1.0, clipnorm=-1.0)


@pytest.mark.parametrize("keyword", ["gradient_noise", "gradient_aggregator"])
def test_invalid_kwargs(keyword: str) -> None:
    """`testInvalidKwargs`: an unknown keyword is named; hooks of the reference are unknown."""
    keywords: dict[str, Any] = {keyword: 1.0}
    with pytest.raises(TypeError, match=f"Unexpected keyword argument.*{keyword}"):
        Adamax(1.0, **keywords)


def test_weights() -> None:
    """`testWeights`: weights carry a run over to another optimizer; wrong lists are refused."""
    first = Adamax(1.0)
    (a, _), (b, _) = two(), two()
    first.minimize(lambda: 3 * a, [a])
    second = Adamax.from_config(first.get_config())
    second.minimize(lambda: 5 * b, [b])
    second.set_weights(first.get_weights())
    assert first.iterations == second.iterations == 1
    b.assign(a)
    first.minimize(lambda: 3 * a, [a])
    second.minimize(lambda: 3 * b, [b])
    np.testing.assert_array_equal(a.value, b.value)
    assert first.iterations == second.iterations == 2
    c, d = Variable(np.array([1.0, 2.0, 3.0])), Variable(np.array([4.0, 5.0, 6.0]))
    third = Adamax(1.0)
    third.minimize(lambda: 3 * c + 5 * d, [c, d])
    with pytest.raises(ValueError, match="but the optimizer was"):
        third.set_weights(first.get_weights())


def test_getting_hyper_parameters() -> None:
    """`testGettingHyperParameters`: `lr` is read, assigned and altered in place like a number."""
    optimizer = Adamax(learning_rate=1.0)
    assert optimizer.lr == 1.0
    optimizer.lr = 2.0
    assert optimizer.learning_rate == 2.0
    optimizer.lr += 1.0
    assert optimizer.lr == 3.0
    with pytest.raises(AttributeError, match="not_an_attr"):
        optimizer.not_an_attr += 3  # type: ignore[attr-defined]


def test_getting_hyper_parameters_with_lr_in_constructor() -> None:
    """`testGettingHyperParametersWithLrInConstructor`: both names read and write one number."""
    optimizer = Adamax(lr=3.0)
    assert (optimizer.lr, optimizer.learning_rate) == (3.0, 3.0)
    optimizer.lr = 4.0
    assert (optimizer.lr, optimizer.learning_rate) == (4.0, 4.0)


def test_dir() -> None:
    """`testDir`: the hyperparameters and `lr` are listed."""
    assert {"lr", "learning_rate", "decay", "beta_1", "beta_2", "epsilon"} <= set(dir(Adamax()))


def test_optimizer_with_callbacks() -> None:
    """`testOptimizerWithCallbacks`: a rate is lowered from outside when the loss is on a plateau.

    The rule is that of `ReduceLROnPlateau(factor=0.1, patience=1)` with a loss that stays.
    """
    optimizer, best, waited = Adamax(0.1), np.inf, 0
    for loss in (1.0, 1.0):
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited >= 1:
            optimizer.lr = float(optimizer.lr) * 0.1
    assert optimizer.lr == pytest.approx(0.01)


def test_optimizer_set_iterations() -> None:
    """`testOptimizerSetIterations`: steps are counted in the caller's variable."""
    a, _ = two()
    global_step = Variable(np.asarray(0, np.int64), name="global_step")
    optimizer = Adamax(1.0)
    optimizer.iterations = global_step
    optimizer.minimize(lambda: 3 * a, [a])
    assert global_step == 1
    assert optimizer.iterations is global_step
    assert optimizer.weights[0] is global_step
    with pytest.raises(RuntimeError, match="Cannot set `iterations`"):
        optimizer.iterations = Variable(np.asarray(0, np.int64))


def test_optimizer_with_callable_var_list() -> None:
    """`testOptimizerWithCallableVarList`: variables may be made by the loss and named after it."""
    made: list[Variable] = []

    def loss() -> Array:
        if not made:
            made.append(Variable(np.array([1.0, 2.0])))
        return np.sum(made[0].value * 3)

    optimizer = Adamax(**EXACT)
    optimizer.minimize(loss, lambda: made)
    np.testing.assert_allclose(made[0].value, [-2.0, -1.0])


def test_var_key() -> None:
    """`testVarKey`: variables of one name have slots of their own."""
    a, b = (Variable(np.array([x]), name="var") for x in (1.0, 2.0))
    optimizer = Adamax()
    optimizer.apply_gradients([(np.array([1.0]), a), (np.array([5.0]), b)])
    assert optimizer.get_slot(a, "v") == 1.0
    assert optimizer.get_slot(b, "v") == 5.0


def test_var_name() -> None:
    """`testVarName`: slots are called after the optimizer, their variable and themselves."""
    optimizer = Adamax()
    var = Variable(np.array([1.0]), name="var")
    optimizer.apply_gradients([(np.array([1.0]), var)])
    assert [x.name for x in optimizer.weights] == ["Adamax/iter", "Adamax/var/m", "Adamax/var/v"]
    outer = Variable(np.array([1.0]), name="outter/var_2")
    optimizer.apply_gradients([(np.array([1.0]), outer)])
    assert [x.name for x in optimizer.weights] == [
        "Adamax/iter",
        "Adamax/var/m",
        "Adamax/outter/var_2/m",
        "Adamax/var/v",
        "Adamax/outter/var_2/v",
    ]


def test_adamax_compatibility() -> None:
    """`testAdamaxCompatibility`: [iterations, ms, us] of another Adamax are taken over exactly.

    That order is the one in which the reference's first optimizer classes kept their weights.
    """
    rng = np.random.default_rng(7)
    model = NumpyAdamax([rng.normal(size=(4, 3)), rng.normal(size=3)], 0.002)
    gradients = [[rng.normal(size=(4, 3)), rng.normal(size=3)] for _ in range(5)]
    for grads in gradients[:3]:
        model.step(grads)
    found = [Variable(x) for x in model.x]
    optimizer = Adamax(0.002)
    optimizer.build(found)
    optimizer.set_weights([np.asarray(model.t), *model.m, *model.v])
    for grads in gradients[3:]:
        optimizer.apply_gradients(zip(grads, found, strict=True))
        for variable, expected in zip(found, model.step(grads), strict=True):
            np.testing.assert_allclose(variable.value, expected, rtol=1e-12)


def test_duplicate_ops() -> None:
    """`test_duplicate_ops`: what is common to all variables is computed once a step."""
    asked: list[int] = []

    class Counting(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            asked.append(step)
            return 0.1

    a, b = two()
    optimizer = Adamax(Counting())
    for _ in range(3):
        optimizer.minimize(weighted(a, b), [a, b])
    assert asked == [0, 1, 2]


def test_empty_var_list() -> None:
    """`test_empty_var_list`: minimising in nothing is no step and no error."""
    optimizer = Adamax(1.0)
    optimizer.minimize(lambda: np.asarray(1.0), [])
    assert optimizer.iterations == 0


def test_deepcopy() -> None:
    """`testDeepCopy`: a copy has the hyperparameters of its original."""
    original = Adamax(learning_rate=0.42)
    copied = copy.deepcopy(original)
    assert copied.learning_rate == 0.42
    assert copied.get_config() == original.get_config()


def test_subclass() -> None:
    """`testSubclassOptimizer`: a subclass that overrides a method still works in all the others."""

    class Halved(Adamax):
        def apply_gradients(self, grads_and_vars: Any, *arguments: Any, **named: Any) -> Variable:
            halves = [(grad / 2, var) for grad, var in grads_and_vars]
            return super().apply_gradients(halves, *arguments, **named)

    a, _ = two()
    optimizer = Halved(1.0)
    optimizer.minimize(lambda: 3 * a, [a])
    np.testing.assert_array_equal(optimizer.get_slot(a, "v").value, [1.5, 1.5])


class Softmax:
    """A linear classifier of two classes, and the data that the reference trains it with."""

    def __init__(self, **constraints: Callable[[Array], Array]) -> None:
        rng = np.random.default_rng(1337)
        self.labels = rng.integers(0, 2, size=1000)
        self.inputs = 2 * self.labels[:, None] + rng.normal(size=(1000, 10))
        self.kernel = Variable(
            rng.normal(size=(10, 2)) * 0.1, name="kernel", constraint=constraints.get("kernel")
        )
        self.bias = Variable(np.zeros(2), name="bias", constraint=constraints.get("bias"))
        self.variables = [self.kernel, self.bias]

    def scores(self, inputs: Array) -> Array:
        return inputs @ self.kernel.value + self.bias.value

    def loss(self, rows: slice) -> Callable[[], tuple[float, list[Array]]]:
        def loss() -> tuple[float, list[Array]]:
            inputs, labels = self.inputs[rows], self.labels[rows]
            scores = self.scores(inputs)
            exps = np.exp(scores - scores.max(axis=1, keepdims=True))
            shares = exps / exps.sum(axis=1, keepdims=True)
            picked = shares[np.arange(len(labels)), labels]
            error = (shares - np.eye(2)[labels]) / len(labels)
            return float(-np.mean(np.log(picked))), [inputs.T @ error, error.sum(axis=0)]

        return loss

    def fit(self, optimizer: Adamax, epochs: int) -> None:
        for _ in range(epochs):
            for start in range(0, 1000, 16):
                optimizer.minimize(self.loss(slice(start, start + 16)), self.variables)

    @property
    def accuracy(self) -> float:
        return float(np.mean(np.argmax(self.scores(self.inputs), axis=1) == self.labels))


def test_trains() -> None:
    """`_test_optimizer`: two epochs reach an accuracy of .75, in 126 steps; then 127 is next."""
    model, optimizer = Softmax(), Adamax(lr=0.002)
    model.fit(optimizer, epochs=2)
    assert model.accuracy >= 0.75
    assert optimizer.iterations == 126
    optimizer.minimize(model.loss(slice(0, 16)), model.variables)
    assert optimizer.iterations == 127


@pytest.mark.parametrize("settings", [{}, {"decay": 1e-3}])
def test_serialized_optimizer_is_equal(settings: dict[str, Any]) -> None:
    """`testAdamax`: the optimizer built from the serialised one has its configuration."""
    config = adamax.serialize(Adamax(**settings))
    assert adamax.serialize(adamax.deserialize(config)) == config


def test_trained_variables_keep_constraints() -> None:
    """`_test_optimizer`: kernels that are made 1 and biases that are made 2 are so afterwards."""
    model = Softmax(kernel=lambda x: 0 * x + 1, bias=lambda x: 0 * x + 2)
    model.fit(Adamax(), epochs=1)
    np.testing.assert_array_equal(model.kernel.value, np.ones((10, 2)))
    np.testing.assert_array_equal(model.bias.value, np.full(2, 2.0))


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_negative_clip_values(clip: str) -> None:
    """`test_negative_clipvalue_or_clipnorm`: limits below 0 are refused."""
    limits: dict[str, Any] = {clip: -0.5}
    with pytest.raises(ValueError, match=f"Expected {clip} >= 0, received: -0.5"):
        Adamax(**limits)
