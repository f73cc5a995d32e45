"""What a run ends with: its perplexity and the baseline's, and words that it finds alike."""

from adamax._arrays import to_numpy
from adamax_adapters.cli.table import table
from adamax_adapters.cli.train.corpus import Corpus
from adamax_adapters.cli.train.measure import neighbours
from adamax_adapters.cli.train.model import Model

__all__ = ["report"]

WORDS = 6  # words that are shown with their neighbours
LETTERS = 5  # the shortest of them: shorter ones mostly hold sentences together


def report(model: Model, corpus: Corpus, measured: float, baseline: float) -> None:
    """Print the held-out perplexities and the nearest neighbours of the commonest longer words."""
    results = [
        ("held-out text", "perplexity"),
        ("unigram baseline", f"{baseline:.1f}"),
        ("this model", f"{measured:.1f}"),
        ("ratio", f"{measured / baseline:.3f}"),
    ]
    shown = [word for word in corpus.words if word.isalpha() and len(word) >= LETTERS][:WORDS]
    embeddings = to_numpy(model.variables[0].value)
    alike = neighbours(embeddings, corpus.words, shown).items()
    rows = [(word, ", ".join(others)) for word, others in alike]
    print(table(results), table([("word", "nearest neighbours"), *rows]), sep="\n\n")
