"""`adamax_adapters.gradients`: plain losses differentiated by the tape and by autograd."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from losses import CASES

from adamax import Adamax, IndexedSlices, Variable
from adamax_adapters.gradients import value_and_gradients

Array = Any


def whole(gradient: Any, shape: tuple[int, ...]) -> Array:
    """Return a gradient as a NumPy array; rows are added with NumPy's own scatter."""
    if gradient is None:
        return np.zeros(shape)
    if isinstance(gradient, IndexedSlices):
        result = np.zeros(shape)
        np.add.at(result, np.asarray(gradient.indices), np.asarray(gradient.values))
        return result
    return np.asarray(gradient)


def central_differences(loss: Callable[[], Any], variables: list[Variable]) -> list[Array]:
    """Return the gradients of a NumPy loss from its values alone."""
    gradients = []
    for variable in variables:
        gradient = np.zeros(variable.shape)
        for place in np.ndindex(*variable.shape):
            start = variable.value[place].copy()
            variable.value[place] = start + 1e-6
            above = float(loss())
            variable.value[place] = start - 1e-6
            gradient[place] = (above - float(loss())) / 2e-6
            variable.value[place] = start
        gradients.append(gradient)
    return gradients


def assert_close(gradients: list[Any], expected: list[Array], tolerance: float = 1e-6) -> None:
    for gradient, reference in zip(gradients, expected, strict=True):
        found = whole(gradient, reference.shape)
        assert found.shape == reference.shape
        scale = 1 + np.abs(reference).max(initial=0)
        assert np.abs(found - reference).max(initial=0) <= tolerance * scale


@pytest.fixture
def strict() -> Iterator[Any]:
    with array_api_strict.ArrayAPIStrictFlags(
        boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    ):
        yield array_api_strict


@pytest.mark.parametrize("name", CASES)
def test_tape_agrees_with_central_differences(name: str) -> None:
    """The tape's gradient of every loss is that of central differences in float64."""
    variables, loss = CASES[name](np.asarray, np.random.default_rng(5))
    value, gradients = value_and_gradients(loss, variables, engine="tape")
    assert value == loss()
    assert_close(gradients, central_differences(loss, variables))


@pytest.mark.parametrize("name", CASES)
def test_tape_needs_the_standard_only(name: str, strict: Any) -> None:
    """On array_api_strict without optional features every loss has the gradients of NumPy."""
    variables, loss = CASES[name](strict.asarray, np.random.default_rng(5))
    value, gradients = value_and_gradients(loss, variables)
    on_numpy, numpy_loss = CASES[name](np.asarray, np.random.default_rng(5))
    expected_value, expected = value_and_gradients(numpy_loss, on_numpy)
    assert float(value) == pytest.approx(float(expected_value), rel=1e-14)
    shapes = [variable.shape for variable in variables]
    assert_close(gradients, [whole(g, s) for g, s in zip(expected, shapes, strict=True)], 1e-12)


# autograd has no derivative of these losses' functions, or does not see Variables in them.
BEYOND_AUTOGRAD = {
    "attention_head",
    "embedding_bag",
    "every_binary_function",
    "every_elementwise_function",
    "every_shape_function",
    "mlp_softmax",
    "table_looked_up_and_decayed",
    "standardised_by_std",
    "two_lookups_of_one_table",
    "unrolled_rnn",
    "columns_taken",
    "matrix_factorisation",
    "vectors_and_matrices",
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - BEYOND_AUTOGRAD))
def test_autograd_agrees_with_the_tape(name: str) -> None:
    """Two engines that share no code give the same gradients."""
    variables, loss = CASES[name](np.asarray, np.random.default_rng(5))
    value, gradients = value_and_gradients(loss, variables, engine="autograd")
    expected_value, expected = value_and_gradients(loss, variables, engine="tape")
    assert value == pytest.approx(expected_value, rel=1e-14)
    shapes = [variable.shape for variable in variables]
    assert_close(gradients, [whole(g, s) for g, s in zip(expected, shapes, strict=True)], 1e-10)


def test_autograd_refuses_what_it_would_take_for_a_constant() -> None:
    """A Variable to the right of a box is an error, not a gradient that is silently wrong."""
    v, w = Variable(np.ones(2)), Variable(np.ones(2))
    with pytest.raises(TypeError, match=r"write v\.value"):
        value_and_gradients(lambda: np.sum(v.value * w), [v, w], engine="autograd")


def test_lookup_gives_rows() -> None:
    """The gradient of an embedding lookup holds the rows looked up, never the whole table."""
    table = Variable(np.ones((100_000, 2)))
    rows = np.array([3, 99_999, 3])
    _, (gradient,) = value_and_gradients(lambda: np.sum(table[rows] ** 2), [table])
    assert isinstance(gradient, IndexedSlices)
    assert gradient.values.shape == (3, 2)
    np.testing.assert_array_equal(gradient.indices, rows)
    np.testing.assert_array_equal(gradient.values, np.full((3, 2), 2.0))


INDICES = {
    "rows": lambda i, j, mask: i,
    "list": lambda i, j, mask: [2, 0, 2],
    "matrix of rows": lambda i, j, mask: np.stack([i, j]),
    "negative rows": lambda i, j, mask: -1 - i,
    "columns": lambda i, j, mask: (slice(None), j),
    "elements": lambda i, j, mask: (i, j),
    "elements of a column": lambda i, j, mask: (i, 1),
    "mask": lambda i, j, mask: mask,
    "new axis": lambda i, j, mask: (None, 1),
    "reversed": lambda i, j, mask: slice(None, None, -1),
}


@pytest.mark.parametrize("kind", INDICES)
def test_indices_of_all_kinds(kind: str) -> None:
    """Reading through any index NumPy knows has the derivative of central differences."""
    rng = np.random.default_rng(3)
    w = Variable(rng.normal(size=(4, 3)))
    key = INDICES[kind](np.array([0, 2, 2]), np.array([1, 0, 1]), rng.random((4, 3)) < 0.5)
    weights = rng.normal(size=w.value[key].shape)

    def loss() -> Array:
        return np.sum(np.sin(w[key]) * weights)

    _, gradients = value_and_gradients(loss, [w])
    assert_close(gradients, central_differences(loss, [w]))


def test_index_that_mixes_arrays_and_slices_is_refused() -> None:
    """What has no rule is an error that says what to do."""
    w = Variable(np.ones((3, 4, 2)))
    with pytest.raises(NotImplementedError, match="index twice"):
        value_and_gradients(lambda: np.sum(w[np.array([0]), :2]), [w])


NUMPY_LOSSES: dict[str, Callable[[Any], Any]] = {
    "ufuncs": lambda w: np.sum(np.square(np.tanh(w)) + np.power(w, 2) - np.true_divide(1.0, w)),
    "reductions": lambda w: np.mean(w, 0).sum() + np.var(w) + np.std(w) + np.max(w) + np.amin(w),
    "methods": lambda w: (w.sum(0).mean() + w.max(axis=1).sum() + w.T.min() + w.std()) * w.var(),
    "shapes": lambda w: (w.reshape(3, 2) @ w.transpose(1, 0).reshape(2, 3)).ravel().sum(),
    "flatten": lambda w: (w.flatten() ** 3).sum() + (w.copy() * w.reshape(-1).reshape(2, 3)).sum(),
    "joined": lambda w: np.sum(np.concatenate([w, w * 2]) ** 2 * np.stack([w, w]).reshape(4, 3)),
    "chosen": lambda w: np.where(w > 1, w, w**2).sum() + np.clip(w, 0.5, 1.5).sum(),
    "cumulated": lambda w: np.sum(np.cumsum(w, axis=1) ** 2) + np.sum(np.cumsum(w) ** 2),
    "taken flat": lambda w: np.sum(np.take(w, np.array([0, 5, 5])) ** 2),
    "iterated": lambda w: sum(row[0] * np.exp(row[1]) for row in w),
    "array on the left": lambda w: np.sum(np.ones((2, 3)) * w - np.arange(3.0) / w),
    "number from inside": lambda w: np.sum(w * len(w)) + 0 * int(w[0, 0]),
}


@pytest.mark.parametrize("name", NUMPY_LOSSES)
def test_plain_numpy_code_is_differentiated(name: str) -> None:
    """NumPy's functions and methods work on a variable as the standard's do."""
    w = Variable(np.random.default_rng(1).uniform(0.3, 2.0, size=(2, 3)))

    def loss() -> Array:
        return NUMPY_LOSSES[name](w.value)

    _, gradients = value_and_gradients(loss, [w])
    assert_close(gradients, central_differences(loss, [w]))


def test_numpy_functions_take_variables_themselves() -> None:
    """np.sum(v) of a Variable is np.sum(v.value), in a loss and outside."""
    w = Variable(np.array([1.0, 2.0]))
    assert np.sum(w) == 3.0
    assert np.concatenate([w, w]).shape == (4,)
    _, (gradient,) = value_and_gradients(lambda: np.sum(np.concatenate([w, 2 * w]) ** 2), [w])
    np.testing.assert_allclose(gradient, 10 * w.value)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (lambda w: np.prod(w), "calls prod"),
        (lambda w: np.add.reduce(w), "calls add.reduce"),
        (lambda w: np.sum(np.asarray(w)), "converts .* to a NumPy array"),
        (lambda w: np.sum(np.linalg.inv(w)), "calls inv"),
        (lambda w: np.sum(w.cumprod()), "calls cumprod"),
        (lambda w: np.clip(np.ones(2), 0.0, w).sum(), "argument 2"),
    ],
)
def test_function_without_derivative_is_named(loss: Callable[[Any], Any], name: str) -> None:
    """A function with no derivative rule is an error that names it, and nothing is changed."""
    w, opt = Variable(np.eye(2)), Adamax()
    with pytest.raises(NotImplementedError, match=name):
        opt.minimize(lambda: loss(w.value), [w])
    np.testing.assert_array_equal(w.value, np.eye(2))
    assert opt.iterations == 0


def test_assignment_to_elements_is_refused() -> None:
    """An assignment inside the loss is an error, whether to a variable or to what depends on it."""
    w = Variable(np.ones(3))

    def to_result() -> Array:
        y = w * 2
        y[0] = 5.0
        return np.sum(y)

    def to_variable() -> Array:
        w.value[0] = 5.0
        return np.sum(w.value)

    def by_assign() -> Array:
        w.assign(np.zeros(3))
        return np.sum(w.value)

    with pytest.raises(NotImplementedError, match="assigns to elements"):
        value_and_gradients(to_result, [w])
    for loss in (to_variable, by_assign):
        with pytest.raises(RuntimeError, match="inside a loss"):
            value_and_gradients(loss, [w])
    np.testing.assert_array_equal(w.value, np.ones(3))


def test_given_gradients_are_taken_as_they_are() -> None:
    """A loss that returns (value, gradients) may do anything, even what has no derivative."""
    w = Variable(np.array([1.0, -2.0]))

    def loss() -> Any:
        y = w.value * 2
        y[y < 0] = 0.0
        return float(np.prod(y)), [np.asarray(y)]

    value, (gradient,) = value_and_gradients(loss, [w])
    assert value == 0.0
    np.testing.assert_array_equal(gradient, [2.0, 0.0])


def test_nested_call_is_an_error() -> None:
    """minimize inside a loss is refused, and the variables are as they were."""
    w, opt = Variable(np.ones(2)), Adamax()

    def loss() -> Array:
        opt.minimize(lambda: np.sum(w.value), [w])
        return np.sum(w.value)

    with pytest.raises(RuntimeError, match="inside a loss"):
        opt.minimize(loss, [w])
    np.testing.assert_array_equal(w.value, np.ones(2))
    opt.minimize(lambda: np.sum(w.value), [w])
    assert opt.iterations == 1


def test_variables_survive_any_exception() -> None:
    """Whatever the loss raises, the variable holds its array and can be used again."""
    w = Variable(np.ones(2))
    array = w.value

    def loss() -> Array:
        _ = w * 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        value_and_gradients(loss, [w])
    assert w.value is array


def test_other_threads_see_the_array() -> None:
    """While one thread differentiates, a variable read in another is its array."""
    w, seen = Variable(np.ones(2)), []

    def loss() -> Array:
        thread = threading.Thread(target=lambda: seen.append(w.value))
        thread.start()
        thread.join()
        return np.sum(w.value)

    value_and_gradients(loss, [w])
    assert seen[0] is w.value


def test_loss_is_called_once_a_step() -> None:
    """minimize calls the loss once, and var_list after it."""
    calls: list[str] = []
    w, opt = Variable(np.ones(2)), Adamax()

    def loss() -> Array:
        calls.append("loss")
        return np.sum(w * w)

    def variables() -> list[Variable]:
        calls.append("variables")
        return [w]

    opt.minimize(loss, variables)
    assert calls == ["loss", "variables"]


def test_loss_of_several_elements_is_summed() -> None:
    """A loss that is no scalar is the sum of its elements; grad_loss weighs them."""
    w = Variable(np.array([1.0, 2.0]))
    _, (gradient,) = value_and_gradients(lambda: w**2, [w])
    np.testing.assert_allclose(gradient, [2.0, 4.0])
    weights = np.array([42.0, -42.0])
    _, (gradient,) = value_and_gradients(lambda: w**2, [w], grad_loss=weights)
    np.testing.assert_allclose(gradient, [84.0, -168.0])
    with pytest.raises(ValueError, match=r"shape of the loss, \(2,\), got \(\)"):
        value_and_gradients(lambda: w**2, [w], grad_loss=1.0)


def test_unused_variables_and_constants_have_no_gradient() -> None:
    """A variable that the loss does not depend on has None, so that nothing of it moves."""
    w, unused, opt = Variable(np.ones(2), name="w"), Variable(np.ones(2), name="unused"), Adamax()
    with pytest.warns(UserWarning, match="unused"):
        opt.minimize(lambda: np.sum(w * w), [w, unused])
    np.testing.assert_array_equal(unused.value, np.ones(2))
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        opt.minimize(lambda: 3.0, [w])
    with pytest.raises(ValueError, match="No gradients provided"):
        opt.minimize(lambda: np.sum(np.sign(w.value)), [w])


def test_float32_losses_stay_float32() -> None:
    """Gradients have the dtype of their variables, whatever the loss converts on its way."""
    w = Variable(np.ones(3, np.float32))
    xp = w.__array_namespace__()
    _, (g,) = value_and_gradients(lambda: xp.mean(xp.astype(w.value, np.float64) ** 2 * 0.5), [w])
    assert g.dtype == np.float32
    np.testing.assert_allclose(g, np.full(3, 1 / 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (3.0, TypeError, "callable"),
        (lambda: None, TypeError, "does it lack a return"),
        (lambda: (1, 2, 3), TypeError, "3 items"),
        (lambda: "loss", TypeError, "got str"),
    ],
)
def test_what_is_no_loss_is_refused(loss: Any, error: type[Exception], message: str) -> None:
    """A loss that is not callable, or returns no number, is named as such."""
    w, opt = Variable(np.ones(2)), Adamax()
    with pytest.raises(error, match=message):
        opt.minimize(loss, [w])
    assert opt.iterations == 0


def test_raw_arrays_cannot_be_watched() -> None:
    """A plain loss of raw arrays is an error that says to wrap them, not a step of zero."""
    w = np.ones(2)
    with pytest.raises(TypeError, match="wrap the arrays in Variable"):
        Adamax().minimize(lambda: np.sum(w), [w])


def test_engine_may_be_named_or_given() -> None:
    """An engine is a name or a callable; an unknown name and a missing library are told."""
    w, opt = Variable(np.ones(2)), Adamax(learning_rate=0.5, epsilon=0)

    def engine(loss: Callable[[], Any], variables: list[Variable]) -> tuple[Any, list[Array]]:
        return loss(), [np.full(v.shape, 7.0) for v in variables]

    opt.minimize(lambda: np.sum(w * w), [w], engine=engine)
    np.testing.assert_allclose(w.value, [0.5, 0.5])
    with pytest.raises(ValueError, match="Unknown engine 'magic': expected one of autograd, jax"):
        opt.minimize(lambda: np.sum(w * w), [w], engine="magic")


def test_missing_library_of_an_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose library is not installed says how to install it."""
    import sys

    monkeypatch.setitem(sys.modules, "adamax_adapters.gradients.jax", None)
    w = Variable(np.ones(2))
    with pytest.raises(ModuleNotFoundError, match=r"adamax\[jax\]"):
        value_and_gradients(lambda: np.sum(w * w), [w], engine="jax")


UNARY = ["exp", "tanh", "sin", "cos", "square", "atan", "negative", "expm1"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "atan2", "logaddexp"]


@st.composite
def expressions(draw: st.DrawFn) -> Callable[[Any, list[Any]], Any]:
    """Return a function of the namespace and three arrays that broadcast, composed at random."""
    leaf = st.integers(0, 2).map(lambda i: lambda xp, x: x[i])
    tree = st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(
                lambda n, a: lambda xp, x: getattr(xp, n)(a(xp, x) * 0.7),
                st.sampled_from(UNARY),
                inner,
            ),
            st.builds(
                lambda n, a, b: lambda xp, x: getattr(xp, n)(a(xp, x), b(xp, x)),
                st.sampled_from(BINARY),
                inner,
                inner,
            ),
            st.builds(lambda a: lambda xp, x: xp.mean(a(xp, x), axis=-1, keepdims=True), inner),
            st.builds(lambda a: lambda xp, x: xp.flip(a(xp, x)), inner),
        ),
        max_leaves=6,
    )
    return draw(tree)


@given(expressions(), st.integers(0, 2**32 - 1))
def test_random_expressions(expression: Callable[[Any, list[Any]], Any], seed: int) -> None:
    """Any composition of functions has the gradient of central differences."""
    rng = np.random.default_rng(seed)
    variables = [Variable(rng.uniform(0.2, 1.2, size=shape)) for shape in [(2, 3), (3,), (2, 1)]]

    def loss() -> Array:
        xp = variables[0].__array_namespace__()
        return xp.mean(xp.tanh(expression(xp, [v.value for v in variables])))

    _, gradients = value_and_gradients(loss, variables, engine="tape")
    assert_close(gradients, central_differences(loss, variables), 1e-5)
