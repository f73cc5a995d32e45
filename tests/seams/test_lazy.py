"""Arrays of dask stay lazy and keep their chunks; what is computed in the end is NumPy's."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from array_api_compat import array_namespace
from libraries import Library, Usage, parameters
from reference_model import NumpyAdamax
from touched import everything

from adamax import (
    Adamax,
    IndexedSlices,
    Variable,
    init,
    load_checkpoint,
    save_checkpoint,
    update,
)

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

Array = Any

pytestmark = pytest.mark.feature("sharded")
each_dtype = pytest.mark.parametrize(
    "library",
    parameters([Library(Usage.DASK, dtype) for dtype in ("float32", "float64")]),
    indirect=True,
)

W = np.array([[1.0, -2.0], [3.0, 0.5], [0.25, 4.0], [-1.0, 2.0], [0.5, 1.5]])
G = np.array([[0.5, -3.0], [1.0, 0.25], [-2.0, 1.0], [0.0, 1.0], [-0.5, 2.0]])
ROWS = np.array([4, 0, 4])
CHUNKS = ((2, 2, 1), (1, 1))


def refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("something was computed")


def in_chunks(library: Library, x: Array) -> Array:
    return da.from_array(library.rounded(x), chunks=CHUNKS)


def assert_lazy(*arrays: Array) -> None:
    assert [(type(x), x.chunks) for x in arrays] == [(da.Array, CHUNKS)] * len(arrays)


@pytest.mark.feature("dense", "sparse", "functional")
@each_dtype
def test_the_pure_form_is_a_graph(library: Library) -> None:
    """`init` and `update` compute nothing, and keep the chunks of the parameters."""
    params = {"w": in_chunks(library, W), "table": in_chunks(library, W)}
    with dask.config.set(scheduler=refuse):
        state = init(params)
        for _ in range(3):
            rows = IndexedSlices(library.asarray(G[:3]), library.asarray(ROWS, "int64"))
            grads = {"w": in_chunks(library, G), "table": rows}
            params, state = update(params, grads, state, learning_rate=0.1)
        assert_lazy(*params.values(), *state.m.values(), *state.u.values())
        with pytest.raises(RuntimeError, match="something was computed"):
            params["w"].compute()
    model = NumpyAdamax([W, W], 0.1)
    for _ in range(3):
        model.step([G, (G[:3], ROWS)])
    found = dask.compute(params["w"], params["table"])
    for x, expected in zip(found, model.x, strict=True):
        np.testing.assert_allclose(x, expected, rtol=1e-5 if library.dtype == "float32" else 1e-12)


@pytest.mark.feature("dense", "sparse", "clipping")
@pytest.mark.parametrize(
    "settings", [{}, {"clipnorm": 1.0}, {"clipvalue": 0.5}, {"global_clipnorm": 1.0}]
)
@each_dtype
def test_steps_are_a_graph(library: Library, settings: dict[str, Any]) -> None:
    """Dense and sparse steps compute nothing, keep chunks, and are NumPy's in the end."""
    w, table = (Variable(in_chunks(library, W)) for _ in range(2))
    optimizer = Adamax(0.1, decay=0.5, **settings)
    with dask.config.set(scheduler=refuse):
        for _ in range(3):
            rows = IndexedSlices(library.asarray(G[:3]), library.asarray(ROWS, "int64"))
            optimizer.apply_gradients([(in_chunks(library, G), w), (rows, table)])
        assert_lazy(*everything(optimizer, w, table))
    twins = [Variable(library.rounded(W)) for _ in range(2)]
    expected = Adamax(0.1, decay=0.5, backend="standard", **settings)
    for _ in range(3):
        rows = IndexedSlices(library.rounded(G[:3]), ROWS)
        expected.apply_gradients(zip([library.rounded(G), rows], twins, strict=True))
    # Sums of chunks are added up in another order.
    tolerance = 1e-6 if any("norm" in limit for limit in settings) else 0.0
    found = dask.compute(*everything(optimizer, w, table))
    for x, whole in zip(found, everything(expected, *twins), strict=True):
        np.testing.assert_allclose(x, whole, rtol=tolerance)


@pytest.mark.feature("gradients")
@each_dtype
def test_losses_are_graphs(library: Library) -> None:
    """`minimize` differentiates and steps without computing the loss."""
    w, optimizer = Variable(in_chunks(library, W)), Adamax(0.1)
    with dask.config.set(scheduler=refuse):
        for _ in range(2):
            optimizer.minimize(lambda: array_namespace(w).sum(w**2), [w])
        assert_lazy(*everything(optimizer, w))
    model = NumpyAdamax([W], 0.1)
    for _ in range(2):
        model.step([2 * model.x[0]])
    np.testing.assert_allclose(w.numpy(), model.x[0], rtol=1e-5)


@pytest.mark.feature("checkpoint")
@each_dtype
def test_graphs_are_cut_where_the_user_says(library: Library, tmp_path: Path) -> None:
    """A persisted value is assigned as any other is; files are computed, and read back."""
    w, optimizer = Variable(in_chunks(library, W), name="w"), Adamax(0.1)
    for _ in range(3):
        optimizer.apply_gradients([(in_chunks(library, G), w)])
        for part in (w, *optimizer.weights[1:]):
            part.assign(part.value.persist())
            assert len(part.value.dask) == len(CHUNKS[0]) * len(CHUNKS[1])
    save_checkpoint(tmp_path / "saved", optimizer, [w])
    before = [x.compute() for x in everything(optimizer, w)]
    optimizer.apply_gradients([(in_chunks(library, G), w)])
    load_checkpoint(tmp_path / "saved", optimizer, [w])
    assert_lazy(*everything(optimizer, w))
    for x, expected in zip(everything(optimizer, w), before, strict=True):
        np.testing.assert_array_equal(x.compute(), expected)


@pytest.mark.feature("dense", "checkpoint")
@each_dtype
def test_other_chunks_are_put_in_order(library: Library) -> None:
    """Gradients, values, weights and slots from elsewhere take the chunks of their variable."""
    w, optimizer = Variable(in_chunks(library, W)), Adamax(0.1)
    whole = library.asarray(G)
    assert whole.chunks != CHUNKS
    with dask.config.set(scheduler=refuse):
        optimizer.apply_gradients([(whole, w)])
        params, state = update(w.value, whole, init(w.value))
        assert_lazy(*everything(optimizer, w), params, state.m, state.u)
        w.assign(whole)
        slots = [optimizer.add_slot(w, name, name) for name in ("zeros", "ones")]
        slots += [optimizer.add_slot(w, "given", W), optimizer.add_slot(w, "same", w)]
        assert_lazy(w.value, *(slot.value for slot in slots))
    optimizer.set_weights(optimizer.get_weights())
    assert_lazy(*everything(optimizer, w))
    np.testing.assert_array_equal(w.numpy(), library.rounded(G))
