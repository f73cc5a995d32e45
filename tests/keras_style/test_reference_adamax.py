"""The reference's own tests of Adamax, each with its inputs, and numbers measured from it.

The tests are those of `adamax_test` in TensorFlow 1.15; the trajectories of `NumpyAdamax` stand
where they compare with a NumPy model of theirs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from reference_model import NumpyAdamax

from adamax import Adamax, IndexedSlices, Variable

Array = Any

TOLERANCE = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-6}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def variables(dtype: str, *values: Sequence[Any]) -> list[Variable]:
    return [Variable(np.array(value, dtype)) for value in values]


def assert_close(found: Sequence[Variable], expected: Sequence[Array], dtype: str) -> None:
    for variable, reference in zip(found, expected, strict=True):
        assert variable.dtype == dtype
        tolerance = TOLERANCE[dtype]
        np.testing.assert_allclose(variable.numpy(), reference, rtol=tolerance, atol=tolerance)


DENSE = [0.1, 0.1], [0.01, 0.01]


def assert_basic(
    optimizer: Adamax, dtype: str, rates: Sequence[float] = (0.001, 0.001, 0.001)
) -> None:
    """Take the three steps of `testBasic` and compare each with the model at those rates."""
    found, model = variables(dtype, [1, 2], [3, 4]), NumpyAdamax([[1, 2], [3, 4]])
    grads = [np.array(grad, dtype) for grad in DENSE]
    for t, rate in enumerate(rates):
        assert optimizer.iterations == t
        optimizer.apply_gradients(zip(grads, found, strict=True))
        assert_close(found, model.step(DENSE, rate), dtype)


@each_dtype
def test_basic(dtype: str) -> None:
    """`testBasic`: two variables and three dense steps match the model."""
    assert_basic(Adamax(), dtype)


@each_dtype
def test_basic_with_learning_rate_decay(dtype: str) -> None:
    """`testBasicWithLearningRateDecay`: step t, from 0, uses lr / (1 + decay * t)."""
    rates = [0.001 / (1 + 0.002 * t) for t in range(3)]
    assert_basic(Adamax(learning_rate=0.001, decay=0.002), dtype, rates)


@each_dtype
@pytest.mark.parametrize("kind", [np.asarray, np.float32, Variable])
def test_tensor_learning_rate(dtype: str, kind: Any) -> None:
    """`testTensorLearningRate`: the rate may be a 0-d array, a NumPy scalar or a Variable."""
    rate: Any = kind(np.asarray(0.001)) if kind is Variable else kind(0.001)
    assert_basic(Adamax(rate), dtype)


@each_dtype
def test_sharing(dtype: str) -> None:
    """`testSharing`: calls that alternate on one optimizer make the trajectory of one."""
    optimizer, found = Adamax(), variables(dtype, [1, 2], [3, 4])
    model = NumpyAdamax([[1, 2], [3, 4]])
    grads = [np.array(grad, dtype) for grad in DENSE]

    def first() -> None:
        optimizer.apply_gradients(zip(grads, found, strict=True))

    def second() -> None:
        optimizer.apply_gradients(list(zip(grads, found, strict=True)))

    for update in (first, second, first):
        update()
        assert_close(found, model.step(DENSE), dtype)


@each_dtype
def test_resource_sparse(dtype: str) -> None:
    """`testResourceSparse`: rows of two variables, in order and not, match the model."""
    optimizer, found = Adamax(), variables(dtype, [1, 2, 3], [4, 5, 6])
    model = NumpyAdamax([[1, 2, 3], [4, 5, 6]])
    given: list[tuple[list[float], list[int]]] = [([0.1, 0.1], [0, 1]), ([0.01, 0.01], [2, 1])]
    for t in range(3):
        assert 0.9 ** (int(optimizer.iterations) + 1) == 0.9 ** (t + 1)
        grads = [
            IndexedSlices(np.array(values, dtype), np.array(rows), (3,)) for values, rows in given
        ]
        optimizer.apply_gradients(zip(grads, found, strict=True))
        assert_close(found, model.step(given), dtype)


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_sparse_device_placement(index_dtype: Any) -> None:
    """`testSparseDevicePlacement`: a loss on gathered rows is minimised, for both index dtypes."""
    (table,) = variables("float64", [[1.0], [2.0]])
    rows = np.array([0, 1], index_dtype)
    Adamax(3.0).minimize(lambda: np.sum(np.take(table.value, rows, axis=0)), [table])
    np.testing.assert_allclose(table.value, [[-2.0], [-1.0]], rtol=1e-6)


@each_dtype
def test_sparse_repeated_indices(dtype: str) -> None:
    """`testSparseRepeatedIndices`: a row given twice takes the step of the row with the sum."""
    repeated, aggregated = variables(dtype, [[1.0], [2.0]], [[1.0], [2.0]])
    of_repeated, of_aggregated = Adamax(), Adamax()
    for _ in range(3):
        np.testing.assert_array_equal(repeated.value, aggregated.value)
        twice = IndexedSlices(np.array([[0.1], [0.1]], dtype), np.array([1, 1]), (2, 1))
        once = IndexedSlices(np.array([[0.2]], dtype), np.array([1]), (2, 1))
        of_repeated.apply_gradients([(twice, repeated)])
        of_aggregated.apply_gradients([(once, aggregated)])
    np.testing.assert_array_equal(repeated.value, aggregated.value)
    assert repeated.value[0] == 1.0
    assert repeated.value[1] < 2.0


def test_slots_unique_eager() -> None:
    """`testSlotsUniqueEager`: two equal scalar variables have slots of their own."""
    v1, v2 = Variable(np.asarray(1.0)), Variable(np.asarray(1.0))
    optimizer = Adamax(1.0)
    optimizer.minimize(lambda: v1 + v2, [v1, v2])
    assert len({id(variable) for variable in optimizer.variables()}) == 5
    assert len(optimizer.variables()) == 5


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        ({"lr": 1.0}, 1.0),
        ({"learning_rate": 0.1, "lr": 1.0}, 1.0),
        ({"learning_rate": 0.1}, 0.1),
    ],
)
def test_construct_adamax_with_lr(arguments: dict[str, Any], rate: float) -> None:
    """`testConstructAdamaxWithLR`: `lr` is `learning_rate` by another name, and wins."""
    optimizer = Adamax(**arguments)
    assert optimizer.lr == optimizer.learning_rate == rate


def as_there(**numbers: float) -> dict[str, Any]:
    """Return hyperparameters rounded to float32, which is how the reference keeps them."""
    defaults = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999}
    return {name: float(np.float32(x)) for name, x in (defaults | numbers).items()}


BASIC: dict[str, Any] = {
    "float32": [
        [[0.9970000386238098, 1.9969998598098755], [2.997000217437744, 3.997000217437744]],
        [0.027100007981061935, 0.002710000379011035],
    ],
    "float64": [
        [[0.9970000028575049, 1.9970000028575046], [2.997000029857209, 3.997000029857209]],
        [0.02710000579357132, 0.002710000579357132],
    ],
}


@pytest.mark.parametrize("dtype", BASIC)
def test_measured_basic(dtype: str) -> None:
    """The numbers of the reference after the three steps of `testBasic`, slots too."""
    optimizer, found = Adamax(**as_there()), variables(dtype, [1, 2], [3, 4])
    for _ in range(3):
        pairs = zip(DENSE, found, strict=True)
        optimizer.apply_gradients((np.array(grad, dtype), var) for grad, var in pairs)
    values, moments = BASIC[dtype]
    tolerance = 1e-15 if dtype == "float64" else 2e-7
    for variable, value, m, grad in zip(found, values, moments, (0.1, 0.01), strict=True):
        np.testing.assert_allclose(variable.value, value, rtol=tolerance, atol=0)
        slots = [optimizer.get_slot(variable, name).value for name in "mv"]
        np.testing.assert_allclose(slots[0], [m, m], rtol=tolerance, atol=0)
        np.testing.assert_array_equal(slots[1], np.array([grad, grad], dtype))


def test_measured_basic_in_float16() -> None:
    """The float16 numbers of the reference after `testBasic`; ours keep slots in float32."""
    optimizer, found = Adamax(), variables("float16", [1, 2], [3, 4])
    for _ in range(3):
        optimizer.apply_gradients(
            (np.array(grad, np.float16), var) for grad, var in zip(DENSE, found, strict=True)
        )
    np.testing.assert_array_equal(found[0].value, np.array([0.9970703125, 1.9970703125]))
    np.testing.assert_array_equal(found[1].value, np.array([2.994140625, 3.994140625]))


def test_measured_decay() -> None:
    """The float64 numbers of the reference with decay .002."""
    optimizer = Adamax(**as_there(decay=0.002))
    found = variables("float64", [1, 2], [3, 4])
    for _ in range(3):
        optimizer.apply_gradients(zip(map(np.array, DENSE), found, strict=True))
    expected = [0.997005982923821, 1.9970059829238207], [2.997006009869705, 3.997006009869705]
    for variable, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(variable.value, reference, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (
            "float64",
            [
                [0.9970000028575049, 1.9970000028575046, 3],
                [4, 4.997000029857209, 5.997000029857209],
            ],
        ),
        ("float16", [[0.9970703125, 1.9970703125, 3], [4, 5, 6]]),
    ],
)
def test_measured_sparse(dtype: str, expected: Array) -> None:
    """The numbers of the reference after three sparse steps.

    In float16 the second variable stays: its step is less than half a unit in the last place.
    """
    optimizer, found = Adamax(**as_there()), variables(dtype, [1, 2, 3], [4, 5, 6])
    for _ in range(3):
        grads = [
            IndexedSlices(np.array([0.1, 0.1], dtype), np.array([0, 1])),
            IndexedSlices(np.array([0.01, 0.01], dtype), np.array([2, 1])),
        ]
        optimizer.apply_gradients(zip(grads, found, strict=True))
    for variable, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(variable.value, reference, rtol=1e-15, atol=0)


def test_measured_repeated_index() -> None:
    """The float64 numbers of the reference after three steps with a repeated row."""
    optimizer, (table,) = Adamax(**as_there()), variables("float64", [[1.0], [2.0]])
    for _ in range(3):
        twice = IndexedSlices(np.array([[0.1], [0.1]]), np.array([1, 1]))
        optimizer.apply_gradients([(twice, table)])
    np.testing.assert_allclose(table.value, [[1.0], [1.997000001357507]], rtol=1e-15, atol=0)


def test_measured_rich() -> None:
    """The reference's numbers of a step with every kind of gradient, float64 and float32."""
    gradients = [
        [[0.3, -0.2, 0], [1e-4, -5, 0.7]],
        [[-0.1, 0.4, 0], [0, 2, -0.7]],
        [[0, 0, 0], [0, 0, 0]],
        [[10, -10, 1e-8], [0.5, 0.5, 0.5]],
    ]
    found = [Variable(np.array([[1, -2, 0.5], [0, 3, -1]], dtype)) for dtype in ("f8", "f4")]
    optimizer = Adamax(**as_there(learning_rate=0.05, beta_1=0.8, beta_2=0.95), epsilon=1e-3)
    for gradient in gradients:
        optimizer.apply_gradients((np.array(gradient, x.dtype), x) for x in found)
    double, single = found
    expected: Array = [
        [0.911035311525426, -1.9605245984602833, 0.49999983062500053],
        [-0.02468338649464283, 3.072028733312052, -1.0519207035665858],
    ]
    m = [
        [2.0179198807144165, -1.9692798820114137, 1.9999998807907106e-09],
        [0.10001023403938294, -0.15600000596046384, 0.08207999564170837],
    ]
    v = [[10, 10, 1e-8], [0.5, 4.2868748386204265, 0.6317499841451646]]
    for array, reference in [
        (double.value, expected),
        (optimizer.get_slot(double, "m").value, m),
        (optimizer.get_slot(double, "v").value, v),
    ]:
        np.testing.assert_allclose(array, reference, rtol=1e-14, atol=0)
    in_float32 = [
        [0.9110353589057922, -1.960524559020996, 0.4999998211860657],
        [-0.024683387950062752, 3.072028636932373, -1.0519206523895264],
    ]
    np.testing.assert_allclose(single.value, in_float32, rtol=1e-6, atol=0)
