"""CuPy on a GPU: the kernels give NumPy's bits, share launches, wait for nothing, go in a graph.

``pytest -m gpu`` runs these and every other test on CuPy arrays.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from libraries import Usage

from adamax import Adamax, IndexedSlices, Variable
from adamax.rule import coefficients, step

pytest.importorskip("cupy")

import cupy

if not cupy.is_available():
    pytest.skip("there is no GPU that CuPy can use", allow_module_level=True)

from adamax_adapters.backends import cupy as backend
from adamax_adapters.keras_style.cuda_graph import captured

pytestmark = [pytest.mark.gpu, pytest.mark.feature("dense", usage=Usage.CUPY)]

RATE, BETA_1, BETA_2, EPSILON = 0.01, 0.9, 0.99, 1e-7
STEPS = 1000


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the kernels that the backend launches, in order."""
    names: list[str] = []
    raw_kernel = cupy.RawKernel

    def counted(code: str, name: str, options: tuple[str, ...]) -> Any:
        kernel = raw_kernel(code, name, options)

        def launch(*args: Any) -> None:
            names.append(name)
            kernel(*args)

        return launch

    monkeypatch.setattr(cupy, "RawKernel", counted)
    backend._kernel.cache_clear()
    yield names
    backend._kernel.cache_clear()


def optimizer() -> Adamax:
    return Adamax(RATE, BETA_1, BETA_2, EPSILON)


def numbers(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trajectory_is_numpys(dtype: str) -> None:
    """A thousand steps on the GPU are those of the plain rule in NumPy, bit for bit."""
    start, gradients = numbers(0, 37, 5).astype(dtype), numbers(1, STEPS, 37, 5).astype(dtype)
    variable, opt = Variable(cupy.asarray(start)), optimizer()
    p, m, u = start, np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(gradients, 1):
        opt.apply_gradients([(cupy.asarray(g), variable)])
        c = coefficients(t, learning_rate=RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON)
        p, m, u = step(p, g, m, u, c)
    for got, wanted in zip((variable, *opt.weights[1:]), (p, m, u), strict=True):
        assert np.array_equal(got.numpy(), wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_rounded_once(dtype: str) -> None:
    """A hundred steps of 16-bit parameters are NumPy's: float32 inside, rounded when stored."""
    as_ = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.float16
    start, gradients = numbers(2, 999).astype(as_), numbers(3, 100, 999).astype(as_)
    mine, twin = Variable(cupy.asarray(start)), Variable(start)
    ours, numpys = optimizer(), optimizer()
    for g in gradients:
        ours.apply_gradients([(cupy.asarray(g), mine)])
        numpys.apply_gradients([(g, twin)])
    assert mine.numpy().tobytes() == twin.numpy().tobytes()


def test_nan_and_infinity_are_numpys() -> None:
    """Where NumPy gives NaN or infinity, so does the GPU; elsewhere the same bits."""
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e-310, 1e308, 1.0]
    grid = np.stack(np.meshgrid(special, special), -1).reshape(-1, 2)
    mine, twin = Variable(cupy.asarray(grid[:, 0].copy())), Variable(grid[:, 0].copy())
    for opt, variable, module in ((optimizer(), mine, cupy), (optimizer(), twin, np)):
        for factor in (1.0, -1.0):
            opt.apply_gradients([(module.asarray(grid[:, 1] * factor), variable)])
    np.testing.assert_array_equal(mine.numpy(), twin.numpy())


def test_200_small_arrays_are_two_launches(launches: list[str]) -> None:
    """All small arrays of a dtype share launches; a large one has its own."""
    variables = [Variable(cupy.asarray(numbers(i, 1000).astype("float32"))) for i in range(200)]
    variables.append(Variable(cupy.zeros(1 << 20, "float32")))
    opt = optimizer()
    for _ in range(3):
        opt.apply_gradients([(variable.value + 1, variable) for variable in variables])
    assert launches == ["adamax_dense"] * 9


@pytest.mark.parametrize("columns", [7, 1])
def test_rows_are_numpys(launches: list[str], columns: int) -> None:
    """A table's rows, listed twice or once, are those of NumPy; their update is one launch."""
    table, values = numbers(4, 100, 7), numbers(5, 30, columns)
    indices = np.random.default_rng(6).integers(0, 100, 30) // 3
    mine, twin = Variable(cupy.asarray(table)), Variable(table)
    ours, numpys = optimizer(), optimizer()
    for _ in range(5):
        strided = cupy.asarray(np.stack([indices, indices], 1))[:, 0]
        slices = IndexedSlices(cupy.asarray(values), strided)
        ours.apply_gradients([(slices, mine)])
        numpys.apply_gradients([(IndexedSlices(values, indices), twin)])
    assert np.array_equal(mine.numpy(), twin.numpy())
    assert launches == ["adamax_rows"] * 5


def test_rows_outside_the_table_are_left_out() -> None:
    """An index that nobody could check without waiting for the device writes nowhere."""
    mine = Variable(cupy.zeros((4, 3)))
    indices = cupy.asarray([-1, 1, 4, 1 << 40])
    optimizer().apply_gradients([(IndexedSlices(cupy.ones((4, 3)), indices), mine)])
    assert np.flatnonzero(mine.numpy().any(axis=1)).tolist() == [1]


def test_strided_and_overlapping_arrays_are_numpys() -> None:
    """Columns, reversed rows and overlapping parts of raw arrays are updated in place, in order."""
    results = []
    for module in (cupy, np):
        memory = module.asarray(numbers(7, 6, 8))
        views = [memory[:, ::2], memory[::-1], memory[1:4], memory[2:5], memory.T]
        opt = optimizer()
        for _ in range(3):
            opt.apply_gradients([(module.ones_like(view), view) for view in views])
        results.append(memory)
    assert np.array_equal(results[0].get(), results[1])


def test_a_strided_gradient_is_read_in_its_order(launches: list[str]) -> None:
    """A transposed gradient is copied, and the kernel takes the copy."""
    start, gradient = numbers(7, 6, 8), numbers(8, 8, 6).T
    mine, twin = Variable(cupy.asarray(start)), Variable(start)
    optimizer().apply_gradients([(cupy.asarray(gradient.T).T, mine)])
    optimizer().apply_gradients([(gradient, twin)])
    assert np.array_equal(mine.numpy(), twin.numpy())
    assert launches == ["adamax_dense"]


def test_a_graph_takes_the_steps_of_its_turn() -> None:
    """A recorded step waits for nothing; launched again, it is the next one."""
    start, gradients = numbers(8, 300), numbers(9, 10, 300)
    mine, twin = Variable(cupy.asarray(start)), Variable(start)
    ours, numpys = optimizer(), optimizer()
    g = cupy.asarray(gradients[0])
    launch = captured(ours, lambda: ours.apply_gradients([(g, mine)]))
    for t, gradient in enumerate(gradients):
        if t:
            g[...] = cupy.asarray(gradient)
            launch()
        numpys.apply_gradients([(gradient, twin)])
    assert int(ours.iterations) == len(gradients)
    assert np.array_equal(mine.numpy(), twin.numpy())


def test_a_step_is_in_the_order_of_its_stream() -> None:
    """On a stream of the caller's, a step reads what was written there just before."""
    mine = Variable(cupy.zeros(1 << 22))
    stream = cupy.cuda.Stream(non_blocking=True)
    opt = optimizer()
    with stream:
        g = cupy.zeros(1 << 22)
        for _ in range(50):
            g += 1
        opt.apply_gradients([(g, mine)])
        moment = opt.get_slot(mine, "m").value.copy()
    stream.synchronize()
    assert np.array_equal(np.unique(moment.get()), [50 * (1 - BETA_1)])


@pytest.mark.skipif(cupy.cuda.runtime.getDeviceCount() < 2, reason="there is one GPU")
def test_arrays_stay_on_their_device() -> None:
    """Variables on two GPUs are updated where they are, whichever is current."""
    variables = []
    for device in (1, 0):
        with cupy.cuda.Device(device):
            variables.append(Variable(cupy.ones(5)))
    gradients = []
    for variable in variables:
        with variable.device:
            gradients.append(variable.value * 2)
    optimizer().apply_gradients(zip(gradients, variables, strict=True))
    assert [variable.device.id for variable in variables] == [1, 0]
    first, second = (variable.numpy() for variable in variables)
    assert np.array_equal(first, second)
