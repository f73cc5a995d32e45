"""A neural language model: previous words -> embeddings -> tanh layer -> softmax over all words.

Bengio et al. 2003, without its direct connections. The gradients are written by hand, in calls of
the array API, so that every backend runs them; that of the embeddings is `IndexedSlices`.
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

    def _log_probabilities(self, words: Array) -> tuple[Array, Array, Array]:
        """Return inputs and outputs of the tanh layer, and the log-probability of every word."""
        table, hidden, hidden_bias, output, output_bias = (v.value for v in self.variables)
        xp = array_namespace(table)
        rows = xp.take(table, xp.reshape(words, (-1,)), axis=0)
        inputs = xp.reshape(rows, (words.shape[0], -1))
        units = xp.tanh(inputs @ hidden + hidden_bias)
        scores = units @ output + output_bias
        scores = scores - xp.max(scores, axis=1, keepdims=True)
        return inputs, units, scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))

    def losses(self, words: Array, targets: Array) -> Array:
        """Return ``-log p(target | words)`` of every row of `words`."""
        log_p = self._log_probabilities(words)[2]
        xp = array_namespace(log_p)
        return -xp.squeeze(xp.take_along_axis(log_p, targets[:, None], axis=1), axis=1)

    def loss_and_gradients(self, words: Array, targets: Array) -> tuple[Array, list[Any]]:
        """Return the mean loss of a batch and its gradients, in the order of the variables.

        Parameters
        ----------
        words : integer array, shape (batch, context)
        targets : integer array, shape (batch,)
        """
        table, hidden, _, output, _ = (v.value for v in self.variables)
        inputs, units, log_p = self._log_probabilities(words)
        xp = array_namespace(log_p)
        is_target = xp.arange(log_p.shape[1], dtype=targets.dtype) == targets[:, None]
        loss = -xp.sum(xp.where(is_target, log_p, 0.0)) / words.shape[0]
        # From here on, a name with d_ is the gradient of the loss with respect to it.
        d_scores = (xp.exp(log_p) - xp.astype(is_target, log_p.dtype)) / words.shape[0]
        d_units = (d_scores @ output.T) * (1.0 - units * units)
        d_rows = xp.reshape(d_units @ hidden.T, (-1, table.shape[1]))
        return loss, [
            IndexedSlices(d_rows, xp.reshape(words, (-1,)), tuple(table.shape)),
            inputs.T @ d_units,
            xp.sum(d_units, axis=0),
            units.T @ d_scores,
            xp.sum(d_scores, axis=0),
        ]
