"""Whether a ridge from the static model's vectors to MiniLM's is worth an id of its own.

    python -m benchmarks.static_ridge FOLDER

FOLDER keeps MiniLM's vectors (19 MB); the first run makes them, in some eight minutes of one core. Needs
`../shared/data`.

Fitted on headlines and bodies of the first 2,000 Reuters stories by date, the strength chosen on the last 400 of them;
judged on one in four of the later stories, and on texts of central banks (the first 2,000 characters of each), which no
fit has seen. *map* is a matrix from static vectors to MiniLM's, *words too* adds a vector of its own to each word, by a
ridge over the counts of words.

- *rank agreement*: Spearman's correlation of the cosines of pairs of texts with MiniLM's cosines of the same pairs.
- *neighbours*: of the ten texts nearest to a text by MiniLM, the share that is among its ten nearest.
- *topics*, *policy*: nDCG of the sum with BM25, as `benchmarks.text_search` has it, and as a share of MiniLM's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.search_corpora import Embedded, Story, policy_texts, stories_by_date
from benchmarks.search_rankers import Bm25, z_sum
from benchmarks.text_search import DEPTH, QUESTIONS, ndcg, order, questions_of
from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector

N_FITTED, N_CHOOSING, ONE_LATER_IN = 2_000, 400, 4
POLICY_CHARACTERS = 2_000
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
N_PAIRS = 200_000
MODELS = ("static", "map", "words too", "MiniLM")


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Texts with their vectors by both models, shape (n_texts, dim)."""

    texts: Sequence[str]
    static: Float32Matrix
    minilm: Float32Matrix

    def part(self, which: slice) -> Vectors:
        """Return some of them."""
        return Vectors(self.texts[which], self.static[which], self.minilm[which])


class Ridge:
    """The map from static vectors, and what each word adds to it."""

    def __init__(self, fitted: Vectors, strength: float, word_strength: float) -> None:
        static, wanted = fitted.static.astype(np.float64), fitted.minilm.astype(np.float64)
        self._mean, self._target = static.mean(axis=0), wanted.mean(axis=0)
        centred = static - self._mean
        gram = centred.T @ centred + strength * np.eye(centred.shape[1])
        self._matrix = np.linalg.solve(gram, centred.T @ (wanted - self._target))
        self._words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
        self._counts: Any = self._words.fit_transform(fitted.texts)
        kernel = (self._counts @ self._counts.T).toarray() + word_strength * np.eye(len(static))
        self._weights = np.linalg.solve(kernel, wanted - self.mapped(fitted))

    def mapped(self, texts: Vectors) -> Float64Matrix:
        """Return what the matrix makes of texts, shape (n_texts, dim)."""
        found: Float64Matrix = (texts.static.astype(np.float64) - self._mean) @ self._matrix + self._target
        return found

    def with_words(self, texts: Vectors) -> Float64Matrix:
        """Return the same with the words' own part, shape (n_texts, dim)."""
        found: Float64Matrix = self.mapped(texts) + (self._words.transform(texts.texts) @ self._counts.T) @ (
            self._weights
        )
        return found

    def vectors(self, texts: Vectors) -> dict[str, Float64Matrix]:
        """Return the vectors of each model at unit length."""
        made = (texts.static, self.mapped(texts), self.with_words(texts), texts.minilm)
        return {name: _unit(np.asarray(each, np.float64)) for name, each in zip(MODELS, made, strict=True)}


def chosen_ridge(fitted: Vectors, n_choosing: int) -> tuple[Ridge, tuple[float, float]]:
    """Return the ridge of the strengths that serve the last texts best, fitted anew on all of them."""
    first, last = fitted.part(slice(None, -n_choosing)), fitted.part(slice(-n_choosing, None))

    def nearness(made: Float64Matrix) -> float:
        return float((_unit(made) * _unit(last.minilm.astype(np.float64))).sum(axis=1).mean())

    strength = max(STRENGTHS, key=lambda each: nearness(Ridge(first, each, 1.0).mapped(last)))
    word_strength = max(STRENGTHS, key=lambda each: nearness(Ridge(first, strength, each).with_words(last)))
    return Ridge(fitted, strength, word_strength), (strength, word_strength)


def agreements(vectors: Mapping[str, Float64Matrix]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield how far each model orders pairs, and finds neighbours, as MiniLM does."""
    generator = np.random.default_rng(31)
    n_texts = len(vectors["MiniLM"])
    some, others = generator.integers(0, n_texts, (2, N_PAIRS))
    some, others = some[some != others], others[some != others]
    cosines = {name: np.einsum("ij,ij->i", each[some], each[others]) for name, each in vectors.items()}
    yield (
        "rank agreement",
        {name: float(np.corrcoef(_ranks(each), _ranks(cosines["MiniLM"]))[0, 1]) for name, each in cosines.items()},
    )
    nearest = {name: _nearest(each) for name, each in vectors.items()}
    yield (
        "neighbours",
        {
            name: float(np.mean([len(set(a) & set(b)) / DEPTH for a, b in zip(each, nearest["MiniLM"], strict=True)]))
            for name, each in nearest.items()
        },
    )


def topics(
    stories: Sequence[Story], bodies: Mapping[str, Float64Matrix], heads: Mapping[str, Float64Matrix]
) -> dict[str, float]:
    """Return the nDCG of stories of a shared topic, found by a headline."""
    words = Bm25([each.body for each in stories])
    gains: dict[str, list[float]] = {name: [] for name in MODELS}
    for at in questions_of(stories):
        is_alike = np.array([bool(each.topics & stories[at].topics) for each in stories])
        is_alike[at] = False
        said = words.scores(stories[at].headline)
        for name in MODELS:
            ranked = order(z_sum([said, bodies[name] @ heads[name][at]]))
            grades = is_alike[ranked[ranked != at]].astype(int)
            gains[name].append(ndcg(grades, grades))
    return {name: float(np.mean(each)) for name, each in gains.items()}


def policy(
    ids: Sequence[str], texts: Mapping[str, Float64Matrix], words: Bm25, asked: Mapping[str, Float64Matrix]
) -> dict[str, float]:
    """Return the nDCG of the judged texts of central banks."""
    gains: dict[str, list[float]] = {name: [] for name in MODELS}
    for number, entry in enumerate(json.loads(QUESTIONS.read_text(encoding="utf-8"))):
        grades = dict.fromkeys(entry["zero"], 0) | {each: grade for each, (grade, _) in entry["judged"].items()}
        said = words.scores(entry["question"])
        for name in MODELS:
            ranked = [ids[at] for at in order(z_sum([said, texts[name] @ asked[name][number]]))]
            gains[name].append(ndcg([grades[each] for each in ranked if each in grades], grades.values()))
    return {name: float(np.mean(each)) for name, each in gains.items()}


class Kept:
    """Vectors of texts; those of MiniLM are kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._embedded = folder, Embedded(folder)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return both vectors of texts."""
        file = self._folder / f"whole-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:24]}.npy"
        if not file.is_file():
            np.save(file, self._embedded.vectors(texts))
        return Vectors(texts, self._embedded.static(texts), np.load(file))


def _ranks(values: Float64Vector) -> Int64Vector:
    return np.argsort(np.argsort(values))


def _unit(vectors: Float64Matrix) -> Float64Matrix:
    found: Float64Matrix = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def _nearest(vectors: Float64Matrix) -> list[list[int]]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2.0)
    return [each.tolist() for each in np.argpartition(-cosines, DEPTH, axis=1)[:, :DEPTH]]


def _print(title: str, found: Mapping[str, float]) -> None:
    shares = f"   of MiniLM's: map {found['map'] / found['MiniLM']:.3f}, static {found['static'] / found['MiniLM']:.3f}"
    print(f"{title:28}" + "".join(f"{found[name]:11.3f}" for name in MODELS) + shares, flush=True)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps the vectors; made if it is not there")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    kept = Kept(folder)
    stories = stories_by_date()
    first, later = stories[:N_FITTED], stories[N_FITTED::ONE_LATER_IN]
    in_order = [text for each in first for text in (each.headline, each.body)]  # the last stories choose the strength
    ridge, strengths = chosen_ridge(kept.vectors(in_order), 2 * N_CHOOSING)
    print(f"{len(first)} stories fitted, strengths {strengths}; {len(later)} later stories judged", flush=True)
    print(f"{'':28}" + "".join(f"{name:>11}" for name in MODELS))
    bodies = ridge.vectors(kept.vectors([each.body for each in later]))
    heads = ridge.vectors(kept.vectors([each.headline for each in later]))
    for title, found in agreements(bodies):
        _print(f"later stories, {title}", found)
    _print("later stories, topics", topics(later, bodies, heads))
    banks = {name: text[:POLICY_CHARACTERS] for name, text in policy_texts().items()}
    texts = ridge.vectors(kept.vectors(list(banks.values())))
    questions = [each["question"] for each in json.loads(QUESTIONS.read_text(encoding="utf-8"))]
    for title, found in agreements(texts):
        _print(f"central banks, {title}", found)
    _print(
        "central banks, policy",
        policy(list(banks), texts, Bm25(banks.values()), ridge.vectors(kept.vectors(questions))),
    )


if __name__ == "__main__":
    main()
