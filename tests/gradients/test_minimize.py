"""`minimize`, `get_gradients`, `get_updates`: from a loss to a step, and what may fail between."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from libraries import Library
from reference_model import NumpyAdamax
from snapshots import snapshot

import adamax
from adamax import Adamax, IndexedSlices, Variable
from adamax_adapters.gradients import EngineName, value_and_gradients

Array = Any


def pair() -> tuple[Variable, Variable]:
    return Variable(np.array([1.0, 2.0]), name="a"), Variable(np.array([3.0]), name="b")


def two() -> tuple[Variable, Variable]:
    """Return two variables whose names tell their order."""
    return Variable(np.array([1.0, 2.0]), name="a"), Variable(np.array([3.0, 4.0]), name="b")


def loss_of(a: Variable, b: Variable) -> Callable[[], Array]:
    return lambda: np.sum(a.value * a.value) + np.sum(3 * b.value)


NESTED: dict[str, Callable[[Variable, Variable], Any]] = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "lists in a tuple": lambda a, b: ([a], [[b]]),
    "dict in sorted order": lambda a, b: {"w2": b, "w1": a},
    "callable": lambda a, b: lambda: [a, b],
}


@pytest.mark.parametrize("form", NESTED)
def test_variables_are_nested_in_any_way(form: str) -> None:
    """All three methods take variables nested in any way, and list gradients in flat order."""
    a, b = pair()
    optimizer = Adamax(0.5, epsilon=0.0)
    variables = NESTED[form](a, b)
    first, second = optimizer.get_gradients(loss_of(a, b), variables)
    np.testing.assert_array_equal(np.asarray(first), [2.0, 4.0])
    np.testing.assert_array_equal(np.asarray(second), [3.0])
    assert optimizer.minimize(loss_of(a, b), variables) is optimizer.iterations
    (count,) = optimizer.get_updates(loss_of(a, b), variables)
    assert count is optimizer.iterations
    assert count == 2
    assert [x.name for x in optimizer.weights[1:3]] == ["Adamax/a/m", "Adamax/b/m"]


def test_a_single_variable_will_do() -> None:
    """A variable alone stands for a list of one."""
    a, _ = pair()
    optimizer = Adamax(0.5, epsilon=0.0)
    optimizer.minimize(lambda: np.sum(a.value), a)
    np.testing.assert_allclose(a.value, [0.5, 1.5], rtol=1e-15)
    assert len(optimizer.get_gradients(lambda: np.sum(a.value), a)) == 1


def test_get_gradients_changes_nothing() -> None:
    """Asking for gradients makes no slots, counts no step and moves nothing."""
    a, b = pair()
    optimizer = Adamax(clipnorm=1.0)
    before = snapshot(optimizer, a, b)
    optimizer.get_gradients(loss_of(a, b), [a, b])
    assert snapshot(optimizer, a, b) == before
    assert optimizer.get_gradients(lambda: (0.0, []), []) == []


def test_get_gradients_are_those_of_the_slots() -> None:
    """Gradients come in the dtype of the slots, rows as rows, and are arrays of their own."""
    x, table = Variable(np.ones(2, np.float16)), Variable(np.ones((3, 2)))
    given = np.full((1, 2), 2.0)
    rows = IndexedSlices(given, np.array([1]))
    dense, sparse = Adamax().get_gradients(lambda: (0.0, [np.ones(2), rows]), [x, table])
    assert not isinstance(dense, IndexedSlices)
    assert dense.dtype == np.float32
    assert isinstance(sparse, IndexedSlices)
    np.testing.assert_array_equal(sparse.indices, [1])
    (of_itself,) = Adamax().get_gradients(lambda: (0.0, [table.value]), [table])
    assert not np.shares_memory(np.asarray(of_itself), table.value)


@pytest.mark.parametrize("method", ["get_gradients", "get_updates"])
def test_every_gradient_must_exist(method: str) -> None:
    """Where gradients are returned, a missing one is an error with its variable's name."""
    a, b = pair()
    optimizer = Adamax()
    before = snapshot(optimizer, a, b)
    with pytest.raises(ValueError, match="Variable b has `None` for gradient"):
        getattr(optimizer, method)(lambda: np.sum(a.value), [a, b])
    with pytest.raises(ValueError, match="Variable 1 has `None` for gradient"):
        getattr(optimizer, method)(lambda: (0.0, [np.ones(2), None]), [a, np.ones(1)])
    assert snapshot(optimizer, a, b) == before


@pytest.mark.parametrize("method", ["minimize", "get_gradients", "get_updates"])
def test_variables_must_be_given(method: str) -> None:
    """None instead of the variables is an error; so is a loss that is no function."""
    a, _ = pair()
    optimizer = Adamax()
    with pytest.raises(ValueError, match="received None, for var_list"):
        getattr(optimizer, method)(lambda: np.sum(a.value), None)
    with pytest.raises(TypeError, match="Expected a function without arguments"):
        getattr(optimizer, method)(np.sum(a.value), [a])
    with pytest.raises(TypeError, match="missing"):
        getattr(optimizer, method)(lambda: np.sum(a.value))
    assert optimizer.get_slot_names() == []


FAILURES: dict[str, tuple[Any, type[Exception], str]] = {
    "loss raises": (lambda: 1 / 0, ZeroDivisionError, "division"),
    "too few gradients": (
        lambda: (0.0, [np.ones(2)]),
        ValueError,
        "received a sequence of 1, for gradients",
    ),
    "gradient of another shape": (
        lambda: (0.0, [np.ones(2), np.ones(2)]),
        ValueError,
        "a gradient of shape .*, for b",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_losses_that_fail_change_nothing(failure: str) -> None:
    """Whatever goes wrong between the loss and the step, all is as it was."""
    loss, error, message = FAILURES[failure]
    a, b = pair()
    optimizer = Adamax()
    optimizer.minimize(loss_of(a, b), [a, b])
    before = snapshot(optimizer, a, b)
    with pytest.raises(error, match=message):
        optimizer.minimize(loss, [a, b])
    assert snapshot(optimizer, a, b) == before


@pytest.mark.parametrize("sparse", [False, True])
def test_no_step_is_taken_inside_a_loss(sparse: bool) -> None:
    """A step inside a loss that is being differentiated is refused, and nothing has changed."""
    x, optimizer = Variable(np.ones((3, 1))), Adamax()
    optimizer.build([x])
    before = snapshot(optimizer, x)
    gradient = IndexedSlices(np.ones((1, 1)), np.array([1])) if sparse else np.ones((3, 1))

    def loss() -> Array:
        optimizer.apply_gradients([(gradient, x)])
        return np.sum(x.value)

    with pytest.raises((RuntimeError, TypeError)):
        optimizer.minimize(loss, [x])
    assert snapshot(optimizer, x) == before


def test_a_variable_listed_twice_takes_both_steps() -> None:
    """It has the whole gradient twice, one step after the other with the same t."""
    a, _ = pair()
    twice, optimizer, one = Variable(a), Adamax(0.1, epsilon=0.0), Adamax(0.1, epsilon=0.0)
    optimizer.minimize(lambda: np.sum(3 * twice.value), [twice, twice])
    one.apply_gradients([(np.full(2, 3.0), a), (np.full(2, 3.0), a)])
    np.testing.assert_array_equal(twice.value, a.value)


def test_names_of_operations_have_no_effect() -> None:
    """`name` is taken by minimize and apply_gradients, as in the reference."""
    a, b = pair()
    optimizer = Adamax()
    optimizer.minimize(loss_of(a, b), [a, b], None, "step")
    optimizer.apply_gradients([(np.ones(2), a)], name="step")
    assert optimizer.iterations == 2
    with pytest.raises(TypeError, match="name"):
        optimizer.get_updates(loss_of(a, b), [a, b], name="step")  # type: ignore[call-arg]


def test_raw_arrays_are_minimised_with_given_gradients() -> None:
    """A loss that returns (value, gradients) may be one of raw arrays, weighed by grad_loss."""
    w, optimizer = np.ones(2), Adamax(0.5, epsilon=0.0)
    optimizer.minimize(lambda: (0.0, [np.array([1.0, -2.0])]), [w], grad_loss=-2.0)
    np.testing.assert_allclose(w, [1.5, 0.5], rtol=1e-15)
    np.testing.assert_array_equal(optimizer.get_slot(w, "v").value, [2, 4])


@pytest.mark.feature("gradients")
def test_minimize_is_the_reference_model_with_hand_made_gradients(library: Library) -> None:
    """Steps down a plain loss are those of the paper with the gradients derived by hand."""
    a, b = (Variable(library.asarray(x)) for x in ([1, 2], [3, 4]))
    optimizer, model = Adamax(0.1), NumpyAdamax([[1, 2], [3, 4]], 0.1)

    def loss() -> Array:
        return array_namespace(a).sum(a**2 * b.value)

    for step in range(5):
        x, y = model.x
        model.step([2 * x * y, x**2])
        assert optimizer.minimize(loss, [a, b]) == step + 1
    for variable, expected in zip((a, b), model.x, strict=True):
        library.assert_close(variable.value, expected, roundings=20)


@pytest.mark.feature("gradients", "sparse")
def test_minimize_takes_rows_of_a_lookup(library: Library) -> None:
    """A lookup moves its rows alone, and rows that are looked up twice by the sum of both."""
    start, listed = np.ones((4, 2)), np.array([2, 0, 2])
    table, rows = Variable(library.asarray(start)), library.asarray(listed, "int32")
    optimizer, model = Adamax(0.1), NumpyAdamax([start], 0.1)

    def loss() -> Array:
        xp = array_namespace(table)
        return xp.sum(xp.take(table.value, rows, axis=0) ** 2)

    for _ in range(3):
        model.step([(2 * model.x[0][listed], listed)])
        optimizer.minimize(loss, [table])
    library.assert_close(table.value, model.x[0], roundings=20)
    np.testing.assert_array_equal(library.read(table.value)[[1, 3]], np.ones((2, 2)))


def test_loss_is_called_once_and_var_list_after_it() -> None:
    """Variables that the loss makes at its first call can be what it is minimised over."""
    calls: list[str] = []
    made: list[Variable] = []

    def loss() -> Array:
        calls.append("loss")
        if not made:
            made.append(Variable(np.ones(2)))
        return np.sum(made[0].value ** 2)

    def variables() -> list[Variable]:
        calls.append("variables")
        return made

    optimizer = Adamax(0.5, epsilon=0.0)
    optimizer.minimize(loss, variables)
    np.testing.assert_allclose(made[0].value, [0.5, 0.5])
    optimizer.get_gradients(loss, variables)
    optimizer.get_updates(loss, variables)
    assert calls == ["loss", "variables"] * 3


def test_variables_that_are_not_trainable_are_minimised_over() -> None:
    """What is asked for is done: `trainable` is for the caller's own bookkeeping."""
    a = Variable(np.ones(2), trainable=False)
    Adamax(0.5, epsilon=0.0).minimize(lambda: np.sum(a.value), [a])
    np.testing.assert_allclose(a.value, [0.5, 0.5])


def test_a_variable_may_be_the_loss() -> None:
    """A loss that returns a variable itself has a gradient of ones."""
    a, _ = two()
    value, (gradient,) = value_and_gradients(lambda: a, [a])
    np.testing.assert_array_equal(value, [1.0, 2.0])
    np.testing.assert_array_equal(gradient, [1.0, 1.0])


def test_no_variables_are_no_step() -> None:
    """Nothing to minimise over is no error, and no step."""
    a, _ = two()
    optimizer = Adamax()
    assert optimizer.minimize(lambda: 5 * a, []) == 0
    assert optimizer.get_gradients(lambda: 5 * a, []) == []


def test_unused_variable_is_told_of_and_stays() -> None:
    """A variable that the loss does not depend on is named in a warning, and has no slots."""
    a, b = two()
    optimizer = Adamax()
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['b'\]"):
        optimizer.minimize(lambda: np.sum(a * a + np.sign(b.value)), [a, b])
    np.testing.assert_array_equal(b.value, [3.0, 4.0])
    assert [weight.name for weight in optimizer.weights[1:]] == ["Adamax/a/m", "Adamax/a/v"]


CONSTANTS: dict[str, Callable[[Variable], Any]] = {
    "number": lambda a: 3.0,
    "array": lambda a: np.asarray(3.0),
    "step function": lambda a: np.sum(np.sign(a.value)),
    "number taken out": lambda a: np.sum(a.value).item(),
    "whole numbers": lambda a: np.sum(a.value.astype(int)),
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_constant_losses_have_no_gradient(kind: str) -> None:
    """A loss that depends on no variable is an error that names them; nothing has changed."""
    a, b = two()
    optimizer = Adamax()
    with pytest.raises(ValueError, match=r"No gradients provided for any variable: \['a', 'b'\]"):
        optimizer.minimize(lambda: CONSTANTS[kind](a), [a, b])
    with pytest.raises(ValueError, match="Variable a has `None` for gradient"):
        optimizer.get_gradients(lambda: CONSTANTS[kind](a), [a, b])
    with pytest.raises(ValueError, match="Variable a has `None` for gradient"):
        optimizer.get_updates(lambda: CONSTANTS[kind](a), [a, b])
    assert optimizer.weights == [optimizer.iterations]
    assert optimizer.iterations == 0


def test_variables_of_whole_numbers_have_no_gradient() -> None:
    """Integers are not differentiated: a loss of nothing else has no gradients."""
    n = Variable(np.array([1, 2]))
    with pytest.raises(ValueError, match="No gradients provided"):
        Adamax().minimize(lambda: np.sum(n.value * 2.0), [n])


def test_grad_loss_weighs_the_elements_of_the_loss() -> None:
    """grad_loss is the derivative with respect to the loss, element by element."""
    a, b = two()
    weights = np.array([42.0, -42.0])
    value, gradients = value_and_gradients(lambda: 5 * a + 3 * b, [a, b], grad_loss=weights)
    np.testing.assert_array_equal(value, [14 * 42.0, -22 * 42.0])
    np.testing.assert_array_equal(gradients, [[210, -210], [126, -126]])
    value, (gradient,) = value_and_gradients(lambda: np.sum(a**2), [a], grad_loss=-3.0)
    assert value == -15.0
    np.testing.assert_array_equal(gradient, [-6.0, -12.0])


def test_grad_loss_weighs_gradients_that_are_given() -> None:
    """Of a loss that returns its gradients, grad_loss is a number that all are multiplied by."""
    a, b = two()
    rows = IndexedSlices(np.ones((1, 2)), np.array([0]))

    def loss() -> Any:
        return np.asarray(2.0), [[1.0, 2.0], rows, None]

    table = Variable(np.ones((3, 2)))
    value, gradients = value_and_gradients(loss, [a, table, b], grad_loss=np.asarray(3.0))
    assert value == 6.0
    np.testing.assert_array_equal(gradients[0], [3.0, 6.0])
    np.testing.assert_array_equal(gradients[1].values, [[3.0, 3.0]])
    assert gradients[2] is None
    with pytest.raises(ValueError, match=r"Expected a number, .* for grad_loss"):
        value_and_gradients(loss, [a, table, b], grad_loss=np.ones(2))


@pytest.mark.parametrize(
    ("grad_loss", "message"),
    [(1.0, r"\(2,\), received \(\)"), (np.ones(3), r"\(2,\), received \(3,\)")],
    ids=["number", "array"],
)
def test_grad_loss_has_the_shape_of_the_loss(grad_loss: Any, message: str) -> None:
    """A grad_loss that would be broadcast is refused, with both shapes."""
    a, _ = two()
    with pytest.raises(ValueError, match=f"Expected an array of the shape of the loss, {message}"):
        Adamax().minimize(lambda: 5 * a, [a], grad_loss=grad_loss)
    np.testing.assert_array_equal(a.value, [1.0, 2.0])


NO_LOSSES: dict[str, tuple[Any, str]] = {
    "number": (3.0, "Expected a function without arguments, received float"),
    "array": (np.asarray(3.0), "Expected a function without arguments, received ndarray"),
    "none": (None, "Expected a function without arguments, received NoneType"),
    "no return": (lambda: None, "received NoneType, .*; does it lack a return"),
    "text": (lambda: "loss", "received str"),
    "list": (lambda: [1.0, 2.0], "received list"),
    "three": (lambda: (1, 2, 3), "a tuple of 3"),
}


@pytest.mark.parametrize("method", ["minimize", "get_gradients", "get_updates"])
@pytest.mark.parametrize("kind", NO_LOSSES)
def test_what_is_no_loss_is_refused(kind: str, method: str) -> None:
    """A loss that is not callable, or returns no number, is named as such."""
    loss, message = NO_LOSSES[kind]
    a, _ = two()
    optimizer = Adamax()
    with pytest.raises(TypeError, match=message):
        getattr(optimizer, method)(loss, [a])
    assert optimizer.iterations == 0


NO_VARIABLES: dict[str, tuple[Any, type[Exception], str]] = {
    "none": (None, ValueError, "received None, for var_list"),
    "raw array": ([np.ones(2)], TypeError, "wrap them in Variable"),
    "text": (["a"], TypeError, "wrap them in Variable"),
}


@pytest.mark.parametrize("kind", NO_VARIABLES)
def test_what_is_no_variable_is_refused(kind: str) -> None:
    """A plain loss says nothing of raw arrays: an error that says to wrap them, not a step of 0."""
    var_list, error, message = NO_VARIABLES[kind]
    a, _ = two()
    for method in ("minimize", "get_gradients", "get_updates"):
        with pytest.raises(error, match=message):
            getattr(Adamax(), method)(lambda: 5 * a, var_list)


def test_gradients_that_are_given_are_nested_as_the_variables() -> None:
    """Gradients of a loss that derives them itself line up with the variables, or are refused."""
    a, b = two()
    optimizer = Adamax(0.5, epsilon=0.0)
    given = {"y": [np.full(2, -1.0)], "x": np.ones(2)}
    optimizer.minimize(lambda: (0.0, given), {"x": a, "y": [b]})
    np.testing.assert_allclose(a.value, [0.5, 1.5])
    np.testing.assert_allclose(b.value, [3.5, 4.5])
    with pytest.raises(ValueError, match=r"received the keys \['x'\], for gradients$"):
        optimizer.minimize(lambda: (0.0, {"x": np.ones(2)}), {"x": a, "y": [b]})
    with pytest.raises(ValueError, match=r"received a sequence of 1, for gradients$"):
        optimizer.minimize(lambda: (0.0, [np.ones(2)]), [a, b])
    assert optimizer.iterations == 1


def test_list_of_losses_is_summed() -> None:
    """get_gradients and get_updates of a list of losses are those of their sum."""
    a, b = two()
    losses = [lambda: np.sum(a**2), lambda: np.sum(a * b)]
    gradients = Adamax().get_gradients(losses, [a, b])
    np.testing.assert_array_equal(gradients, [[2 + 3, 4 + 4], [1, 2]])
    optimizer = Adamax(0.5, epsilon=0.0)
    optimizer.get_updates(losses, [a, b])
    np.testing.assert_allclose([a.value, b.value], [[0.5, 1.5], [2.5, 3.5]])


def test_get_updates_takes_the_step_of_minimize() -> None:
    """get_updates returns a list that holds the counter, after the same step as minimize's."""
    (a, b), (c, d) = two(), two()
    first, second = Adamax(0.1), Adamax(0.1)
    first.minimize(lambda: np.sum(a**2 * b), [a, b])
    assert second.get_updates(lambda: np.sum(c**2 * d), {"x": c, "y": [d]}) == [second.iterations]
    assert second.iterations == 1
    np.testing.assert_array_equal(a.value, c.value)
    np.testing.assert_array_equal(b.value, d.value)


def test_signatures_are_those_of_the_reference() -> None:
    """Arguments have the reference's names and positions; `name` is not one of get_updates."""
    expected = {
        "minimize": ["self", "loss", "var_list", "grad_loss", "name", "engine", "return_loss"],
        "get_gradients": ["self", "loss", "params"],
        "get_updates": ["self", "loss", "params"],
    }
    for method, names in expected.items():
        assert list(inspect.signature(getattr(Adamax, method)).parameters) == names
    own = list(inspect.signature(Adamax.minimize).parameters.values())[5:]
    assert {parameter.kind for parameter in own} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("engine", ["tape", "torch", "jax"])
@pytest.mark.parametrize("kind", ["computed", "a variable", "a view"])
def test_the_loss_is_that_before_the_step(engine: EngineName, kind: str) -> None:
    """`return_loss` gives the value of the loss that the step went down, not of where it ended."""
    library = pytest.importorskip({"tape": "numpy", "jax": "jax.numpy"}.get(engine, engine))
    start = np.array([2.0, 1.0], np.float32)
    w = Variable(library.asarray(start if kind == "a view" else start[0]))
    losses = {"computed": lambda: w * w * w, "a variable": lambda: w, "a view": lambda: w.value[0]}
    optimizer = Adamax(0.5)
    value = optimizer.minimize(losses[kind], [w], engine=engine, return_loss=True)
    assert float(value) == (8.0 if kind == "computed" else 2.0)
    assert optimizer.minimize(losses[kind], [w], engine=engine) is optimizer.iterations


def test_the_loss_of_given_gradients_is_returned() -> None:
    """A loss that returns its gradients gives its value too, times the weight of the loss."""
    w = Variable(np.array([1.0, 2.0]))
    optimizer = Adamax()
    for weight, value in ((None, 3.0), (np.asarray(2.0), 6.0)):
        found = optimizer.minimize(lambda: (3.0, [w.value]), [w], weight, return_loss=True)
        assert found == value


def test_public_name() -> None:
    """`adamax.value_and_gradients` is the function that other pages have imported before."""
    assert adamax.value_and_gradients is value_and_gradients
    assert value_and_gradients.__module__ == "adamax"
