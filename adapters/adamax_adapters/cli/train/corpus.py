"""A text as numbers: words, vocabulary, and windows of them to train on and to hold out."""

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adamax_adapters.cli.train.settings import UserError

__all__ = ["Corpus", "read_corpus"]

UNKNOWN = "<unk>"
BLOCK_WORDS = 200  # that are trained on or held out together
HELD_OUT_BLOCKS = 10  # of so many blocks, one is held out
SHORTEST_WORDS = BLOCK_WORDS * HELD_OUT_BLOCKS  # below, there is nothing to hold out


class Corpus(NamedTuple):
    """A text as word numbers; windows do not reach over the edges of blocks."""

    words: list[str]  # the vocabulary, by number; number 0 is the unknown word
    ids: Any  # (n,) int64, the text: torch indexes with no other dtype
    train: Any  # (k,) positions of words that are predicted in training
    held_out: Any  # (l,) positions of words that are predicted to measure
    digest: str  # sha256 of the text

    def windows(self, positions: Any, context: int) -> tuple[Any, Any]:
        """Return the `context` words before every position, and the words at the positions."""
        before = positions[:, None] + np.arange(-context, 0)
        return self.ids[before], self.ids[positions]

    def unigram(self) -> Any:
        """Return the probability of every word in training, each counted once more."""
        counts = np.bincount(self.ids[self.train], minlength=len(self.words)) + 1.0
        return counts / counts.sum()

    def unknown(self) -> float:
        """Return the share of the text that is outside the vocabulary, from 0 to 1."""
        return float(np.mean(self.ids == 0))

    def baseline(self) -> float:
        """Return the held-out perplexity of the unigram probabilities."""
        return float(np.exp(-np.log(self.unigram()[self.ids[self.held_out]]).mean()))


def read_corpus(path: str | None, context: int, vocabulary: int) -> Corpus:
    """Read a file, or the documentation that comes with Python, as a corpus.

    Raises
    ------
    UserError
        If the file is missing, not UTF-8, or too short.
    """
    text = _documentation() if path is None else _file(path)
    found = re.findall(r"\w+|[^\w\s]", text.lower())
    name = path or "Python's documentation"
    if len(found) < SHORTEST_WORDS:
        raise UserError(
            f"Expected at least {SHORTEST_WORDS} words, found {len(found)}, in {name}; use a "
            "longer text"
        )
    if context >= BLOCK_WORDS:
        raise UserError(
            f"Expected a number below {BLOCK_WORDS}, the words of a block, received {context}, for "
            "--context"
        )
    positions = np.arange(len(found))
    held_out = positions // BLOCK_WORDS % HELD_OUT_BLOCKS == HELD_OUT_BLOCKS - 1
    counts = Counter(word for word, held in zip(found, held_out, strict=True) if not held)
    common = [word for word, n in counts.most_common(vocabulary - 1) if n > 1]
    words = [UNKNOWN, *common]
    number = {word: i for i, word in enumerate(words)}
    ids = np.array([number.get(word, 0) for word in found], np.int64)
    predicted = positions % BLOCK_WORDS >= context
    return Corpus(
        words,
        ids,
        positions[predicted & ~held_out],
        positions[predicted & held_out],
        hashlib.sha256(text.encode()).hexdigest(),
    )


def _documentation() -> str:
    """Return the English text that Python's own help() shows."""
    from pydoc_data import topics

    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


def _file(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"Expected UTF-8, found {error.reason} at byte {error.start}, in {path}; convert the "
            "text to UTF-8"
        ) from None
    except (OSError, ValueError) as error:  # the latter for a null byte in the path
        raise UserError(f"cannot read the text: {error}") from None
