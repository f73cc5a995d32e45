"""A neural language model: previous words -> embeddings -> tanh layer -> softmax over all words.

Bengio et al. 2003, without its direct connections. The gradients are written by hand, in calls of
the array API, so that every library computes them; that of the embeddings is `IndexedSlices`.
"""

from typing import Any

import numpy as np

from adamax import IndexedSlices, Variable
from adamax._arrays import Array, Namespace, array_namespace

__all__ = ["Model"]


class Model:
    """The variables of the model and what is computed with them.

    Parameters
    ----------
    unigram : NumPy array, shape (V,)
        Probability of every word: where the output starts.
    context, embedding, hidden : int
        Previous words, numbers for a word, units of the tanh layer.
    seed : int
    xp : namespace
    """

    def __init__(
        self, unigram: Any, context: int, embedding: int, hidden: int, seed: int, xp: Namespace
    ) -> None:
        rng = np.random.default_rng(seed)
        count, inputs = len(unigram), context * embedding
        values = {
            "embeddings": rng.normal(scale=0.1, size=(count, embedding)),
            "hidden": rng.normal(scale=inputs**-0.5, size=(inputs, hidden)),
            "hidden_bias": np.zeros(hidden),
            "output": rng.normal(scale=0.01, size=(hidden, count)),
            "output_bias": np.log(unigram),
        }
        self.variables = [
            Variable(xp.asarray(value.astype(np.float32)), name=name)
            for name, value in values.items()
        ]

    def _scores(self, words: Array) -> tuple[Array, Array, Array]:
        """Return inputs and outputs of the tanh layer, and the score of every word, at most 0."""
        table, hidden, hidden_bias, output, output_bias = (v.value for v in self.variables)
        xp = array_namespace(table)
        rows = xp.take(table, xp.reshape(words, (-1,)), axis=0)
        inputs = xp.reshape(rows, (words.shape[0], -1))
        units = xp.tanh(inputs @ hidden + hidden_bias)
        scores = units @ output + output_bias
        return inputs, units, scores - xp.max(scores, axis=1, keepdims=True)

    def losses(self, words: Array, targets: Array) -> Array:
        """Return ``-log p(target | words)`` of every row of `words`."""
        scores = self._scores(words)[2]
        xp = array_namespace(scores)
        of_targets = xp.take_along_axis(scores, targets[:, None], axis=1)
        return xp.log(xp.sum(xp.exp(scores), axis=1)) - xp.squeeze(of_targets, axis=1)

    def loss_and_gradients(self, words: Array, targets: Array) -> tuple[Array, list[Any]]:
        """Return the mean loss of a batch and its gradients, in the order of the variables.

        Parameters
        ----------
        words : integer array, shape (batch, context)
        targets : integer array, shape (batch,)
        """
        table, hidden, _, output, _ = (v.value for v in self.variables)
        inputs, units, scores = self._scores(words)
        xp = array_namespace(scores)
        of_targets = xp.take_along_axis(scores, targets[:, None], axis=1)
        powers = xp.exp(scores)
        total = xp.sum(powers, axis=1, keepdims=True)
        loss = xp.mean(xp.log(total) - of_targets)
        # From here on, a name with d_ is the gradient of the loss with respect to it. The scores'
        # gradient is (batch, words), by far the largest array: its rows lack a common factor each,
        # which the smaller arrays that are multiplied with it carry.
        is_target = xp.arange(scores.shape[1], dtype=targets.dtype) == targets[:, None]
        d_scores = xp.where(is_target, xp.exp(of_targets) - total, powers)
        factor = 1.0 / (total * words.shape[0])
        d_units = (d_scores @ output.T) * (factor * (1.0 - units * units))
        d_rows = xp.reshape(d_units @ hidden.T, (-1, table.shape[1]))
        return loss, [
            IndexedSlices(d_rows, xp.reshape(words, (-1,)), tuple(table.shape)),
            inputs.T @ d_units,
            xp.sum(d_units, axis=0),
            (units * factor).T @ d_scores,
            xp.squeeze(factor.T @ d_scores, axis=0),
        ]
