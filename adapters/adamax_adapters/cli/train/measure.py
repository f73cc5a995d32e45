"""What a trained model is worth: held-out perplexity, and which words it holds to be alike."""

from typing import Any

import numpy as np

from adamax._arrays import Namespace, to_numpy
from adamax_adapters.cli.train.corpus import Corpus
from adamax_adapters.cli.train.model import Model

__all__ = ["neighbours", "perplexity"]

CHUNK_WINDOWS = 1024  # that are measured together


def perplexity(model: Model, corpus: Corpus, context: int, xp: Namespace) -> float:
    """Return the perplexity of the held-out words: exp of their mean loss, summed in float64."""
    total = 0.0
    for start in range(0, len(corpus.held_out), CHUNK_WINDOWS):
        words, targets = corpus.windows(corpus.held_out[start : start + CHUNK_WINDOWS], context)
        losses = model.losses(xp.asarray(words), xp.asarray(targets))
        total += float(to_numpy(losses).astype(np.float64).sum())
    with np.errstate(over="ignore"):
        return float(np.exp(total / len(corpus.held_out)))


def neighbours(table: Any, words: list[str], of: list[str], count: int = 4) -> dict[str, list[str]]:
    """Return, for every word in `of`, those whose embeddings have the highest cosine with its own.

    Parameters
    ----------
    table : NumPy array, shape (V, d)
    words : list of str
        The vocabulary; the first, the unknown word, is no neighbour.
    """
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    units = table / np.maximum(lengths, np.finfo(table.dtype).tiny)
    found = {}
    for word in of:
        cosines = units @ units[words.index(word)]
        cosines[[0, words.index(word)]] = -np.inf
        found[word] = [words[i] for i in np.argsort(-cosines, kind="stable")[:count]]
    return found
