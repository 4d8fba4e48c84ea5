"""How well texts are found: four rankings side by side, on questions with judged texts, and on Reuters.

    python -m benchmarks.text_search FOLDER

FOLDER keeps MiniLM's vectors (13 MB); the first run fills it, in some ten minutes of one core. Needs `../shared/data`.

- *policy*: `search_questions.json` over texts of central banks. Pooled were the ten best of words and of both together,
  and the seven best of the other two. One reader, who also wrote the questions, read some 200
  characters of each, where the question's words stand closest: 2 where they say something on its subject, 1 where they
  touch it, 0 else. It saw what words had found first, so the grades are not blind. A text that was not pooled counts as
  0; in *policy of judged* it is left out, which takes the part of the rankings that were pooled less deeply. Texts are
  named by id, and where they answer by five words.
- *topics*: a headline should find stories that share a topic with its own; *bodies*: it should find its own body.

*static* is `--runtime static`, the model's words without its network, *and words* its sum with words; headlines are
embedded by both models at the end, and their speed told in processor time.

Intervals are of 95 %, over questions drawn again with replacement.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.search_corpora import Embedded, Passages, Story, policy_texts, reuters_stories
from benchmarks.search_rankers import Bm25, best_passages, stems, text_vectors, z_sum
from prometheus.analogs.closeness import LEAST_RANK, drawn_texts, random_questions, rank_among
from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector, Int64Vector
from prometheus.evaluation.bootstrap import draw_counts, interval_of

QUESTIONS = Path(__file__).with_name("search_questions.json")
NONSENSE = Path(__file__).with_name("nonsense_questions.txt")
RANKINGS = ("vector", "passage", "words", "together", "static", "and words")
DEPTH = 10
MOST_OF_A_TOPIC = 12
BARS = {"policy nDCG": 0.15, "topics nDCG": 0.02, "bodies MRR": 0.06}
BELOW_WORDS = 0.01
KEPT, REFUSED = 0.95, 0.9


Texts = dict[str, str]
Figures = dict[str, Float64Vector]
"""Of each ranking one figure a question, shape (n_questions,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Texts with what each ranking needs of them."""

    passages: Passages
    vectors: Float32Matrix
    words: Bm25
    embedded: Embedded
    static: Float32Matrix

    @classmethod
    def of(cls, texts: Sequence[str], embedded: Embedded) -> Searched:
        """Embed texts, or read the vectors kept."""
        passages = embedded.passages(texts)
        return cls(passages, text_vectors(passages, len(texts)), Bm25(texts), embedded, embedded.static(texts))

    def rank(self, question: str, vector: Float32Vector) -> dict[str, Float64Vector]:
        """Return the score of each text by each ranking, shape (n_texts,)."""
        best = best_passages(self.passages, len(self.vectors), vector)
        words = self.words.scores(question)
        whole = self.vectors.astype(np.float64) @ vector
        static = self.static.astype(np.float64) @ self.embedded.static([question])[0]
        scores = (whole, best, words, z_sum([words, best]), static, z_sum([words, static]))
        return dict(zip(RANKINGS, scores, strict=True))


def judge_policy(embedded: Embedded) -> dict[str, Figures]:
    """Return nDCG, and the share of the first ten that was judged, of the questions about central banks."""
    texts = policy_texts()
    ids = list(texts)
    searched = Searched.of(list(texts.values()), embedded)
    entries = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    rows: list[Mapping[str, Mapping[str, float]]] = []
    for entry, vector in zip(entries, embedded.vectors([each["question"] for each in entries]), strict=True):
        grades = dict.fromkeys(entry["zero"], 0) | {text_id: grade for text_id, (grade, _) in entry["judged"].items()}
        ranked = {
            name: [ids[at] for at in order(scores)] for name, scores in searched.rank(entry["question"], vector).items()
        }
        rows.append(
            {
                "policy nDCG": {
                    name: ndcg([grades.get(each, 0) for each in found], grades.values())
                    for name, found in ranked.items()
                },
                "policy of judged": {
                    name: ndcg([grades[each] for each in found if each in grades], grades.values())
                    for name, found in ranked.items()
                },
                "policy judged": {
                    name: float(np.mean([each in grades for each in found[:DEPTH]])) for name, found in ranked.items()
                },
            }
        )
    return collect(rows)


def judge_reuters(embedded: Embedded) -> dict[str, Figures]:
    """Return what headlines find among the bodies: stories of a shared topic, and their own body."""
    stories = reuters_stories()
    searched = Searched.of([each.body for each in stories], embedded)
    asked = questions_of(stories)
    rows = []
    for at, vector in zip(asked, embedded.vectors([stories[each].headline for each in asked]), strict=True):
        is_alike = np.array([bool(each.topics & stories[at].topics) for each in stories])
        is_alike[at] = False
        row: dict[str, dict[str, float]] = {"topics nDCG": {}, "topics precision": {}, "bodies MRR": {}}
        for name, scores in searched.rank(stories[at].headline, vector).items():
            ranked = order(scores)
            grades = is_alike[ranked[ranked != at]].astype(int)
            row["topics nDCG"][name] = ndcg(grades, grades)
            row["topics precision"][name] = float(grades[:DEPTH].mean())
            row["bodies MRR"][name] = 1.0 / (1 + int(np.flatnonzero(ranked == at)[0]))
        rows.append(row)
    return collect(rows)


def questions_of(stories: Sequence[Story]) -> list[int]:
    """Return which stories' headlines are asked: in order, with a topic, a few of each first topic."""
    asked: list[int] = []
    n_asked: Counter[str] = Counter()
    for at, story in enumerate(stories):
        n_alike = sum(bool(each.topics & story.topics) for each in stories)
        if story.topics and n_alike > DEPTH and n_asked[min(story.topics)] < MOST_OF_A_TOPIC:
            n_asked[min(story.topics)] += 1
            asked.append(at)
    return asked


def judge_closeness(title: str, texts: Sequence[str], questions: Sequence[str]) -> str:
    """Return how many real questions have a close text, and how many of nonsense have none, in a line."""
    words = Bm25(texts)
    drawn = [set(stems(texts[at])) for at in drawn_texts(len(texts))]

    @cache
    def best_of_random(n_stems: int) -> Float64Vector:
        return np.array([words.best_share(asked) for asked in random_questions(drawn, n_stems)])

    def is_close(question: str) -> bool:
        asked = sorted(set(stems(question)))
        return bool(rank_among(np.array([words.best_share(asked)]), best_of_random(len(asked)))[0] >= LEAST_RANK)

    kept = np.mean([is_close(each) for each in questions])
    nonsense = NONSENSE.read_text(encoding="utf-8").splitlines()
    refused = np.mean([not is_close(each) for each in nonsense])
    verdict = "held" if kept >= KEPT and refused >= REFUSED else "missed"
    return (
        f"{title} closeness: {kept:.1%} of {len(questions)} real questions kept, {refused:.1%} of {len(nonsense)} of "
        f"nonsense refused; {verdict}: {KEPT:.0%} and {REFUSED:.0%}"
    )


def collect(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Figures]:
    """Return the figures of questions as one vector a ranking."""
    return {
        figure: {name: np.array([float(row[figure][name]) for row in rows]) for name in RANKINGS} for figure in rows[0]
    }


def ndcg(grades: Iterable[int], all_grades: Iterable[int]) -> float:
    """Return the discounted gain of the first ten grades, as a share of the most that ten could have."""
    most = _gain(sorted(all_grades, reverse=True))
    return _gain(grades) / most if most else 0.0


def _gain(grades: Iterable[int]) -> float:
    return sum((2.0**grade - 1.0) / math.log2(rank + 2) for rank, grade in enumerate(islice(grades, DEPTH)))


def order(scores: Float64Vector) -> Int64Vector:
    """Return positions, the best first; of equal scores the earlier."""
    return np.argsort(-scores, kind="stable")


def difference(ours: Float64Vector, theirs: Float64Vector) -> tuple[float, float, float]:
    """Return the mean difference and the bounds of its interval."""
    counts = draw_counts(len(ours), mean_block=1)
    low, high = interval_of(counts.astype(np.float64) @ (ours - theirs) / len(ours))
    return float((ours - theirs).mean()), low, high


def lines(found: Mapping[str, Figures]) -> Iterator[str]:
    """Yield the table, and whether each bar is held."""
    yield (
        f"{'':18}{'questions':>10}"
        + "".join(f"{name:>10}" for name in RANKINGS)
        + f"{'gain on vector':>24}{'on words':>24}"
    )
    for figure, by in found.items():
        means = "".join(f"{by[name].mean():10.3f}" for name in RANKINGS)
        gains = [difference(by["together"], by[name]) for name in ("vector", "words")]
        told = "".join(f"{f'{gain:+.3f} ({low:+.3f}, {high:+.3f})':>24}" for gain, low, high in gains)
        yield f"{figure:18}{len(by['vector']):10}{means}{told}"
        if figure in BARS:
            is_held = gains[0][0] >= BARS[figure] and gains[0][1] > 0 and gains[1][0] >= -BELOW_WORDS
            verdict = "held" if is_held else "missed"
            yield f"{'':18}{verdict}: {BARS[figure]:+.2f} on vector, not more than {BELOW_WORDS} below words"


def rate(texts: Sequence[str], embed: Callable[[Sequence[str]], Float32Matrix]) -> float:
    """Return how many texts are embedded in a second of processor time, the best of three tries."""
    tries = []
    for _ in range(3):
        begun = time.process_time()
        embed(texts)
        tries.append(time.process_time() - begun)
    return len(texts) / min(tries)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps the vectors; made if it is not there")
    embedded = Embedded(parser.parse_args().folder)
    for judge in (judge_policy, judge_reuters):
        print("\n".join(lines(judge(embedded))), flush=True)
    asked = [each["question"] for each in json.loads(QUESTIONS.read_text(encoding="utf-8"))]
    print(judge_closeness("policy", list(policy_texts().values()), asked), flush=True)
    stories = reuters_stories()
    headlines = [stories[at].headline for at in questions_of(stories)]
    print(judge_closeness("Reuters", [each.body for each in stories], headlines), flush=True)
    every = [each.headline for each in stories]
    rates = {name: rate(every, embed) for name, embed in (("static", embedded.static), ("MiniLM", embedded.vectors))}
    print("headlines a second of processor time: " + ", ".join(f"{name} {each:,.0f}" for name, each in rates.items()))


if __name__ == "__main__":
    main()
