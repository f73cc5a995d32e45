"""Which backend a variable takes, how one is named, and what is told of those that cannot be."""

import copy
import pickle
import sys
from typing import Any

import array_api_strict
import numpy as np
import pytest

from adamax import Adamax, Variable
from adamax_adapters import backends
from adamax_adapters.backends import BackendName, backend_for, problem, ways


def test_libraries_and_their_ways() -> None:
    """Every array can take the plain calls; host memory comes with the fastest ways first."""
    assert ways(np.zeros(1)) == ("numba", "numpy", "standard")
    assert ways(array_api_strict.zeros(1)) == ("standard",)


def test_ways_of_tensors() -> None:
    """Tensors are host memory where NumPy can see it; others keep to torch."""
    torch = pytest.importorskip("torch")
    assert ways(torch.zeros(1)) == ("numba", "numpy", "torch", "standard")
    assert ways(torch.zeros(1, dtype=torch.bfloat16)) == ("torch", "standard")
    assert ways(torch.zeros(1, device="meta")) == ("torch", "standard")
    assert ways(torch.zeros(1).to_sparse()) == ("standard",)


def test_ways_of_jax() -> None:
    """JAX compiles for itself."""
    assert ways(pytest.importorskip("jax.numpy").zeros(1)) == ("jax", "jax_donated", "standard")


def test_the_fastest_that_is_there_is_taken() -> None:
    """Without a name, the first way whose library is installed updates a variable."""
    usable = [name for name in ways(np.zeros(1)) if problem(name) is None]
    assert backend_for(np.zeros(1), "w").__name__ == f"adamax_adapters.backends.{usable[0]}"


@pytest.mark.parametrize("name", ["numpy", "standard"])
def test_a_named_backend_is_taken(name: BackendName, monkeypatch: pytest.MonkeyPatch) -> None:
    """`backend=` decides, in the constructor and later, and no other is asked."""
    module = backend_for(np.zeros(1), "w", name)
    made: list[str] = []
    dense = module.dense

    def noted(targets: Any) -> Any:
        made.append(name)
        return dense(targets)

    monkeypatch.setattr(module, "dense", noted)
    w = Variable(np.ones(3))
    optimizer = Adamax(0.5, backend=name)
    optimizer.apply_gradients([(np.ones(3), w)])
    assert made == [name]
    optimizer.backend = None
    assert optimizer.backend is None
    np.testing.assert_allclose(w.value, 0.5, rtol=1e-6)


def test_a_backend_for_other_arrays_is_refused() -> None:
    """Naming what cannot update a variable is an error that names both, and changes nothing."""
    w, optimizer = Variable(np.ones(3), name="w"), Adamax(backend="jax")
    with pytest.raises(ValueError, match=r"w is a float64 array of numpy on cpu.* 'jax'.*numba"):
        optimizer.apply_gradients([(np.ones(3), w)])
    assert optimizer.get_weights() == [0]
    np.testing.assert_array_equal(w.value, np.ones(3))


@pytest.mark.parametrize("name", ["Numba", "", 3, "tensorflow"])
def test_unknown_names_are_refused(name: Any) -> None:
    """A name that is no backend's is a ValueError that lists those there are."""
    with pytest.raises(
        ValueError, match="Expected backend to be one of cupy, jax, jax_donated, numba"
    ):
        Adamax(backend=name)


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming it says what is missing; without a name the next one steps in."""
    monkeypatch.setitem(sys.modules, "adamax_adapters.backends.numba", None)
    monkeypatch.setattr(backends, "problem", problem.__wrapped__)
    with pytest.raises(ModuleNotFoundError, match="'numba' cannot be used here"):
        Adamax(backend="numba").apply_gradients([(np.ones(3), Variable(np.ones(3)))])
    assert backend_for(np.zeros(1), "w").__name__ == "adamax_adapters.backends.numpy"


def test_the_backend_is_no_part_of_the_configuration() -> None:
    """It says how, not what: `get_config` leaves it out, copies and pickles keep it."""
    optimizer = Adamax(backend="numpy")
    assert optimizer.get_config() == Adamax().get_config()
    assert copy.deepcopy(optimizer).backend == "numpy"
    assert pickle.loads(pickle.dumps(optimizer)).backend == "numpy"
