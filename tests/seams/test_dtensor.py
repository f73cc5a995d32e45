"""Tensors that are sharded over processes stay so, and give the bits of whole ones.

Two processes run every case once, and leave what each of them holds at its end.
"""

import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from libraries import Library, Usage, parameters
from touched import everything

from adamax import Adamax, Variable, init, save_checkpoint, update

torch = pytest.importorskip("torch", reason="torch is not installed")
distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("this torch is built without gloo", allow_module_level=True)
tensors = pytest.importorskip("torch.distributed.tensor")

Array = Any
LayOut = Callable[..., Array]
"""From a NumPy array, and a layout by name where it is not that of the case, to a tensor."""

LIBRARIES = [Library(Usage.TORCH_32, "float32"), Library(Usage.TORCH_64, "float64")]
PLACEMENTS = {
    "rows": (tensors.Shard(0),),
    "columns": (tensors.Shard(1),),
    "replicated": (tensors.Replicate(),),
}

rng = np.random.default_rng(0)
# Of three rows one process has two, and of a single row one has none.
W, G = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
ROW, OTHER = rng.normal(size=(1, 4)), rng.normal(size=(1, 4))


def pure(lay_out: LayOut) -> list[Array]:
    params, grads = [lay_out(x) for x in (W, ROW)], [lay_out(x) for x in (G, OTHER)]
    state = init(params)
    for _ in range(3):
        params, state = update(params, grads, state, learning_rate=0.1)
    return [*params, *state.m, *state.u]


def stepped(lay_out: LayOut, *values: Array, **settings: Any) -> list[Array]:
    variables, optimizer = [Variable(lay_out(x)) for x in values], Adamax(0.1, **settings)
    for scale in (1.0, -2.0, 0.5):
        gradients = [lay_out(scale * x) for x in reversed(values)]
        optimizer.apply_gradients(zip(gradients, reversed(variables), strict=True))
    return everything(optimizer, *variables)


def raw(lay_out: LayOut) -> list[Array]:
    """Update parameters in place; they are known by their memory, and so are views of them."""
    given = [torch.nn.Parameter(lay_out(x)) for x in (W, ROW, OTHER)]
    optimizer = Adamax(0.1)
    for named in (given, [x.detach() for x in given], given):
        gradients = [lay_out(x) for x in (G, OTHER, ROW)]
        optimizer.apply_gradients(zip(gradients, named, strict=True))
    assert len(optimizer.weights) == 1 + 2 * len(given)
    return [x.detach() for x in everything(optimizer, *given)]


def minimised(lay_out: LayOut) -> list[Array]:
    w, optimizer = Variable(lay_out(W)), Adamax(0.1)
    for _ in range(3):
        optimizer.minimize(lambda: (w.value**2).sum(), [w])
    return everything(optimizer, w)


def other_layout(lay_out: LayOut) -> list[Array]:
    """Take gradients that are laid out in each of the ways."""
    w, optimizer = Variable(lay_out(W)), Adamax(0.1)
    for layout in PLACEMENTS:
        optimizer.apply_gradients([(lay_out(G, layout), w)])
    return everything(optimizer, w)


def added(lay_out: LayOut) -> list[Array]:
    """Make further slots, and copy what there is."""
    w, optimizer = Variable(lay_out(W)), Adamax(0.1)
    slots = [optimizer.add_slot(w, name, name) for name in ("zeros", "ones")]
    slots.append(optimizer.add_slot(w, "same", w))
    w.assign(lay_out(G))
    return [w.value, *(slot.value for slot in slots)]


CASES: dict[str, Callable[[LayOut], list[Array]]] = {
    "pure": pure,
    "steps": lambda lay_out: stepped(lay_out, W, ROW, OTHER),
    "clipvalue": lambda lay_out: stepped(lay_out, W, ROW, OTHER, clipvalue=0.5),
    # torch takes no norm where a process holds no element.
    "clipnorm": lambda lay_out: stepped(lay_out, W, G, clipnorm=0.5),
    "global_clipnorm": lambda lay_out: stepped(lay_out, W, G, global_clipnorm=0.5),
    "raw": raw,
    "minimize": minimised,
    "other layout": other_layout,
    "slots": added,
}


class Held(NamedTuple):
    """What a process holds of a tensor: how it is laid out, its part, and all of it."""

    placements: str
    part: Array
    whole: Array


def run(rank: int, folder: Path) -> None:
    """Run every case in one of two processes, and leave what it holds in a file.

    Nothing that goes to the host takes a part for the whole: torch refuses.
    """
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    mesh = tensors.init_device_mesh("cpu", (2,))
    found: dict[tuple[str, str, str], Any] = {}
    for library in LIBRARIES:
        for layout in PLACEMENTS:

            def lay_out(x: Array, layout: str = layout, library: Library = library) -> Array:
                return tensors.distribute_tensor(library.asarray(x), mesh, PLACEMENTS[layout])

            for name, case in CASES.items():
                with library.in_use():
                    found[str(library), layout, name] = [
                        Held(str(x.placements), x.to_local().numpy(), x.full_tensor().numpy())
                        for x in case(lay_out)
                    ]
    w, optimizer = Variable(lay_out(W)), Adamax()
    optimizer.build([w])
    for read in (w.numpy, optimizer.get_weights, lambda: save_checkpoint(folder / "w", optimizer)):
        with pytest.raises(RuntimeError, match="not supported for tensor subclasses"):
            read()
    (folder / f"{rank}").write_bytes(pickle.dumps(found))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str, str], Any]]:
    """What both processes hold at the end of every case."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(run, args=(folder,), nprocs=2)
    return [pickle.loads((folder / f"{rank}").read_bytes()) for rank in range(2)]


@pytest.mark.feature("sharded")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", PLACEMENTS)
@pytest.mark.parametrize("library", parameters(LIBRARIES), indirect=True)
def test_parts_of_tensors(
    library: Library, layout: str, name: str, found: list[dict[tuple[str, str, str], Any]]
) -> None:
    """Every process has its part of p, m and u, laid out as p was, with the bits of the whole."""
    expected = CASES[name](lambda x, *_: library.asarray(x))
    # Sums of parts are added up in another order; parameters, of size 1, are sums of steps.
    tolerance = 1e-6 if "norm" in name else 0.0
    for held in (of_rank[str(library), layout, name] for of_rank in found):
        for x, whole in zip(held, expected, strict=True):
            assert x.placements == str(PLACEMENTS[layout])
            assert x.whole.dtype == library.dtype
            np.testing.assert_allclose(x.whole, whole.numpy(), rtol=tolerance, atol=tolerance)
    for first, second, whole in zip(
        *(of_rank[str(library), layout, name] for of_rank in found), expected, strict=True
    ):
        count = 2 if layout == "replicated" else 1
        assert first.part.size + second.part.size == count * whole.numel()
