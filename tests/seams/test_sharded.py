"""Arrays of JAX that are sharded over eight devices stay so, and give the bits of whole ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from libraries import Library, Usage, parameters
from touched import everything

from adamax import (
    Adamax,
    IndexedSlices,
    State,
    Variable,
    check_gradients,
    init,
    load_checkpoint,
    save_checkpoint,
    update,
)
from adamax_adapters.backends import BackendName
from adamax_adapters.gradients import EngineName

jax = pytest.importorskip("jax", reason="jax is not installed")
jnp = pytest.importorskip("jax.numpy")

Array = Any
LayOut = Callable[..., Array]
"""From an array and a layout to the array in it."""

EAGER = [Library(Usage.JAX, "float32")]
COMPILED = [Library(Usage.JAX_JIT, "bfloat16"), Library(Usage.JAX_JIT, "float64")]
eagerly = pytest.mark.parametrize("library", parameters(EAGER), indirect=True)
compiled = pytest.mark.parametrize("library", parameters(COMPILED), indirect=True)
each_way = pytest.mark.parametrize("library", parameters(EAGER + COMPILED), indirect=True)
automatic = pytest.mark.parametrize("mesh", ["Auto"], indirect=True)
pytestmark = pytest.mark.feature("sharded")

LAYOUTS: list[tuple[Any, ...]] = [("x",), (None, "y"), ("y", "x"), (("x", "y"),), ()]
"""By which axes of a mesh those of an array are sharded: one or two of them, or none at all."""

rng = np.random.default_rng(0)
W, G, B = rng.normal(size=(8, 8)), rng.normal(size=(8, 8)), rng.normal(size=8)
LIST = [5, 0, 5]
ROWS = np.array(LIST)


@pytest.fixture(params=["Auto", "Explicit"])
def mesh(request: pytest.FixtureRequest) -> Any:
    """Eight devices along two axes, which XLA shards along as it likes, or as types say."""
    assert len(jax.devices()) == 8, "JAX was used before it was told how many devices to make"
    return jax.make_mesh((2, 4), ("x", "y"), (getattr(jax.sharding.AxisType, request.param),) * 2)


def spread(x: Array, mesh: Any, layout: tuple[Any, ...]) -> Array:
    return jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*layout)))


def whole_and_spread(run: Callable[[LayOut], list[Any]], mesh: Any) -> tuple[list[Any], list[Any]]:
    """Return what a run ends with where its arrays are whole, and where they are laid out."""
    return run(lambda x, layout: x), run(lambda x, layout: spread(x, mesh, layout))


def assert_spread_as(like: Array, *arrays: Any) -> None:
    """Hold arrays and variables to the sharding of another of their shape."""
    assert len(like.devices()) == 8
    for x in arrays:
        array = getattr(x, "value", x)
        assert array.sharding.is_equivalent_to(like.sharding, like.ndim), array.sharding


def stepped(library: Library, layout: tuple[Any, ...], lay_out: LayOut, **settings: Any) -> Any:
    """Return w and b with their slots after three steps; b is replicated."""
    w = Variable(lay_out(library.asarray(W), layout))
    b = Variable(lay_out(library.asarray(B), ()))
    optimizer = Adamax(0.1, **settings)
    for _ in range(3):
        g = lay_out(library.asarray(G), layout)
        optimizer.apply_gradients([(g, w), (lay_out(library.asarray(B), ()), b)])
    return [*everything(optimizer, w), *everything(optimizer, b)]


@pytest.mark.feature("functional")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@each_way
def test_the_pure_form_keeps_shards(library: Library, mesh: Any, layout: tuple[Any, ...]) -> None:
    """`init` and `update`, called or compiled, lay p, m and u out as p was."""
    step = library.compiled(update)

    def run(lay_out: LayOut) -> list[Array]:
        p, g = (lay_out(library.asarray(x), layout) for x in (W, G))
        state = init(p)
        for _ in range(3):
            p, state = step(p, g, state)
        return [p, state.m, state.u]

    expected, found = whole_and_spread(run, mesh)
    assert_spread_as(spread(library.asarray(W), mesh, layout), *found)
    for x, whole in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(whole))


@pytest.mark.feature("dense")
@pytest.mark.parametrize("backend", ["jax", "standard"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@eagerly
def test_optimizers_keep_shards(
    library: Library, mesh: Any, layout: tuple[Any, ...], backend: BackendName
) -> None:
    """A variable and its slots keep their layout, beside a replicated one, step after step."""
    expected, found = whole_and_spread(
        lambda lay_out: stepped(library, layout, lay_out, backend=backend), mesh
    )
    assert_spread_as(spread(library.asarray(W), mesh, layout), *found[:3])
    assert_spread_as(spread(library.asarray(B), mesh, ()), *found[3:])
    for x, whole in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(whole))


@pytest.mark.feature("clipping")
@pytest.mark.parametrize("limit", ["clipnorm", "clipvalue", "global_clipnorm"])
@eagerly
def test_clipping_keeps_shards(library: Library, mesh: Any, limit: str) -> None:
    """Norms are those of whole gradients, of several layouts at once; the shards stay."""
    expected, found = whole_and_spread(
        lambda lay_out: stepped(library, ("x", "y"), lay_out, **{limit: 0.5}), mesh
    )
    assert_spread_as(spread(library.asarray(W), mesh, ("x", "y")), *found[:3])
    assert_spread_as(spread(library.asarray(B), mesh, ()), *found[3:])
    for x, whole in zip(found, expected, strict=True):
        # Sums of shards are added up in another order.
        np.testing.assert_allclose(np.asarray(x), np.asarray(whole), rtol=1e-6)


@pytest.mark.feature("dense", "functional")
@pytest.mark.parametrize("backend", ["jax", "standard"])
@eagerly
def test_gradients_may_be_laid_out_otherwise(
    library: Library, mesh: Any, backend: BackendName
) -> None:
    """What counts is how the parameter is: its gradient is laid out anew, and gives the bits."""
    p, whole = spread(library.asarray(W), mesh, ("x", "y")), library.asarray(G)
    expected, _ = update(library.asarray(W), whole, init(library.asarray(W)), learning_rate=0.1)
    for layout in (("y", "x"), (None, "x"), ()):
        w, optimizer = Variable(p), Adamax(0.1, backend=backend)
        optimizer.apply_gradients([(spread(whole, mesh, layout), w)])
        found, state = update(p, spread(whole, mesh, layout), init(p), learning_rate=0.1)
        assert_spread_as(p, *everything(optimizer, w), found, state.m, state.u)
        np.testing.assert_array_equal(w.numpy(), np.asarray(expected))
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.feature("jit", "functional")
@automatic
@compiled
def test_a_compiled_step_is_told_where_results_go(library: Library, mesh: Any) -> None:
    """Where shardings differ, a compiler decides, unless `out_shardings` does."""
    p, whole = spread(library.asarray(W), mesh, ("x", "y")), library.asarray(G)
    anywhere: Any = None
    step = jax.jit(update, out_shardings=(p.sharding, State(anywhere, p.sharding, p.sharding)))
    found, state = step(p, spread(whole, mesh, ("y",)), init(p))
    assert_spread_as(p, found, state.m, state.u)
    expected, _ = library.compiled(update)(library.asarray(W), whole, init(library.asarray(W)))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.feature("sparse")
@pytest.mark.parametrize("backend", ["jax", "standard"])
@automatic
@eagerly
def test_rows_of_a_sharded_table(library: Library, mesh: Any, backend: BackendName) -> None:
    """Rows of all shards advance as those of a whole table do; duplicates are summed."""

    def run(lay_out: LayOut) -> list[Array]:
        w = Variable(lay_out(library.asarray(W), ("x", "y")))
        optimizer = Adamax(0.1, backend=backend)
        for values, rows in ((library.asarray(G[:3]), jnp.asarray(ROWS)), (G[3:6].tolist(), LIST)):
            optimizer.apply_gradients([(IndexedSlices(values, rows), w)])
        return everything(optimizer, w)

    expected, found = whole_and_spread(run, mesh)
    assert_spread_as(spread(library.asarray(W), mesh, ("x", "y")), *found)
    for x, whole in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(whole))


@pytest.mark.feature("gradients")
@pytest.mark.parametrize("engine", ["jax", "tape"])
@eagerly
def test_losses_of_shards_are_minimised(library: Library, mesh: Any, engine: EngineName) -> None:
    """Differentiation gives gradients that leave the variable as it is laid out."""
    w, optimizer = Variable(spread(library.asarray(W), mesh, ("x", "y"))), Adamax(0.1)
    optimizer.minimize(lambda: array_namespace(w).sum(w**2), [w], engine=engine)
    assert_spread_as(spread(library.asarray(W), mesh, ("x", "y")), *everything(optimizer, w))
    # The first step is the learning rate, against the sign of the gradient.
    np.testing.assert_allclose(w.numpy(), W - 0.1 * np.sign(W), atol=1e-5)


@pytest.mark.feature("gradients")
@automatic
@pytest.mark.parametrize("library", parameters([Library(Usage.JAX, "float64")]), indirect=True)
def test_losses_of_parts_of_shards(library: Library, mesh: Any) -> None:
    """The tape's gradients of an element, a slice and rows are what differences show."""
    w, optimizer = Variable(spread(library.asarray(W), mesh, ("x", "y"))), Adamax(0.1)

    def loss() -> Array:
        xp = array_namespace(w)
        rows = xp.take(w.value, jnp.asarray(ROWS), axis=0)
        return xp.sum(w**2) + w[0, 1] + xp.sum(w[2:4, :] ** 3) + xp.sum(rows**4)

    check_gradients(loss, [w], engine="tape")
    optimizer.minimize(loss, [w], engine="tape")
    assert_spread_as(spread(library.asarray(W), mesh, ("x", "y")), *everything(optimizer, w))


@pytest.mark.feature("checkpoint")
@eagerly
def test_values_from_the_host_are_spread(library: Library, mesh: Any, tmp_path: Path) -> None:
    """Files are those of whole arrays, byte by byte; weights and values go where shards are."""
    whole, layout = library.asarray(W), ("x", "y")
    variables = [Variable(x, name="w") for x in (whole, spread(whole, mesh, layout))]
    optimizers = [Adamax(0.1), Adamax(0.1)]
    for w, optimizer in zip(variables, optimizers, strict=True):
        optimizer.apply_gradients([(library.asarray(G), w)])
        save_checkpoint(tmp_path / f"{len(w.value.devices())}", optimizer, [w])
    assert (tmp_path / "8").read_bytes() == (tmp_path / "1").read_bytes()
    w, optimizer = variables[1], optimizers[1]
    saved = w.numpy()
    w.assign(np.zeros_like(W).tolist())
    optimizer.set_weights([np.ones_like(x) for x in optimizer.get_weights()])
    slots = [optimizer.add_slot(w, name, name) for name in ("zeros", "ones")]
    slots += [optimizer.add_slot(w, "given", W), optimizer.add_slot(w, "same", w)]
    assert_spread_as(spread(whole, mesh, layout), *everything(optimizer, w), *slots)
    assert optimizer.add_slot(w, "number", 2.0).numpy() == 2.0
    assert not w.numpy().any()
    load_checkpoint(tmp_path / "1", optimizer, [w], strict=False)
    assert_spread_as(spread(whole, mesh, layout), *everything(optimizer, w))
    np.testing.assert_array_equal(w.numpy(), saved)
    w.assign(jnp.zeros_like(whole))
    assert_spread_as(spread(whole, mesh, layout), w)
