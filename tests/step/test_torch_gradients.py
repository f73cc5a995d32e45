"""Gradients that torch holds in another way than as the memory of their elements."""

from typing import Any

import numpy as np
import pytest

from adamax import Adamax, IndexedSlices, Variable, init, update
from adamax_adapters.backends import BackendName

torch = pytest.importorskip("torch")


def embedded() -> tuple[Any, Any]:
    """Return the weight of an embedding and its sparse gradient, which lists row 1 twice."""
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    with torch.no_grad():
        embedding.weight[...] = 1.0
    embedding(torch.tensor([1, 3, 1])).sum().backward()
    return embedding.weight, embedding.weight.grad


def negated(*values: float) -> Any:
    """Return a tensor that torch reads as the negated contents of its memory."""
    numbers = torch.complex(torch.zeros(len(values)), -torch.tensor(values)).conj().imag
    assert numbers.is_neg()
    return numbers


def test_sparse_gradient_is_taken_as_rows() -> None:
    """The gradient of ``nn.Embedding(sparse=True)`` steps like IndexedSlices, step for step."""
    (weight, grad), table = embedded(), Variable(np.ones((4, 2), np.float32))
    ours, expected = Adamax(0.1), Adamax(0.1)
    slices = IndexedSlices(np.ones((3, 2), np.float32), np.array([1, 3, 1]))
    for _ in range(3):
        ours.apply_gradients([(grad, weight)])
        expected.apply_gradients([(slices, table)])
    np.testing.assert_array_equal(weight.detach().numpy(), table.numpy())
    np.testing.assert_array_equal(ours.get_slot(weight, "v").numpy()[:, 0], [0, 2, 0, 1])


def test_sparse_gradient_in_the_pure_form() -> None:
    """`update` takes a sparse gradient of torch as rows too."""
    weight, grad = embedded()
    params = [weight.detach()]
    new, _ = update(params, [grad], init(params), learning_rate=0.1)
    np.testing.assert_allclose(new[0].numpy()[:, 0], [1, 0.9, 1, 0.9], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_sparse_gradient_of_elements_is_refused() -> None:
    """A sparse tensor that lists elements, or is compressed, is refused with the way out."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    for grad in (torch.eye(2).to_sparse(), torch.eye(2).to_sparse_csr()):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"layout torch.sparse_.*array_0; call to_dense"):
                Adamax().apply_gradients([(grad, weight)])
    assert weight.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("backend", [None, "torch", "standard"])
def test_negated_gradient_is_read_as_it_is(backend: BackendName | None) -> None:
    """A gradient that torch holds negated steps as its copy does, first and later, for each."""
    a, b, gradient = Variable(torch.ones(2), "a"), Variable(torch.ones(2), "b"), negated(1.0, -2.0)
    optimizer = Adamax(0.1, backend=backend)
    for _ in range(2):
        optimizer.apply_gradients([(gradient.clone(), a), (gradient, b)])
    assert int(optimizer.iterations) == 2
    assert torch.equal(a.value, b.value)
    assert a.value.tolist() == pytest.approx([0.8, 1.2])
