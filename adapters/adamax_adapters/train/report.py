"""What a run ends with: its perplexity beside the baseline, and words that it holds to be alike."""

from rich.console import Console
from rich.table import Table

from adamax._arrays import to_numpy
from adamax_adapters.train.corpus import Corpus
from adamax_adapters.train.measure import neighbours
from adamax_adapters.train.model import Model

__all__ = ["report"]

WORDS = 6  # words that are shown with their neighbours
LETTERS = 5  # the shortest of them: shorter ones mostly hold sentences together


def report(
    model: Model, corpus: Corpus, measured: float, baseline: float, console: Console
) -> None:
    """Print the held-out perplexities and the nearest neighbours of the commonest longer words."""
    results = Table(title="Held-out perplexity", title_justify="left")
    results.add_column("model")
    results.add_column("perplexity", justify="right")
    results.add_row("unigram baseline", f"{baseline:.1f}")
    results.add_row("this model", f"{measured:.1f}")
    results.add_row("ratio", f"{measured / baseline:.3f}")
    alike = Table(title="Nearest neighbours", title_justify="left")
    alike.add_column("word")
    alike.add_column("words with the most similar embeddings")
    shown = [word for word in corpus.words if word.isalpha() and len(word) >= LETTERS][:WORDS]
    table = to_numpy(model.variables[0].value)
    for word, others in neighbours(table, corpus.words, shown).items():
        alike.add_row(word, ", ".join(others))
    console.print(results, alike)
