"""How well the product itself finds: the questions of `text_search` on Reuters, through a database and `SearchTexts`.

    python -m benchmarks.search_product FOLDER [--one-in N]

FOLDER keeps MiniLM's vectors, as there; of the stories one in N is taken, for a quick look. Bodies are stored with
their vectors and passages in an embedded server of the benchmark's own; headlines are asked by words, by meaning and by
both. Beside the product's figures stand those of a plain twin, over the same vectors and the stems that the database
counted, and how often both put the same ten texts first in the same order. Where they differ, the product has taken
near-copies for one text, or sorted by the direction that a headline asks for.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.search_corpora import Embedded, Passages, Story, reuters_stories
from benchmarks.search_rankers import best_passages, text_vectors, z_sum
from benchmarks.servers import own_server
from benchmarks.text_encoding import NAME
from benchmarks.text_search import DEPTH, ndcg, order, questions_of
from prometheus.analogs.words import Collection, Postings, bm25
from prometheus.app import App
from prometheus.app.text_search import By, TextQuery
from prometheus.arrays import Float32Vector, Float64Vector
from prometheus.data.models import ModelRegistry
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.data.words import TextWords
from prometheus.encoders.identity import model_config
from prometheus.encoders.texts import documents
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.service import KIND
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.errors import NotFoundError

MODEL_ID, AS_OF = "text-minilm-v1", date(1990, 1, 1)
FIRST = datetime(1987, 1, 1, tzinfo=UTC)
FOUND = 100
"""Hits asked for; a body that stands behind them counts as not found."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Stories in a database, numbered from 1, with the vectors and the counts of stems that stand there."""

    passages: Passages
    stems: list[Mapping[str, int]]

    def order(self, asked: Mapping[str, int], vector: Float32Vector, by: By) -> list[int]:
        """Return the positions of all stories as the twin ranks them, the best first."""
        lengths = np.array([sum(each.values()) for each in self.stems])
        collection = Collection(len(lengths), int(lengths.sum()))
        postings = []
        for stem, weight in asked.items():
            at = np.array([place for place, each in enumerate(self.stems) if stem in each], dtype=np.int64)
            postings.append(Postings(at, np.array([self.stems[place][stem] for place in at], dtype=np.int64), weight))
        words = bm25(postings, lengths, collection)
        near = best_passages(self.passages, len(lengths), vector)
        scores: dict[str, Float64Vector] = {"words": words, "meaning": near, "both": z_sum([words, near])}
        found: list[int] = order(scores[by]).tolist()
        return found if by != "words" else [at for at in found if words[at] > 0]


def store(app: App, stories: Sequence[Story], embedded: Embedded) -> Stored:
    """Write the bodies, their vectors and their passages."""
    passages = embedded.passages([each.body for each in stories])
    vectors = text_vectors(passages, len(stories))
    rows = [(at + 1, FIRST + timedelta(minutes=at), each.body) for at, each in enumerate(stories)]
    with app.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO news_articles (article_id, published_at, body) VALUES (%s, %s, %s)", rows)
    ModelRegistry(app.db_manager).register(MODEL_ID, KIND, model_config(OnnxTextEmbeddingModel(find_text_folder(NAME))))
    docs = [TextDoc("NEWS", str(at + 1), each.body) for at, each in enumerate(stories)]
    cuts = [np.array(passages.cuts)[passages.owners == at] for at in range(len(stories))]
    pieces = [
        documents.Passages(each, passages.vectors[passages.owners == at]) if len(each) > 1 else None
        for at, each in enumerate(cuts)
    ]
    n_chunks = [len(each) for each in cuts]
    TextEmbeddingStore(db_manager=app.db_manager).save_embeddings(
        docs, MODEL_ID, vectors, n_chunks=n_chunks, passages=pieces
    )
    query = "SELECT stems, counts FROM text_words ORDER BY source_id"
    with app.db_manager.get_historical_connection() as connection:
        counted = connection.execute(query).fetchall()
    return Stored(passages, [dict(zip(stems, counts, strict=True)) for stems, counts in counted])


def judge(app: App, stories: Sequence[Story], stored: Stored, embedded: Embedded, by: By) -> dict[str, float]:
    """Return the figures of product and twin, and how often their first ten are the same."""
    words, rows = TextWords(app.db_manager), []
    asked = questions_of(stories)
    for at, vector in zip(asked, embedded.vectors([stories[each].headline for each in asked]), strict=True):
        headline = stories[at].headline
        ours = found_by_product(app, headline, by)
        twins = stored.order(words.stems(headline, [0]).get(0, {}), vector, by)
        row = {"same first ten": float(ours[:DEPTH] == twins[:DEPTH])}
        row["shared of ten"] = len(set(ours[:DEPTH]) & set(twins[:DEPTH])) / DEPTH
        for name, found in (("product", ours), ("twin", twins[:FOUND])):
            grades = [bool(stories[each].topics & stories[at].topics) for each in found if each != at]
            every = [bool(each.topics & stories[at].topics) for place, each in enumerate(stories) if place != at]
            row[f"topics nDCG, {name}"] = ndcg(grades[:DEPTH], every)
            row[f"bodies MRR, {name}"] = 1.0 / (1 + found.index(at)) if at in found else 0.0
        rows.append(row)
    return {"questions": float(len(rows)), **{name: float(np.mean([row[name] for row in rows])) for name in rows[0]}}


def found_by_product(app: App, headline: str, by: By) -> list[int]:
    """Return the positions of the stories that the product finds, the best first."""
    try:
        report = app.text_search.find(TextQuery(headline, AS_OF, FOUND, "news", hf_model_name=NAME, by=by))
    except NotFoundError:  # no story has a word of the headline
        return []
    return [hit.text.source_id - 1 for hit in report.hits]


def main() -> None:
    """Print the figures of each way to rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="keeps the vectors; made if it is not there")
    parser.add_argument("--one-in", type=int, default=1, help="of the stories, take one in this number")
    given = parser.parse_args()
    stories, embedded = reuters_stories()[:: given.one_in], Embedded(given.folder)
    with own_server() as app:
        stored = store(app, stories, embedded)
        found = {by: judge(app, stories, stored, embedded, by) for by in get_args(By)}
    print(f"{len(stories)} stories{'':14}" + "".join(f"{by:>10}" for by in found))
    for label in found["both"]:
        print(f"{label:26}" + "".join(f"{each[label]:10.3f}" for each in found.values()))


if __name__ == "__main__":
    main()
