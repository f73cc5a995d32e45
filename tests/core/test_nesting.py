"""`adamax.nesting`: containers of parameters, dataclasses and pytrees of JAX among them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from adamax import State, init, nesting, update

pytestmark = pytest.mark.feature("functional")

P = np.array([1.0, 2.0])


@dataclass(frozen=True)
class Dense:
    """A layer as users of NumPy write it."""

    weight: Any
    bias: Any = None
    activation: str = field(default="tanh", metadata={"static": True})
    size: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", np.size(self.weight))


class Pair:
    """A class of which JAX is told how to take it apart."""

    def __init__(self, first: Any, second: Any, name: str) -> None:
        self.first, self.second, self.name = first, second, name


@pytest.fixture(scope="module")
def jax() -> Any:
    """JAX, with `Pair` as a pytree whose children have no names."""
    module = pytest.importorskip("jax", reason="jax is not installed")
    module.tree_util.register_pytree_node(
        Pair,
        lambda pair: ((pair.first, pair.second), pair.name),
        lambda name, parts: Pair(parts[0], parts[1], name),
    )
    return module


def test_dataclasses_are_containers() -> None:
    """A dataclass comes back as itself: fields that are static or computed are no parameters."""
    params = {"layers": [Dense(P, np.ones(())), Dense(2 * P, activation="relu")]}
    found, state = update(params, params, init(params), learning_rate=0.5, epsilon=0.0)
    for tree in (found, state.m, state.u):
        first, second = tree["layers"]
        assert type(first) is type(second) is Dense
        assert (first.activation, second.activation) == ("tanh", "relu")
        assert (first.size, second.bias) == (2, None)
    # Without epsilon the first step is the learning rate, against the sign of the gradient.
    np.testing.assert_allclose(found["layers"][0].weight, P - 0.5)
    np.testing.assert_allclose(found["layers"][0].bias, 0.5)
    np.testing.assert_array_equal(state.u["layers"][1].weight, 2 * P)


def test_none_stays_where_it_is() -> None:
    """A parameter that is None has a state that is None, and takes no gradient but None."""
    params = {"w": P, "b": None, "c": [None, None]}
    state = init(params)
    assert state.m == {"w": pytest.approx([0, 0]), "b": None, "c": [None, None]}
    found, state = update(params, params, state)
    assert found["b"] is state.m["b"] is state.u["b"] is None
    assert found["c"] == [None, None]
    message = r"Expected None, received ndarray, for the gradient of params\['b'\]: that parameter"
    with pytest.raises(ValueError, match=message):
        update(params, {**params, "b": P}, state)


def test_paths_of_dataclasses_name_their_fields() -> None:
    """Paths in errors read as Python: attributes after a dot, keys and indices in brackets."""
    tree = {"a": [Dense(1, {"x": 2})], "b": None}
    assert list(nesting.flatten(tree, "p")) == [
        ("p['a'][0].weight", 1),
        ("p['a'][0].bias['x']", 2),
        ("p['b']", None),
    ]
    with pytest.raises(TypeError, match=r"received int, for params\['a'\]\[0\]\.weight"):
        init(tree)
    with pytest.raises(ValueError, match=r"Dense with \.weight, \.bias, received ndarray, for gra"):
        update(Dense(P), P, init(Dense(P)))
    with pytest.raises(ValueError, match=r"received the keys \['bias', 'weight'\], for grads$"):
        update(Dense(P), {"weight": P, "bias": None}, init(Dense(P)))


def test_a_class_is_a_leaf() -> None:
    """A dataclass itself, and not an object of it, is no container."""
    with pytest.raises(TypeError, match="received type, for params"):
        init(Dense)


def test_structures_rebuild_what_they_took_apart() -> None:
    """Leaves go back in order, and what a structure has as a leaf may be anything elsewhere."""
    tree = {"b": [1, (2,)], "a": Dense(3, None)}
    structure = nesting.Structure(tree)
    assert structure.unflatten(leaf for _, leaf in structure.flatten(tree, "tree")) == tree
    other = {"a": Dense([5, 6], 7), "b": ["x", ({},)]}
    found = [leaf for _, leaf in structure.flatten(other, "other")]
    assert found == [[5, 6], 7, "x", {}]


def test_registered_classes_are_containers(jax: Any) -> None:
    """A class that is registered with JAX comes back as itself, with what is static in it."""
    params = {"pair": Pair(P, [None, np.ones(1)], "kept")}
    state = init(params)
    assert isinstance(state, State)
    found, state = update(params, params, state, learning_rate=0.5, epsilon=0.0)
    for tree in (found, state.m, state.u):
        assert type(tree["pair"]) is Pair
        assert tree["pair"].name == "kept"
        assert tree["pair"].second[0] is None
    np.testing.assert_allclose(found["pair"].first, P - 0.5)
    np.testing.assert_allclose(found["pair"].second[1], [0.5])


def test_paths_of_registered_classes(jax: Any) -> None:
    """Errors name a child as JAX does; without a name it has a number."""
    with pytest.raises(TypeError, match=r"received str, for params\[<flat index 1>\]"):
        init(Pair(P, "x", ""))
    params = Pair(P, P, "")
    with pytest.raises(ValueError, match=r"Pair with .*, received the keys \['w'\], for grads$"):
        update(params, {"w": P}, init(params))
    with pytest.raises(ValueError, match=r"for params\[<flat index 1>\]"):
        update(params, Pair(P, P[:1], ""), init(params))


def test_an_object_that_is_not_registered_is_a_leaf(jax: Any) -> None:
    """What neither JAX nor Python knows as a container is refused as a parameter, by its type."""
    with pytest.raises(TypeError, match=r"received object, for params\[0\]"):
        init([object()])
