"""The texts that searches are judged on, and their passages' vectors, kept in a folder of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.text_encoding import DATA, NAME, chunk_cuts
from prometheus.arrays import Float32Matrix, Int64Vector
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.encoders.texts.word_vectors import StaticTextModel

TEXTS_AT_ONCE = 20
ONE_IN = {"doc": 4, "speech": 24, "turn": 8, "story": 5}
"""Of how many texts one is searched, so that MiniLM reads all of them within ten minutes of one core."""
EVENTS = DATA / "events"
BANKS = EVENTS / "central_bank_documents_8banks_to_2020.parquet"
SPEECHES = EVENTS / "fed_speeches_1996_2020.parquet"
CONFERENCES = EVENTS / "fomc_press_conf_turns_2011_2020.parquet"
REUTERS = DATA / "news" / "reuters_1987_first11000.parquet"


class Story(NamedTuple):
    """A Reuters story that has a headline and a body."""

    text_id: str
    headline: str
    body: str
    topics: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Passages:
    """The passages of texts: whose each is, shape (n,), where it begins and ends there, and its unit vector."""

    owners: Int64Vector
    cuts: tuple[tuple[int, int], ...]
    vectors: Float32Matrix


def policy_texts() -> dict[str, str]:
    """Return the distinct texts of central banks by id: documents, speeches, and turns of press conferences."""
    named = {
        **{f"doc:{row['doc_id']}": row["text"] for row in read_rows(BANKS)},
        **{f"speech:{row['key']}": row["text"] for row in read_rows(SPEECHES)},
        **{f"turn:{row['conf_date']:%Y-%m-%d}#{row['turn']}": row["text"] for row in read_rows(CONFERENCES)},
    }
    first = {text: text_id for text_id, text in reversed(named.items()) if text and text.strip()}
    kept = [text_id for text_id, text in named.items() if first.get(text) == text_id]
    kinds = {
        kind: [text_id for text_id in kept if text_id.startswith(f"{kind}:")] for kind in ("doc", "speech", "turn")
    }
    return {text_id: named[text_id] for kind, ids in kinds.items() for text_id in ids[:: ONE_IN[kind]]}


def reuters_stories() -> list[Story]:
    """Return one in five of the stories with a headline and a body, of equal bodies the first."""
    return _stories(read_rows(REUTERS))[:: ONE_IN["story"]]


def stories_by_date() -> list[Story]:
    """Return all stories with a headline and a body in the order of their dates, of equal bodies the first."""
    return _stories(sorted(read_rows(REUTERS), key=lambda row: (str(row["published_at"]), int(row["news_id"]))))


def _stories(rows: Iterable[dict[str, Any]]) -> list[Story]:
    found: dict[str, Story] = {}
    for row in rows:
        headline, body = (row["headline"] or "").strip(), (row["body"] or "").strip()
        if headline and body:
            topics = frozenset(filter(None, (row["topics"] or "").split("|")))
            found.setdefault(body, Story(str(row["news_id"]), headline, body, topics))
    return list(found.values())


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


class Embedded:
    """MiniLM's vectors of texts; a block of texts that was embedded before is read from the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model = OnnxTextEmbeddingModel(find_text_folder(NAME), cache_dir=folder)
        self._static = StaticTextModel(find_text_folder(NAME), folder)

    def passages(self, texts: Sequence[str]) -> Passages:
        """Return the passages of texts, in their order: what the model reads at once."""
        blocks = [self._block(texts[start:end]) for start, end in pairwise(_bounds(len(texts)))]
        cuts = [cuts for block, _ in blocks for cuts in block]
        owners = np.repeat(np.arange(len(texts)), [len(each) for each in cuts])
        return Passages(
            owners, tuple(cut for each in cuts for cut in each), np.concatenate([each for _, each in blocks])
        )

    def vectors(self, texts: Sequence[str]) -> Float32Matrix:
        """Return one vector a text, of the first passage alone."""
        return self._model.embed_batch([TextDoc("QUESTION", "1", text) for text in texts])

    def static(self, texts: Sequence[str]) -> Float32Matrix:
        """Return one vector a text, of its words alone."""
        return self._static.embed_batch([TextDoc("TEXT", "1", text) for text in texts])

    def _block(self, texts: Sequence[str]) -> tuple[list[list[tuple[int, int]]], Float32Matrix]:
        name = hashlib.sha256("\0".join((NAME, *texts)).encode()).hexdigest()[:24]
        file = self._folder / f"{name}.npy"
        cuts = [found or [(0, len(text))] for found, text in zip(chunk_cuts(texts), texts, strict=True)]
        if not file.is_file():
            pieces = [text[first:last] for text, each in zip(texts, cuts, strict=True) for first, last in each]
            self._folder.mkdir(parents=True, exist_ok=True)
            np.save(file, self.vectors(pieces))
        kept: Float32Matrix = np.load(file)
        return cuts, kept


def _bounds(n_texts: int) -> Iterator[int]:
    yield from range(0, n_texts, TEXTS_AT_ONCE)
    yield n_texts
