"""What heads of stance are worth on labels, and what documents' net stance says of the policy rate a year later.

    python -m benchmarks.stance LABELS… [--texts FOLDER] [--most-sentences N] [--cache FILE]

Each file of labels is judged alone, then all together, each block of years by heads fitted on the others. With a folder
of shared data, the head of all labels reads N sentences of each document of eight central banks and of each speech of
the Federal Reserve, evenly spaced; sentences that are labelled are left out. Its net is compared, by rank, with the
change of the effective federal funds rate over the next 365 days: for documents and speeches of the Federal Reserve,
alone and given the two-year yield less that rate. Intervals of 95 % draw blocks of about a year, or of --block-years,
again: cycles of the rate last longer than one.

The cache keeps MiniLM's vectors of sentences; without it every run reads them again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pandas as pd

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector, Int64Vector
from prometheus.core import MINILM
from prometheus.encoders.stance.head import StanceHead, fit_heads
from prometheus.encoders.stance.judged import Judged, judge, macro_f1
from prometheus.encoders.stance.labels import LabelledSentences, fold, sentences_of
from prometheus.encoders.stance.sentences import policy_sentences
from prometheus.encoders.stance.shares import StanceCounts, stances_of
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.evaluation.bootstrap import N_RESAMPLES, SEED, interval_of
from prometheus.files.labelled import read_labelled
from prometheus.market.resampling import stationary_rows

AT_ONCE = 256
YEAR = timedelta(days=365)
FED = "federal_reserve_system"
PLURALS = {"document": "documents", "speech": "speeches"}


@dataclass(frozen=True, slots=True)
class Document:
    """A text of a central bank, dated when it could be read."""

    bank: str
    kind: str
    day: date
    sentences: tuple[str, ...]


class Vectors:
    """MiniLM's vectors of sentences, kept in a file if one is named."""

    def __init__(self, cache: Path | None) -> None:
        self._cache, self._known = cache, dict[str, Float32Vector]()
        if cache is not None and cache.exists():
            with np.load(cache) as kept:
                self._known = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))
        folder = Path(gettempdir()) / "prometheus-models"
        self._model = OnnxTextEmbeddingModel(find_text_folder(MINILM), long_text="mean", cache_dir=folder)

    def of(self, texts: Sequence[str]) -> Float32Matrix:
        """Return a vector for each text, shape (n, 384)."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        for first in range(0, len(missing), AT_ONCE):
            part = missing[first : first + AT_ONCE]
            made = self._model.embed_batch([TextDoc("SENTENCE", str(at), text) for at, text in enumerate(part)])
            self._known.update(zip(part, made, strict=True))
        if missing and self._cache is not None:
            np.savez(self._cache, texts=np.array(list(self._known)), vectors=np.stack(list(self._known.values())))
        return np.stack([self._known[text] for text in texts])


def load_labels(files: Sequence[Path], columns: Sequence[str]) -> dict[str, LabelledSentences]:
    """Return the sentences of each file, and of all together."""
    by_hand = dict(each.partition("=")[::2] for each in columns)
    rows = {}
    for file in files:
        found = {field: name for field, name in by_hand.items() if name in pd.read_parquet(file).columns}
        rows[file.stem] = read_labelled([file], found)
    if len(rows) > 1:
        rows["all"] = [row for found in rows.values() for row in found]
    return {name: sentences_of(found, {}) for name, found in rows.items()}


def print_figures(name: str, sentences: LabelledSentences, judged: Judged) -> None:
    """Print what is known of heads on one set of labels."""
    figures = judged.figures
    print(f"{name}: {sentences.describe()}")
    if sentences.doubt_of_dates():
        print(f"  {sentences.doubt_of_dates()}")
    print(
        f"  {', '.join(figures.folds)}: F1 {figures.f1:.3f}, surer half {figures.f1_sure:.3f}, calibration error "
        f"{figures.calibration_error:.3f}, sureness {figures.sureness:.3f}, temperature {judged.temperature:.2f}"
    )
    for bank in sorted(set(sentences.banks)):
        is_own = np.array([each == bank for each in sentences.banks])
        found, stances = judged.probabilities[is_own], sentences.stances[is_own]
        sure, said = found.max(axis=1), found.argmax(axis=1)
        is_surer = sure >= np.median(sure)
        of_half = macro_f1(said[is_surer], stances[is_surer])
        print(f"    {bank or 'no bank named'}: {len(stances):,}, F1 {macro_f1(said, stances):.3f}, half {of_half:.3f}")


def load_documents(folder: Path, most: int, labelled: frozenset[str]) -> list[Document]:
    """Return the distinct documents and speeches that have a date, with some of their sentences about policy."""
    banks = pd.read_parquet(folder / "events" / "central_bank_documents_8banks_to_2020.parquet")
    speeches = pd.read_parquet(folder / "events" / "fed_speeches_1996_2020.parquet")
    rows = [
        *zip(banks.central_bank, ["document"] * len(banks), banks.available_date, banks.text, strict=True),
        *zip([FED] * len(speeches), ["speech"] * len(speeches), speeches.speech_date, speeches.text, strict=True),
    ]
    found, seen = [], set()
    for bank, kind, day, text in rows:
        if pd.isna(day) or not text or text in seen:
            continue
        seen.add(text)
        sentences = [each for each in policy_sentences(text) if fold(each) not in labelled]
        chosen = np.unique(np.linspace(0, len(sentences) - 1, min(most, len(sentences))).astype(int))
        if sentences:
            found.append(Document(bank, kind, day.date(), tuple(sentences[at] for at in chosen)))
    return sorted(found, key=lambda each: (each.day, each.bank, each.sentences))


def read_documents(documents: Sequence[Document], head: StanceHead, vectors: Vectors) -> list[StanceCounts]:
    """Return the counts of each document."""
    distinct = list(dict.fromkeys(each for document in documents for each in document.sentences))
    said = dict(
        zip(distinct, stances_of(head.probabilities(distinct, vectors.of(distinct)), head.sureness), strict=True)
    )
    names = ("hawkish", "dovish", "neutral", "not sure")
    return [StanceCounts(*(sum(said[each] == name for each in one.sentences) for name in names)) for one in documents]


def ranks(values: Float64Vector) -> Float64Vector:
    """Return ranks, those of equal values their mean."""
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def rank_correlation(ours: Float64Vector, theirs: Float64Vector, given: Float64Vector | None = None) -> float:
    """Return Spearman's correlation, or the partial one given a third series."""
    columns = [ranks(each) for each in (ours, theirs, *([] if given is None else [given]))]
    if any(np.ptp(column) == 0 for column in columns):
        return float("nan")
    found = np.asarray(np.corrcoef(columns), dtype=np.float64)
    if given is None:
        return float(found[0, 1])
    ab, ac, bc = found[0, 1], found[0, 2], found[1, 2]
    return float((ab - ac * bc) / np.sqrt((1 - ac * ac) * (1 - bc * bc)))


def print_correlations(
    name: str, days: Sequence[date], nets: Float64Vector, levels: pd.DataFrame, block_years: float
) -> None:
    """Print how the net goes with the rate a year on, alone and beyond the two-year yield less the rate."""
    rate, two = levels.fed_funds_effective_pct.ffill(limit=5), levels.treasury_2y_pct.ffill(limit=5)
    at = pd.to_datetime(list(days))
    now, then = rate.reindex(at).to_numpy(), rate.reindex(at + YEAR).to_numpy()
    spread = two.reindex(at).to_numpy() - now
    is_known = np.isfinite(nets) & np.isfinite(now) & np.isfinite(then) & np.isfinite(spread)
    net, change, spread = nets[is_known], (then - now)[is_known], spread[is_known]
    n_years = (max(days) - min(days)).days / 365.25
    block = max(2, round(block_years * len(net) / n_years))
    for label, third in (("alone", None), ("given 2y - fed funds", spread)):
        value = rank_correlation(net, change, third)
        low, high = interval_of(_resampled(net, change, third, block))
        print(f"  {name}, {label}: {value:+.2f} ({low:+.2f} to {high:+.2f}), {len(net)} texts, blocks of {block}")


def _resampled(net: Float64Vector, change: Float64Vector, third: Float64Vector | None, block: int) -> Float64Vector:
    generator = np.random.default_rng(SEED)
    drawn: Iterable[Int64Vector] = (stationary_rows(generator, len(net), block) for _ in range(N_RESAMPLES))
    return np.array(
        [rank_correlation(net[rows], change[rows], None if third is None else third[rows]) for rows in drawn]
    )


def print_documents(
    documents: Sequence[Document], head: StanceHead, vectors: Vectors, levels: pd.DataFrame, block_years: float
) -> None:
    """Print the stance of each bank's texts, and how the Federal Reserve's goes with its rate a year on."""
    counts = read_documents(documents, head, vectors)
    for bank, kind in sorted({(each.bank, each.kind) for each in documents}):
        own = [at for at, each in enumerate(documents) if (each.bank, each.kind) == (bank, kind)]
        total = sum((counts[at] for at in own), StanceCounts())
        print(f"  {bank}, {PLURALS[kind]}: {len(own)}, {total.n_sentences:,} sentences: {total.describe()}")
    for kind in ("document", "speech"):
        own = [at for at, each in enumerate(documents) if (each.bank, each.kind) == (FED, kind)]
        if own:
            nets = np.array([np.nan if counts[at].net is None else counts[at].net for at in own], dtype=np.float64)
            print_correlations(
                f"Federal Reserve, {kind}s", [documents[at].day for at in own], nets, levels, block_years
            )


def main() -> None:
    """Print the figures of the files named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="+", type=Path, metavar="LABELS")
    parser.add_argument("--texts", type=Path, metavar="FOLDER")
    parser.add_argument("--column", action="append", default=[], metavar="FIELD=COLUMN")
    parser.add_argument("--most-sentences", type=int, default=8, metavar="N")
    parser.add_argument("--only", choices=["document", "speech"], help="only texts of this kind")
    parser.add_argument("--bank", help="only texts of this bank, such as federal_reserve_system")
    parser.add_argument("--block-years", type=float, default=1.0, metavar="YEARS")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="an .npz that keeps vectors")
    given = parser.parse_args()
    vectors = Vectors(given.cache)
    for name, sentences in load_labels(given.labels, given.column).items():
        found = vectors.of(sentences.texts)
        judged = judge(sentences, found)
        print_figures(name, sentences, judged)
    if given.texts is None:
        return
    fit = fit_heads(sentences.texts, found, sentences.stances)
    head = StanceHead(fit, judged.temperature, judged.figures.sureness, sentences.until, {}, {})
    documents = load_documents(given.texts, given.most_sentences, frozenset(sentences.texts))
    chosen = [each for each in documents if given.only in (None, each.kind) and given.bank in (None, each.bank)]
    levels = pd.read_csv(
        given.texts / "sample" / "macro_levels_daily.csv", index_col="obs_date", parse_dates=["obs_date"]
    )
    print_documents(chosen, head, vectors, levels, given.block_years)


if __name__ == "__main__":
    main()
