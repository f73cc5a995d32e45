"""The decisions of the optimizer where versions of the reference disagree or lay a trap.

One block per row of the design's table, "The exact behaviour of every member", in its order.
"""

import copy
import json
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from libraries import Library
from snapshots import host, snapshot

import adamax
from adamax import Adamax, IndexedSlices, Variable, schedules

Array = Any
DISCRIMINATING = np.array([3.0, 4.0])
"""Clipped to a norm of 1 it is [.6, .8]; to values of .7 after that, [.6, .7]."""


def given_loss(*gradients: Any) -> Callable[[], Any]:
    """Return a loss that hands these gradients on."""
    return lambda: (0.0, list(gradients))


def moments(optimizer: Adamax, variable: Any) -> tuple[Array, Array]:
    m, v = (host(optimizer.get_slot(variable, name)) for name in "mv")
    return m, v


def applied(gradient: Any, variable: Variable | None = None, **settings: Any) -> Array:
    """Return v after one step: the absolute gradient, as it was clipped."""
    variable = Variable(np.zeros(2)) if variable is None else variable
    optimizer = Adamax(**settings)
    optimizer.apply_gradients([(gradient, variable)])
    return moments(optimizer, variable)[1]


# where clipping happens

PATHS: dict[str, Callable[[Adamax, Variable, Array], Any]] = {
    "apply_gradients": lambda opt, w, g: opt.apply_gradients([(g, w)]),
    "minimize": lambda opt, w, g: opt.minimize(given_loss(g), [w]),
    "minimize a plain loss": lambda opt, w, g: opt.minimize(lambda: w * g, [w]),
    "get_updates": lambda opt, w, g: opt.get_updates(given_loss(g), [w]),
}
LIMITS: dict[str, Any] = {
    "clipnorm": [0.6, 0.8],
    "clipvalue": [1.0, 1.0],
    "global_clipnorm": [0.6, 0.8],
}


@pytest.mark.feature("clipping", "gradients")
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("path", PATHS)
def test_every_path_clips(library: Library, path: str, limit: str) -> None:
    """Gradients are clipped on whatever way they reach a variable."""
    settings: dict[str, Any] = {limit: 1.0}
    optimizer, w = Adamax(**settings), Variable(library.asarray([0, 0]))
    PATHS[path](optimizer, w, library.asarray(DISCRIMINATING))
    m, v = (optimizer.get_slot(w, name).value for name in "mv")
    library.assert_close(v, LIMITS[limit], library.wide)
    library.assert_close(m, np.multiply(LIMITS[limit], 0.1), library.wide)


@pytest.mark.parametrize("limit", LIMITS)
def test_get_gradients_clips_and_again_changes_nothing(limit: str) -> None:
    """get_gradients returns clipped gradients, and applying them clips no further."""
    settings: dict[str, Any] = {limit: 1.0}
    optimizer, w = Adamax(**settings), Variable(np.zeros(2))
    (gradient,) = optimizer.get_gradients(lambda: w * DISCRIMINATING, [w])
    np.testing.assert_allclose(np.asarray(gradient), LIMITS[limit], rtol=1e-15)
    optimizer.apply_gradients([(gradient, w)])
    np.testing.assert_allclose(moments(optimizer, w)[1], LIMITS[limit], rtol=1e-15)


# order


def test_norm_comes_before_value() -> None:
    """[3, 4] with clipnorm 1 and clipvalue .7 is [.6, .7], not [.7, .7]."""
    np.testing.assert_allclose(applied(DISCRIMINATING, clipnorm=1.0, clipvalue=0.7), [0.6, 0.7])


def test_global_norm_comes_last_and_all_combine() -> None:
    """The common norm is that of what the other two left: .6, .7 and .7 of a norm of sqrt(1.34)."""
    a, b = Variable(np.zeros(2)), Variable(np.zeros(1))
    optimizer = Adamax(clipnorm=1.0, clipvalue=0.7, global_clipnorm=0.5)
    optimizer.apply_gradients([(DISCRIMINATING, a), (np.array([9.0]), b)])
    found = [*moments(optimizer, a)[1], *moments(optimizer, b)[1]]
    scale = 0.5 / math.sqrt(0.6**2 + 0.7**2 + 0.7**2)
    np.testing.assert_allclose(found, np.multiply(scale, [0.6, 0.7, 0.7]), rtol=1e-14)


# sparse clipping


@pytest.mark.feature("clipping", "sparse")
@pytest.mark.parametrize(("limit", "row"), [("clipnorm", 0.8164965809277261), ("clipvalue", 2.0)])
def test_sparse_values_are_clipped_as_given(library: Library, limit: str, row: float) -> None:
    """Rows [0, 0, 2] of 3s in two columns: clipped before the two of row 0 are summed."""
    values, indices = np.full((3, 2), 3), library.asarray([0, 0, 2], "int32")
    settings: dict[str, Any] = {limit: 1.0}
    optimizer, w = Adamax(**settings), Variable(library.asarray(np.zeros((3, 2))))
    optimizer.apply_gradients([(IndexedSlices(library.asarray(values), indices), w)])
    expected = np.outer([row, 0.0, row / 2], [1.0, 1.0])
    library.assert_close(optimizer.get_slot(w, "v").value, expected, library.wide)


# apply_gradients([])


def test_no_pairs_are_no_step() -> None:
    """Without pairs nothing is done: no count, no slot, no decay of m."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    assert optimizer.apply_gradients([]) == 0
    assert optimizer.get_slot_names() == []
    optimizer.apply_gradients([(np.ones(2), w)])
    before = snapshot(optimizer, w)
    assert optimizer.apply_gradients([]) is optimizer.iterations
    assert optimizer.apply_gradients(iter(())) == 1
    assert snapshot(optimizer, w) == before


# clip attributes not given


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_that_are_not_given_are_none(limit: str) -> None:
    """A limit is None until it is given, and None clips nothing and is in no config."""
    optimizer, w = Adamax(), Variable(np.zeros(2))
    assert getattr(optimizer, limit) is None
    assert limit not in optimizer.get_config()
    setattr(optimizer, limit, 1.0)
    assert optimizer.get_config()[limit] == 1.0
    setattr(optimizer, limit, None)
    optimizer.apply_gradients([(DISCRIMINATING, w)])
    np.testing.assert_array_equal(moments(optimizer, w)[1], DISCRIMINATING)


# hyperparameters

NUMBERS = ("learning_rate", "lr", "beta_1", "beta_2", "epsilon", "decay", *LIMITS)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("number", [0, np.float32(0.1), np.asarray(0.3), 1e-9])
def test_numbers_are_kept_as_doubles(name: str, number: Any) -> None:
    """Whatever kind of number is given, the attribute is a Python float, to the last bit."""
    built = Adamax(**{name: number})
    assigned = Adamax()
    setattr(assigned, name, number)
    for optimizer in (built, assigned):
        found = getattr(optimizer, name)
        assert isinstance(found, float)
        assert found == float(number)


def test_lr_is_learning_rate() -> None:
    """Both names read and set one number, also one that an int was given for."""
    optimizer = Adamax(1)
    optimizer.lr = 0.5
    assert optimizer.learning_rate == optimizer.lr == 0.5
    optimizer.learning_rate = 0.25
    assert optimizer.lr == 0.25


WRONG: list[tuple[Any, type[Exception]]] = [
    (-1e-9, ValueError),
    (math.nan, ValueError),
    (math.inf, ValueError),
    ("0.1", TypeError),
    ([0.1], TypeError),
    (np.array([0.1, 0.2]), TypeError),
    (1j, TypeError),
    (True, TypeError),
]
NONE = [(name, None, ValueError) for name in ("learning_rate", "beta_1", "beta_2", "decay")]


@pytest.mark.parametrize(
    ("name", "value", "error"), [*((name, *wrong) for name in NUMBERS for wrong in WRONG), *NONE]
)
def test_every_number_is_checked(name: str, value: Any, error: type[Exception]) -> None:
    """A number out of range, NaN or None is refused at both doors, and the old one stays."""
    with pytest.raises(error, match="Expected"):
        Adamax(**{name: value})
    optimizer = Adamax()
    before = getattr(optimizer, name)
    with pytest.raises(error, match="Expected"):
        setattr(optimizer, name, value)
    assert getattr(optimizer, name) is before


@pytest.mark.parametrize("name", ["beta_1", "beta_2"])
@pytest.mark.parametrize("value", [1.0, 1.5])
def test_betas_are_below_1(name: str, value: float) -> None:
    """A beta of 1 would divide by zero, or never forget."""
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=rf"Expected {name} in \[0, 1\), received: {value}"):
        Adamax(**settings)
    settings[name] = math.nextafter(1.0, 0.0)
    assert getattr(Adamax(**settings), name) < 1


@pytest.mark.feature("schedules")
@pytest.mark.parametrize("constructed", [0.0, 1.0])
def test_late_decay_takes_effect(library: Library, constructed: float) -> None:
    """decay set after construction is what the next step uses, whatever was constructed."""
    optimizer = Adamax(0.1, beta_1=0.0, epsilon=0.0, decay=constructed)
    w, gradient = Variable(library.asarray([0])), library.asarray([1])
    optimizer.apply_gradients([(gradient, w)])
    optimizer.decay = 3.0
    optimizer.apply_gradients([(gradient, w)])
    library.assert_close(w.value, [-0.1 - 0.1 / (1 + 3)])
    assert optimizer.get_config()["decay"] == 3.0


def test_late_betas_and_rate_take_effect() -> None:
    """The bias is corrected by the present beta_1 to the power t: 0, -.1, then -.17333..."""
    optimizer, w = Adamax(0.1, 0.9, epsilon=0.0), Variable(np.zeros(1))
    optimizer.apply_gradients([(np.ones(1), w)])
    optimizer.beta_1 = 0.5
    optimizer.apply_gradients([(np.ones(1), w)])
    np.testing.assert_allclose(w.value, [-0.1 - 0.1 * 0.55 / 0.75], rtol=1e-14)


# epsilon 0


def test_epsilon_0_means_0() -> None:
    """An epsilon of 0 is not replaced: gradients too small for the default take a full step."""
    w = Variable(np.zeros(1))
    optimizer = Adamax(0.1, epsilon=0)
    assert optimizer.get_config()["epsilon"] == 0.0
    optimizer.apply_gradients([(np.array([1e-200]), w)])
    np.testing.assert_allclose(w.value, [-0.1], rtol=1e-14)
    untouched = Variable(np.zeros(1))
    optimizer.apply_gradients([(np.zeros(1), untouched)])
    assert np.isnan(untouched.value).all()


def test_epsilon_none_means_the_default() -> None:
    """None is 1e-7, in the constructor and when it is assigned."""
    optimizer = Adamax(epsilon=None)
    assert optimizer.epsilon == 1e-7
    optimizer.epsilon = 0.5
    optimizer.epsilon = None
    assert optimizer.epsilon == 1e-7


# hyperparameter kinds


@pytest.mark.parametrize("name", NUMBERS)
def test_callables_are_asked_when_they_are_used(name: str) -> None:
    """A callable without arguments is a hyperparameter; its value is checked when it is read."""
    settings, optimizer = iter([0.25, 0.5, -1.0]), Adamax()
    setattr(optimizer, name, lambda: next(settings))
    assert getattr(optimizer, name) == 0.25
    assert getattr(optimizer, name) == 0.5
    with pytest.raises(ValueError, match="Expected"):
        getattr(optimizer, name)


@pytest.mark.parametrize("name", ["learning_rate", "beta_1", "beta_2", "epsilon"])
def test_a_step_with_callables_is_that_with_their_numbers(name: str) -> None:
    """Given to the constructor, a callable makes the step of the number that it returns."""
    found = []
    for value in (0.25, lambda: 0.25):
        settings: dict[str, Any] = {name: value}
        optimizer, w = Adamax(**settings), Variable(np.zeros(2))
        for _ in range(2):
            optimizer.apply_gradients([(DISCRIMINATING, w)])
        found.append((w.numpy(), *moments(optimizer, w)))
    np.testing.assert_array_equal(found[0], found[1])


SCHEDULE = schedules.ExponentialDecay(0.1, 1, 0.5)


def test_learning_rate_takes_a_schedule() -> None:
    """Step t uses the schedule at t - 1, times decay: .1, .025, .00833..., .003125."""
    optimizer = Adamax(SCHEDULE, beta_1=0.0, epsilon=0.0, decay=1.0)
    w = Variable(np.zeros(1))
    for expected in (0.1, 0.025, 0.025 / 3, 0.003125):
        before = w.numpy()
        optimizer.apply_gradients([(np.ones(1), w)])
        np.testing.assert_allclose(before - w.value, [expected], rtol=1e-14)


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in ("learning_rate", "lr")])
def test_nothing_else_takes_a_schedule(name: str) -> None:
    """A schedule of another hyperparameter is refused, and so is one that a callable returns."""
    optimizer = Adamax()
    with pytest.raises(TypeError, match=f"{name} to be a number"):
        setattr(optimizer, name, SCHEDULE)
    setattr(optimizer, "learning_rate", lambda: SCHEDULE)  # noqa: B010
    with pytest.raises(TypeError, match="learning_rate to be a number"):
        _ = optimizer.lr


# opt.lr under a schedule


def test_lr_is_the_schedule_and_the_number_is_beside_it() -> None:
    """opt.lr is the schedule itself; current_learning_rate is what the next step will use."""
    optimizer, w = Adamax(SCHEDULE, beta_1=0.0, epsilon=0.0, decay=0.5), Variable(np.zeros(1))
    for _ in range(3):
        assert optimizer.lr is optimizer.learning_rate is SCHEDULE
        before, announced = w.numpy(), optimizer.current_learning_rate
        optimizer.apply_gradients([(np.ones(1), w)])
        np.testing.assert_allclose(before - w.value, [announced], rtol=1e-14)
    optimizer.lr = 0.3
    assert optimizer.current_learning_rate == 0.3 / (1 + 0.5 * 3)


# NaN gradient


@pytest.mark.feature("dense", "sparse")
@pytest.mark.parametrize("sparse", [False, True])
def test_nan_reaches_m_u_and_p(library: Library, sparse: bool) -> None:
    """A NaN makes its element of m, v and the variable NaN, and no other, dense and sparse."""
    w, optimizer = Variable(library.asarray(np.ones((3, 2)))), Adamax()
    values = np.array([[np.nan, 1.0], [1.0, 1.0], [1.0, 1.0]])
    gradient = library.asarray(values)
    if sparse:
        gradient = IndexedSlices(gradient, library.asarray([0, 1, 2], "int32"))
    optimizer.apply_gradients([(gradient, w)])
    for array in (host(w), *moments(optimizer, w)):
        np.testing.assert_array_equal(np.isnan(array), np.isnan(values))


# dense and sparse arithmetic


def test_dense_and_sparse_are_one_rule() -> None:
    """The same gradient, as an array and as all rows, makes steps that are equal to the last bit.

    The steps are the reference's dense ones: m is moved by (g - m) times 1 - beta_1.
    """
    rng = np.random.default_rng(3)
    dense, sparse = Variable(np.ones((5, 3))), Variable(np.ones((5, 3)))
    of_dense, of_sparse = Adamax(0.1), Adamax(0.1)
    m = np.zeros((5, 3))
    for _ in range(20):
        gradient, rows = rng.normal(size=(5, 3)), rng.permutation(5)
        m = m + (gradient - m) * (1 - 0.9)
        of_dense.apply_gradients([(gradient, dense)])
        of_sparse.apply_gradients([(IndexedSlices(gradient[rows], rows), sparse)])
        np.testing.assert_array_equal(moments(of_dense, dense)[0], m)
        np.testing.assert_array_equal(moments(of_sparse, sparse)[0], m)
        np.testing.assert_array_equal(dense.value, sparse.value)


# gradient dtype


@pytest.mark.parametrize("of_gradient", ["float16", "float32", "float64"])
@pytest.mark.parametrize("of_variable", ["float16", "float32", "float64"])
def test_floating_gradients_are_converted(of_variable: str, of_gradient: str) -> None:
    """A gradient of any floating dtype is converted to that in which the step is computed."""
    w, optimizer = Variable(np.zeros(3, of_variable)), Adamax()
    gradient = np.array([0.1, -3.0, 1e-3], of_gradient)
    optimizer.apply_gradients([(gradient, w)])
    compute = np.float64 if of_variable == "float64" else np.float32
    m, v = moments(optimizer, w)
    assert w.dtype == of_variable
    assert m.dtype == v.dtype == compute
    np.testing.assert_array_equal(v, np.abs(gradient).astype(compute))


def test_rows_are_converted_before_they_are_summed() -> None:
    """2048 and 1 in float16 add up to 2049, which float16 does not hold."""
    slices = IndexedSlices(np.array([2048, 1], np.float16), np.array([0, 0]))
    v = applied(slices, Variable(np.zeros(1, np.float16)))
    np.testing.assert_array_equal(v, [2049])


STRICT = array_api_strict.ones(2)
DEVICE = array_api_strict.Device("device1")
MISFITS: list[tuple[Any, type[Exception], str]] = [
    (np.ones(2, np.int64), ValueError, "int64"),
    (np.ones(2, np.uint8), ValueError, "uint8"),
    (np.ones(2, bool), ValueError, "bool"),
    (np.ones(2, complex), ValueError, "complex128"),
    (np.ones(3), ValueError, r"\(2,\), received \(3,\).*do not have the same shape"),
    (np.ones((1, 2)), ValueError, "not broadcast"),
    (np.asarray(1.0), ValueError, "not broadcast"),
    (STRICT, TypeError, "array_api_strict"),
    ("ones", TypeError, "str"),
    (object(), TypeError, "object"),
    ([1.0, None], TypeError, "NoneType"),
    ([1.0, "2"], TypeError, "str"),
    ([[1.0], [1.0, 2.0]], ValueError, "array"),
    ([1.0, 2.0, 3.0], ValueError, r"\(3,\)"),
]


@pytest.mark.parametrize(("gradient", "error", "got"), MISFITS)
def test_gradients_that_do_not_fit_are_refused(
    gradient: Any, error: type[Exception], got: str
) -> None:
    """Integers, complex numbers, wrong shapes and other libraries: an error with the name."""
    w, optimizer = Variable(np.ones(2), name="kernel"), Adamax()
    before = snapshot(optimizer, w)
    with pytest.raises(error, match=f"(?=.*kernel).*{got}"):
        optimizer.apply_gradients([(gradient, w)])
    assert snapshot(optimizer, w) == before


def test_gradient_of_another_device_is_refused() -> None:
    """An array of the same library on another device: an error with both and the name."""
    w = Variable(STRICT, name="kernel")
    with pytest.raises(ValueError, match=r"CPU_DEVICE.*device1.*kernel"):
        Adamax().apply_gradients([(STRICT.to_device(DEVICE), w)])


# a failing call


def refuse(x: Array) -> Array:
    raise ArithmeticError("this constraint is never content")


def frozen() -> Variable:
    variable = Variable(np.ones(2))
    variable.value.flags.writeable = False
    return variable


FAILURES: dict[str, tuple[Any, Any]] = {
    "shape of a gradient": (np.ones(3), Variable(np.ones(2))),
    "dtype of a gradient": (np.ones(2, int), Variable(np.ones(2))),
    "library of a gradient": (STRICT, Variable(np.ones(2))),
    "dtype of a variable": (np.ones(2), Variable(np.ones(2, int))),
    "no variable": (np.ones(2), [1.0, 1.0]),
    "read-only array": (np.ones(2), np.broadcast_to(1.0, 2)),
    "read-only variable": (np.ones(2), frozen()),
    "row out of range": (
        IndexedSlices(np.ones((1, 1)), np.array([5])),
        Variable(np.ones((2, 1))),
    ),
    "rows of a scalar": (IndexedSlices(np.ones(1), np.array([0])), Variable(np.asarray(1.0))),
    "constraint raises": (np.ones(2), Variable(np.ones(2), constraint=refuse)),
    "constraint changes the shape": (np.ones(2), Variable(np.ones(2), constraint=np.sum)),
    "rows of a constrained variable": (
        IndexedSlices(np.ones((1, 1)), np.array([0])),
        Variable(np.ones((2, 1)), constraint=np.abs),
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("first", [False, True])
def test_failing_calls_change_nothing(failure: str, steps: int, first: bool) -> None:
    """Whichever pair fails, whether slots are there or not: variables, slots, count are as before.

    The good pairs are a Variable, a raw array and rows of a table.
    """
    optimizer = Adamax()
    good: list[tuple[Any, Any]] = [
        (np.ones(2), Variable(np.ones(2))),
        (np.ones(2), np.ones(2)),
        (IndexedSlices(np.ones((1, 2)), np.array([1])), Variable(np.ones((3, 2)))),
    ]
    for _ in range(steps):
        optimizer.apply_gradients(good)
    bad = FAILURES[failure]
    variables = [variable for _, variable in [*good, bad]]
    before = snapshot(optimizer, *map(np.asarray, variables))
    with pytest.raises((TypeError, ValueError, RuntimeError, ArithmeticError)):
        optimizer.apply_gradients([bad, *good] if first else [*good, bad])
    assert snapshot(optimizer, *map(np.asarray, variables)) == before
    for variable in variables[:3] if not steps else []:
        with pytest.raises(KeyError, match="a variable with slots"):
            optimizer.get_slot(variable, "m")


# the same variable twice in one call


@pytest.mark.parametrize("raw", [False, True])
def test_a_variable_given_twice_takes_two_steps_of_one_t(raw: bool) -> None:
    """With lr .1, beta_1 .5 and gradients 1, 3: x is 1, .9, .78333; m 1.75, v 3, one count."""
    array = np.array([1.0])
    variable = array if raw else Variable(array)
    optimizer = Adamax(0.1, 0.5, epsilon=0.0)
    again = array[:] if raw else variable
    optimizer.apply_gradients([(np.array([1.0]), variable), (np.array([3.0]), again)])
    np.testing.assert_allclose(np.asarray(variable), [1 - 0.1 - 0.2 * 1.75 / 3], rtol=1e-15)
    assert moments(optimizer, variable) == (1.75, 3.0)
    assert optimizer.iterations == 1
    assert len(optimizer.weights) == 3


# wrong tuple length


@pytest.mark.parametrize("length", [0, 1, 3])
def test_wrong_tuple_length_is_a_type_error(length: int) -> None:
    """A tuple that is no pair is a TypeError, which says where and how long it is."""
    w = Variable(np.ones(2))
    pairs: list[Any] = [(np.ones(2), w), (np.ones(2), w, w)[:length]]
    with pytest.raises(TypeError, match=rf"received {length} items, for grads_and_vars\[1\]"):
        Adamax().apply_gradients(pairs)
    np.testing.assert_array_equal(w.value, np.ones(2))


# get_weights order


def orders(optimizer: Adamax) -> list[str]:
    return [weight.name.removeprefix("Adamax/") for weight in optimizer.weights]


def test_weights_are_iterations_then_all_m_then_all_v() -> None:
    """The order does not depend on the history: not on separate calls, nor on early slots."""
    a, b = (Variable(np.ones(1), name=name) for name in "ab")
    together, apart, early, built = Adamax(), Adamax(), Adamax(), Adamax()
    together.apply_gradients([(np.ones(1), a), (np.ones(1), b)])
    apart.apply_gradients([(np.ones(1), a)])
    apart.apply_gradients([(np.ones(1), b)])
    early.add_slot(a, "v")
    early.add_slot(b, "m")
    early.apply_gradients([(np.ones(1), b), (np.ones(1), a)])
    built.build({"a": a, "b": [b]})
    for optimizer in (together, apart, early, built):
        assert orders(optimizer) == ["iter", "a/m", "b/m", "a/v", "b/v"]
    reverse = Adamax()
    reverse.build([b])
    reverse.apply_gradients([(np.ones(1), a), (np.ones(1), b)])
    assert orders(reverse) == ["iter", "b/m", "a/m", "b/v", "a/v"]
    reverse.add_slot(a, "extra")
    assert orders(reverse) == ["iter", "b/m", "a/m", "b/v", "a/v", "a/extra"]
    assert [x.numpy().tobytes() for x in reverse.weights] == [
        x.tobytes() for x in reverse.get_weights()
    ]


# set_weights


def test_set_weights_after_build_resumes_exactly() -> None:
    """Weights set before the first step make the next steps those of the run they are from."""
    a, b = Variable(np.ones(3)), Variable(np.ones(3))
    first, second = Adamax(0.1), Adamax(0.1)
    gradients = np.random.default_rng(5).normal(size=(6, 3))
    for gradient in gradients[:3]:
        first.apply_gradients([(gradient, a)])
    b.assign(a)
    second.build([b])
    second.set_weights(first.get_weights())
    for gradient in gradients[3:]:
        first.apply_gradients([(gradient, a)])
        second.apply_gradients([(gradient, b)])
    np.testing.assert_array_equal(a.value, b.value)
    for mine, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


SHAPE = "Optimizer weight shape .* not compatible with provided weight shape"


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([np.int64(7), np.ones(2)], ValueError, "You called .*length 2, but the optimizer was"),
        ([], ValueError, "length 0, but the optimizer was expecting 3"),
        ([np.int64(7), np.ones(2), np.ones(3)], ValueError, SHAPE),
        ([np.int64(7), np.ones(2), np.ones((2, 1))], ValueError, SHAPE),
        ([np.ones(1), np.ones(2), np.ones(2)], ValueError, SHAPE),
        ([np.int64(7), np.ones(2), np.full(2, 1e39)], ValueError, "does not fit float32"),
        ([np.nan, np.ones(2), np.ones(2)], ValueError, "does not fit int64"),
        ([1e30, np.ones(2), np.ones(2)], ValueError, "does not fit int64"),
        ([np.uint64(2**63), np.ones(2), np.ones(2)], ValueError, "does not fit int64"),
        ([np.int64(7), np.ones(2), np.ones(2, complex)], TypeError, "real numbers"),
        ([np.int64(7), np.ones(2), ["a", "b"]], TypeError, "real numbers"),
        ([np.int64(7), np.ones(2), None], TypeError, "real numbers"),
        ([np.int64(7), np.ones(2), [[1.0], [1.0, 2.0]]], ValueError, "Expected an array"),
        (None, TypeError, "list of arrays"),
        (7, TypeError, "list of arrays"),
        ({"m": np.ones(2)}, TypeError, "list of arrays"),
        (iter([np.int64(7), np.ones(2), np.ones(2)]), TypeError, "list of arrays"),
    ],
)
def test_set_weights_checks_all_before_it_assigns(
    weights: Any, error: type[Exception], message: str
) -> None:
    """A wrong count, shape or number is refused, and no weight has changed, not even the first."""
    w, optimizer = Variable(np.ones(2, np.float32)), Adamax()
    optimizer.apply_gradients([(np.ones(2), w)])
    before = snapshot(optimizer, w)
    with pytest.raises(error, match=message):
        optimizer.set_weights(weights)
    assert snapshot(optimizer, w) == before


# get_config


def test_config_is_plain_python_numbers() -> None:
    """Numbers of NumPy, callables and a run change nothing: floats of Python, exact doubles."""
    numbers: dict[str, Any] = {
        "learning_rate": np.float64(0.1),
        "beta_1": lambda: np.float32(0.3),
        "beta_2": np.asarray(0.9),
        "epsilon": 1,
        "clipnorm": np.float32(0.7),
        "decay": np.float64(1 / 3),
    }
    optimizer = Adamax(**numbers)
    optimizer.apply_gradients([(np.ones(1), Variable(np.ones(1)))])
    config = optimizer.get_config()
    assert config == {
        "name": "Adamax",
        "clipnorm": float(np.float32(0.7)),
        "learning_rate": 0.1,
        "decay": 1 / 3,
        "beta_1": float(np.float32(0.3)),
        "beta_2": 0.9,
        "epsilon": 1.0,
    }
    assert {type(value) for key, value in config.items() if key != "name"} == {float}
    assert json.loads(json.dumps(config, allow_nan=False)) == config


def test_config_of_a_schedule_is_json_too() -> None:
    """A schedule is described by a dictionary for JSON, whatever numbers it was made of."""
    boundaries: list[Any] = [np.int64(5), np.int32(10)]
    values: list[Any] = [np.float64(0.5), np.float32(0.25), np.float16(0.125)]
    rate = schedules.PiecewiseConstantDecay(boundaries, values)
    config = Adamax(rate).get_config()
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert config["learning_rate"] == {
        "class_name": "PiecewiseConstantDecay",
        "config": {"boundaries": [5, 10], "values": [0.5, 0.25, 0.125], "name": None},
    }


# from_config, deserialize


def test_the_callers_dictionary_is_left_alone() -> None:
    """Neither function changes what it reads, however deep."""
    inner = {"lr": 0.5, "learning_rate": {"class_name": "ExponentialDecay", "config": {}}}
    outer = {"class_name": "ADAMAX", "config": inner}
    before = copy.deepcopy(outer)
    assert Adamax.from_config(inner).learning_rate == 0.5
    assert adamax.deserialize(outer).learning_rate == 0.5
    assert outer == before


@pytest.mark.parametrize("more", [{}, {"module": "keras", "registered_name": None}])
def test_both_forms_of_a_schedule_are_read(more: dict[str, Any]) -> None:
    """The dictionary of a schedule has two keys or four."""
    described = schedules.serialize(SCHEDULE) | more
    assert Adamax.from_config({"learning_rate": described}).learning_rate == SCHEDULE
    config = {"class_name": "Adamax", "config": {"learning_rate": described}, **more}
    assert adamax.deserialize(config).learning_rate == SCHEDULE


@pytest.mark.parametrize("name", ["adamax", "Adamax", "ADAMAX", "aDaMaX"])
def test_class_names_are_read_in_any_case(name: str) -> None:
    """The name of the class is found in any case, and another is refused."""
    config = {"class_name": name, "config": {"lr": 0.25}}
    assert adamax.deserialize(config).learning_rate == 0.25
    assert adamax.get(name).learning_rate == 0.001
    with pytest.raises(ValueError, match="Unknown optimizer 'adam': expected Adamax"):
        adamax.deserialize(config | {"class_name": "adam"})


# pickle, copy.deepcopy


@pytest.mark.parametrize(
    "copied",
    [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_a_copy_goes_on_as_the_original(copied: Callable[[Any], Any]) -> None:
    """Optimizer, Variable and raw array copied together step on alone, to the same numbers."""
    optimizer, w, raw = Adamax(SCHEDULE, clipnorm=1.0), Variable(np.ones(2)), np.ones(2)
    gradients = np.random.default_rng(8).normal(size=(6, 2))
    for gradient in gradients[:3]:
        optimizer.apply_gradients([(gradient, w), (gradient, raw)])
    before = snapshot(optimizer, w, raw)
    twin, its_w, its_raw = copied((optimizer, w, raw))
    for gradient in gradients[3:]:
        twin.apply_gradients([(gradient, its_w), (gradient, its_raw)])
    assert snapshot(optimizer, w, raw) == before
    for gradient in gradients[3:]:
        optimizer.apply_gradients([(gradient, w), (gradient, raw)])
    assert twin.get_config() == optimizer.get_config()
    assert len(twin.weights) == len(optimizer.weights) == 5
    for mine, theirs in zip(
        [*optimizer.get_weights(), w.value, raw],
        [*twin.get_weights(), its_w.value, its_raw],
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


# errors state what was expected, what was received, which variable, and the likely cause


def test_errors_tell_all() -> None:
    """One message holds the name, both shapes and what may have been meant."""
    w = Variable(np.ones((3, 4)), name="kernel")
    told = "Expected a gradient of shape (3, 4), received (4, 3), for kernel"
    with pytest.raises(ValueError, match=re.escape(told)):
        Adamax().apply_gradients([(np.ones((4, 3)), w)])
