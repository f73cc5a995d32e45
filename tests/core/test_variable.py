"""`Variable`: a named, assignable holder of one array that computes as the array does."""

import copy
import math
import operator
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

import array_api_compat
import array_api_strict
import numpy as np
import pytest
from libraries import Library, Usage

from adamax import Variable
from adamax.naming import auto_name
from adamax.reading import read_by, running

Array = Any


def test_members(library: Library) -> None:
    """A variable shows what its value is, by the names of the library."""
    value = library.asarray([[1, 2, 3], [4, 5, 6]])
    v = Variable(value, name="w")
    np.testing.assert_array_equal(library.read(v.value), [[1, 2, 3], [4, 5, 6]])
    assert (v.name, v.shape, v.ndim, v.dtype) == ("w", (2, 3), 2, value.dtype)
    assert v.device == array_api_compat.device(value)
    assert v.trainable
    assert v.constraint is None
    assert v.__array_namespace__() is library.xp
    for transposed in (v.T, v.mT):
        np.testing.assert_array_equal(library.read(transposed), [[1, 4], [2, 5], [3, 6]])


def test_numpy_is_a_copy(library: Library) -> None:
    """`numpy()` comes from any library and device, and does not share memory."""
    v = Variable(library.asarray([1, 2]))
    found = v.numpy()
    assert type(found) is np.ndarray
    found[:] = 7
    np.testing.assert_array_equal(library.read(v.value), [1, 2])


def test_value_is_copied(library: Library) -> None:
    """Arrays that the caller goes on writing to are not the variable's."""
    if library.name == "jax.numpy":
        pytest.skip("JAX arrays cannot be written to")
    given = library.xp.asarray(library.asarray([1, 2]), copy=True)
    v = Variable(given)
    given[0] = 9
    np.testing.assert_array_equal(library.read(v.value), [1, 2])


def test_value_may_be_written_to() -> None:
    """A variable of an array that is read-only can be assigned to, and leaves that array."""
    given = Library(Usage.NUMPY, "float64").asarray([1, 2])
    v = Variable(given)
    v.assign([3, 4])
    np.testing.assert_array_equal(given, [1, 2])
    np.testing.assert_array_equal(v.value, [3, 4])


def test_scalars_become_arrays() -> None:
    """A NumPy scalar is held as a 0-d array, which can be written to."""
    v: Variable = Variable(np.float32(2))
    assert type(v.value) is np.ndarray
    assert (v.shape, v.dtype) == ((), np.float32)
    assert v.assign(3).value == 3


def test_variable_of_a_variable() -> None:
    """A variable made of another holds its value, not the variable, and shares no memory."""
    a = Variable(np.ones(2), name="a")
    b: Variable = Variable(a, name="b")
    assert type(b.value) is np.ndarray
    a.assign([5, 6])
    np.testing.assert_array_equal(b.value, [1, 1])


@pytest.mark.parametrize("value", [[1.0], 1.0, None, "w", object()])
def test_only_arrays_are_held(value: Any) -> None:
    """What is no array is a TypeError, as there is no telling of which library it should be."""
    message = f"Expected an array, received {type(value).__name__}, for the value of a Variable"
    with pytest.raises(TypeError, match=message):
        Variable(value)


def test_shared_memory_is_an_explicit_choice() -> None:
    """`of_array` shares the memory of the array that it is given."""
    given = np.ones(2)
    v = Variable.of_array(given, "array_0")
    assert v.value is given
    v.assign([3, 4])
    np.testing.assert_array_equal(given, [3, 4])
    assert (v.name, v.trainable, v.constraint) == ("array_0", True, None)


def test_names() -> None:
    """Names are given out once in a process; a name of one's own is kept, and may repeat."""
    first, second, third = auto_name("thing"), auto_name("thing"), auto_name("other")
    assert (first, second, third) == ("thing", "thing_1", "other")
    one, two = Variable(np.ones(1)), Variable(np.ones(1), name="")
    assert one.name != two.name
    assert all(v.name.startswith("variable") for v in (one, two))
    assert Variable(np.ones(1), name="w").name == Variable(np.ones(1), name="w").name == "w"


def test_attributes_of_the_caller() -> None:
    """`trainable` and `constraint` are kept for the caller and for optimizers."""
    v = Variable(np.ones(1), trainable=False, constraint=np.abs)
    assert not v.trainable
    assert v.constraint is np.abs


def test_assign(library: Library) -> None:
    """Arrays, variables, lists and numbers can be assigned, converted to the variable's dtype."""
    v = Variable(library.asarray([1, 2]))
    assert v.assign(library.asarray([3, 4], library.wide)) is v
    np.testing.assert_array_equal(library.read(v.value), [3, 4])
    v.assign(Variable(library.asarray([5, 6])))
    np.testing.assert_array_equal(library.read(v.value), [5, 6])
    v.assign([7, 0.1])
    np.testing.assert_array_equal(library.read(v.value), library.rounded([7, 0.1]).astype(float))
    v.assign(v.value + 1 - 1)
    scalar = Variable(library.asarray(1))
    np.testing.assert_array_equal(library.read(scalar.assign(8).value), 8)


def test_assign_writes_in_place() -> None:
    """Where arrays can be written to, whoever holds the value sees the assignment."""
    v = Variable(np.ones(3))
    value = v.value
    v.assign([1, 2, 3])
    assert v.value is value
    v.assign(v.value[::-1])
    np.testing.assert_array_equal(value, [3, 2, 1])


def test_assigned_arrays_stay_the_callers(library: Library) -> None:
    """An assigned array is copied: later changes of it do not reach the variable."""
    if library.name == "jax.numpy":
        pytest.skip("JAX arrays cannot be written to")
    v = Variable(library.asarray([1, 1]))
    given = library.xp.asarray(library.asarray([3, 4]), copy=True)
    v.assign(given)
    given[0] = 9
    np.testing.assert_array_equal(library.read(v.value), [3, 4])


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, "received NoneType, for the value of w"),
        ([None, 1.0], TypeError, r"received NoneType, for the value of w\[0\]"),
        ("12", TypeError, "received str, for the value of w"),
        ([1.0, 2.0, 3.0], ValueError, r"a value of shape \(2,\), received \(3,\), for w"),
        (1.0, ValueError, r"a value of shape \(2,\), received \(\), for w"),
        (np.ones((2, 1)), ValueError, r"a value of shape \(2,\), received \(2, 1\), for w"),
        ([[1.0], 2.0], ValueError, "an array or numbers for the value of w"),
    ],
)
def test_assignment_is_checked(value: Any, error: type[Exception], message: str) -> None:
    """A value that does not fit is an error that names the variable, which stays as it is."""
    v = Variable(np.array([1.0, 2.0]), name="w")
    with pytest.raises(error, match=message):
        v.assign(value)
    np.testing.assert_array_equal(v.value, [1, 2])


def test_assignment_of_another_library_is_refused(standard_only: None) -> None:
    """An array of another library or device is not fetched in silence."""
    v: Variable = Variable(np.ones(2), name="w")
    message = "a numpy array, received a array_api"
    with pytest.raises(TypeError, match=message):
        v.assign(array_api_strict.ones(2))
    there = array_api_strict.Device("device1")
    v = Variable(array_api_strict.ones(2), name="w")
    with pytest.raises(ValueError, match="for the value of w; move it to the parameter's device"):
        v.assign(array_api_strict.ones(2, device=there))


BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("compute", BINARY)
def test_binary_operators(compute: Callable[[Any, Any], Any]) -> None:
    """Operators compute with the value, on either side of arrays, numbers and variables."""
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5])
    v, w = Variable(a), Variable(b)
    for found in (compute(v, w), compute(v, b), compute(a, w)):
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, compute(a, b))
    np.testing.assert_array_equal(compute(v, 2), compute(a, 2))
    np.testing.assert_array_equal(compute(2, w), compute(2, b))
    np.testing.assert_array_equal(compute(np.float64(2), w), compute(2, b))


@pytest.mark.parametrize("compute", BINARY)
def test_binary_operators_of_the_standard(
    library: Library, compute: Callable[[Any, Any], Any]
) -> None:
    """Variables of every library compute with each other and with numbers, as their arrays do."""
    a, b = library.asarray([1, 2]), library.asarray([2, 0.5])
    v, w = Variable(a), Variable(b)
    for found, expected in (
        (compute(v, w), compute(a, b)),
        (compute(v, b), compute(a, b)),
        (compute(v, 2.0), compute(a, 2.0)),
        (compute(2.0, w), compute(2.0, b)),
    ):
        assert type(found) is type(expected)
        assert bool(library.xp.all(found == expected))


@pytest.mark.parametrize("compute", [operator.abs, operator.neg, operator.pos])
def test_unary_operators(library: Library, compute: Callable[[Any], Any]) -> None:
    """Unary operators compute with the value."""
    value = library.asarray([1, -2])
    found = compute(Variable(value))
    np.testing.assert_array_equal(library.read(found), library.read(compute(value)))


def test_matrix_products() -> None:
    """`@` is the product of matrices, with variables and arrays on either side."""
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    for found in (Variable(a) @ Variable(b), Variable(a) @ b, a @ Variable(b)):
        np.testing.assert_array_equal(found, a @ b)


def test_operator_with_a_list() -> None:
    """A list on either side is what NumPy makes of it; variables may be in it."""
    v, numbers = Variable(np.array([1.0, 2.0])), [1, Variable(np.array(2))]
    np.testing.assert_array_equal(v + numbers, [2, 4])
    np.testing.assert_array_equal([1, 2] * v, [1, 4])


IN_PLACE = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ifloordiv,
    operator.imod,
    operator.ipow,
]


@pytest.mark.parametrize("compute", IN_PLACE)
def test_in_place_operators_assign(library: Library, compute: Callable[[Any, Any], Any]) -> None:
    """`v += x` changes the variable, the name is still bound to it, and its dtype is kept."""
    a, b = library.asarray([3, 5]), library.asarray([2, 1])
    for other, operand in ((b, b), (Variable(b), b), ([2.0, 1.0], b), (2.0, 2.0)):
        v = Variable(a)
        w = compute(v, other)
        assert w is v
        assert w.dtype == a.dtype
        expected = compute(library.xp.asarray(a, copy=True), operand)
        np.testing.assert_array_equal(library.read(v.value), library.read(expected))


def test_in_place_operators_write_where_the_array_is() -> None:
    """Whoever holds the array of a variable sees `v += 1` and `v @= x`."""
    v = Variable(np.ones((2, 2)))
    value = v.value
    v += 1
    v @= np.eye(2)
    assert v.value is value
    np.testing.assert_array_equal(value, np.full((2, 2), 2.0))


def test_adding_and_subtracting_as_in_tensorflow() -> None:
    """`assign_add` and `assign_sub` change the variable and return it, so that calls chain."""
    v, counter = Variable(np.array([1.0, 2.0])), Variable(np.array(0))
    assert v.assign_add(1.0).assign_sub([0.5, 1.0]) is v
    np.testing.assert_array_equal(v.value, [1.5, 2.0])
    assert counter.assign_add(1).value == 1


def test_results_that_do_not_fit_are_refused() -> None:
    """A result of another shape, or with fractions for whole numbers, leaves the variable alone."""
    v, counter = Variable(np.ones(2), name="w"), Variable(np.array(3), name="count")
    with pytest.raises(ValueError, match=r"shape \(2,\), received \(3, 2\), for w"):
        v += np.ones((3, 2))
    with pytest.raises(TypeError, match="int64, received one of dtype float64, for count"):
        counter /= 2
    np.testing.assert_array_equal(v.value, [1, 1])
    assert counter.value == 3


def test_attributes_of_the_value(library: Library) -> None:
    """Public methods and attributes of the value, and no others, are those of the variable."""
    value = library.asarray([[1, 2], [3, 4]])
    v = Variable(value, name="w")
    np.testing.assert_array_equal(library.read(v.T), library.read(value.T))
    assert set(dir(value)) - {name for name in dir(value) if name[0] == "_"} <= set(dir(v))
    for name in ("no_such_name", "_private", "__array_interface__"):
        with pytest.raises(AttributeError, match=f"Variable.*{name}"):
            getattr(v, name)
    with pytest.raises(AttributeError, match=r"received 'summ', for w: .* its value, a "):
        _ = v.summ


def test_methods_of_numpy() -> None:
    """`W.sum()` is the sum of the value, and a method that writes writes to the variable."""
    v = Variable(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert v.sum() == 10.0
    np.testing.assert_array_equal(v.mean(axis=0), [2.0, 3.0])
    assert (v.size, v.reshape(-1).shape, v[0, 0].item()) == (4, (4,), 1.0)
    v.fill(1.0)
    np.testing.assert_array_equal(v.value, np.ones((2, 2)))


def test_numpy_functions_see_the_value() -> None:
    """NumPy's functions take variables by position, by keyword, in lists and as output."""
    a = np.array([[1.0, -2.0], [3.0, 4.0]])
    v: Any = Variable(a)
    positive: Any = Variable(a > 0)
    np.testing.assert_array_equal(np.exp(v), np.exp(a))
    np.testing.assert_array_equal(np.add(v, v), a + a)
    np.testing.assert_array_equal(np.maximum.reduce(v), np.maximum.reduce(a))
    np.testing.assert_array_equal(np.sum(v, axis=0), np.sum(a, axis=0))
    np.testing.assert_array_equal(np.sum(a=v), np.sum(a))
    np.testing.assert_array_equal(np.concatenate([v, v]), np.concatenate([a, a]))
    np.testing.assert_array_equal(np.stack((v, a)), np.stack((a, a)))
    np.testing.assert_array_equal(np.add(a, 1, where=positive, out=a.copy()), [[2, -2], [4, 5]])
    np.testing.assert_array_equal(np.where(v > 0, v, 0), np.where(a > 0, a, 0))
    np.testing.assert_array_equal(np.einsum("ij,ij->i", v, v), np.einsum("ij,ij->i", a, a))
    np.testing.assert_array_equal(np.linalg.norm(v), np.linalg.norm(a))
    np.testing.assert_array_equal(np.take(v, Variable(np.array([1])), axis=0), a[[1]])
    np.add(a, 1, out=v)
    np.testing.assert_array_equal(v.value, a + 1)


def test_conversion_to_numpy() -> None:
    """`np.asarray` of a variable is its value, not a copy unless one is needed or asked for."""
    v = Variable(np.array([1.0, 2.0]))
    assert np.asarray(v) is v.value
    assert np.asarray(v, copy=False) is v.value
    assert not np.shares_memory(np.array(v), v.value)
    assert np.asarray(v, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(v, dtype=np.float32, copy=False)


def test_indexing_and_iterating() -> None:
    """Indices, also those in variables, and loops go over the value; items cannot be assigned."""
    v = Variable(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(v[1], [3, 4])
    np.testing.assert_array_equal(v[:, Variable(np.array(1))], [2, 4])
    np.testing.assert_array_equal(v[Variable(np.array([True, False]))], [[1, 2]])
    first, second = v
    np.testing.assert_array_equal([first, second], v.value)
    assert len(v) == 2
    with pytest.raises(TypeError, match="item assignment"):
        v[0] = 1


def test_loops_end(library: Library) -> None:
    """A loop over a variable ends with its rows, on JAX too, where no index is out of range."""
    assert [float(x) for x in Variable(library.asarray([1, 2, 3]))] == [1, 2, 3]


def test_conversion_to_python() -> None:
    """A variable of one element is a number, of integers an index, and true or false."""
    v = Variable(np.array(2))
    assert (float(v), int(v), operator.index(v), bool(v)) == (2.0, 2, 2, True)
    assert [10, 20, 30][v] == 30
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Variable(np.ones(2)))
    with pytest.raises(TypeError):
        len(v)


def test_hash_is_identity() -> None:
    """Variables are keys by identity, while `==` compares element by element."""
    a, b = Variable(np.ones(2)), Variable(np.ones(2))
    assert (a == b).all()
    found = {a: "a", b: "b"}
    assert (found[a], found[b], len({a, b, a})) == ("a", "b", 2)


def test_repr() -> None:
    """The text of a variable shows name, shape, dtype and value."""
    v = Variable(np.array([1.5, 2.0], np.float32), name="w")
    assert repr(v) == "Variable('w', shape=(2,), dtype=float32, value=[1.5 2. ])"
    assert repr(Variable(np.eye(2), name="w")).endswith("value=\n[[1. 0.]\n [0. 1.]])")
    assert f"{Variable(np.array(0.25)):.1%} {v}" == f"25.0% {v!r}"


@pytest.mark.parametrize(
    "copied",
    [
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda v: pickle.loads(pickle.dumps(v)), id="pickle"),
    ],
)
def test_copies(copied: Callable[[Variable], Variable]) -> None:
    """Pickle and deepcopy give an equal variable that shares no memory."""
    v = Variable(np.array([1.0, 2.0]), name="w", trainable=False, constraint=np.abs)
    w = copied(v)
    assert (w.name, w.trainable, w.constraint) == ("w", False, np.abs)
    w.assign([5, 6])
    np.testing.assert_array_equal(v.value, [1, 2])
    np.testing.assert_array_equal(w.value, [5, 6])


def test_reading_decides_what_is_seen() -> None:
    """In a call of `read_by` the reader's values are seen, in operators too; the variable stays."""
    v, w = Variable(np.ones(2), name="v"), Variable(np.zeros(2), name="w")
    seen = []

    def reader(variable: Variable, value: Array) -> Array:
        seen.append(variable)
        return value + 10

    def loss() -> str:
        np.testing.assert_array_equal(v.value, [11, 11])
        np.testing.assert_array_equal(v + w, [21, 21])
        np.testing.assert_array_equal(np.asarray(v), [11, 11])
        np.testing.assert_array_equal(v[0], 11)
        # What describes the variable, and copies for the outside, is no reading of it.
        assert (v.shape, v.dtype, v.ndim, v.device) == ((2,), np.float64, 1, "cpu")
        np.testing.assert_array_equal(v.numpy(), [1, 1])
        return "returned"

    assert read_by(reader, loss, list) == "returned"
    np.testing.assert_array_equal(v.value, [1, 1])
    assert seen == [v, v, w, v, v]


def test_losses_do_not_assign_and_do_not_nest() -> None:
    """Inside a loss an assignment and another loss are errors, and leave no trace."""
    v = Variable(np.ones(2), name="w")

    def loss() -> None:
        for assign in (v.assign, v.assign_add, v.__iadd__):
            with pytest.raises(RuntimeError, match=r"no assignment .* inside a loss, .* for w:"):
                assign([2, 2])
        with pytest.raises(RuntimeError, match="inside a loss that is being differentiated"):
            read_by(lambda variable, value: 0, lambda: None, list)
        np.testing.assert_array_equal(v.value, [1, 1])
        raise KeyError

    with pytest.raises(KeyError):
        read_by(lambda variable, value: value, loss, list)
    v.assign([3, 3])
    np.testing.assert_array_equal(v.value, [3, 3])


def in_a_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


UNTRACED: dict[str, tuple[Callable[[Variable], Any], str]] = {
    "value in a thread": (lambda v: in_a_thread(lambda: v.value), "another thread"),
    "expression in a thread": (lambda v: in_a_thread(lambda: v * 2), "another thread"),
    "other context": (lambda v: Context().run(lambda: v.value), "another thread"),
    "numpy": (lambda v: v.numpy(), "numpy"),
    "float": (lambda v: math.exp(v), "float"),
    "copy": (copy.copy, "copy"),
    "deepcopy": (copy.deepcopy, "copy"),
    "pickle": (pickle.dumps, "pickle"),
}


@pytest.mark.parametrize("kind", UNTRACED)
def test_reading_without_the_reader_is_noticed(kind: str) -> None:
    """What a loss reads past the reader is an error, of the variables of this loss alone."""
    read, message = UNTRACED[kind]
    v, other = Variable(np.array(1.0), name="w"), Variable(np.array(1.0))
    with pytest.raises(NotImplementedError, match=f"compute with w itself, .*{message}"):
        read_by(lambda variable, value: value, lambda: read(v), lambda: [np.ones(2), other, v])
    read_by(lambda variable, value: value, lambda: read(v), lambda: [other])
    # A loss with gradients of its own may read as it likes.
    read_by(lambda variable, value: value, lambda: (read(v), []), lambda: [v])
    read(v)
    assert not running


def test_other_threads_read_as_ever() -> None:
    """What one thread reads is nothing to another, and numpy() is for all of them."""
    v = Variable(np.ones(1))

    def loss() -> list[float]:
        assert in_a_thread(lambda: v.numpy()) == [1]
        return [in_a_thread(lambda: v.value[0]), v.value[0]]

    assert read_by(lambda variable, value: value + 1, loss, list) == [1, 2]
    read_by(lambda variable, value: value, lambda: in_a_thread(v.numpy), lambda: [v])


def test_a_loss_that_is_gone_is_not_running() -> None:
    """A loss that no code has taken off the list, after a Ctrl-C, leaves it at the next read."""
    v = Variable(np.ones(1))

    def loss() -> Any:
        (entry,) = running
        return entry

    entry = read_by(lambda variable, value: value, loss, list)
    assert entry() is None
    assert not running
    running.add(entry)
    assert v.value is v.value
    assert not running


def test_graph_of_torch_is_left_behind() -> None:
    """A value that torch has recorded a graph of is held without it, and so is one assigned."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    weights = torch.ones(2, requires_grad=True)
    v = Variable(weights * 2)
    assert not v.value.requires_grad
    v.assign(weights * 3)
    assert not v.value.requires_grad
    np.testing.assert_array_equal(v.numpy(), [3, 3])
