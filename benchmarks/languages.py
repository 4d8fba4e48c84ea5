"""What the model of a hundred languages finds across them, beside MiniLM, and what it costs.

    python -m benchmarks.languages [--english]

Twins: 42 sentences of policy and markets, written for this benchmark in English and translated by the same hand into
six languages (`parallel_sentences.txt`); each should be nearest, by cosine, to its own translation among the 42.

Costs: sentences and a long text embedded in processes of their own, each with as many threads as there are cores.

``--english`` adds what is lost on English: one in six of the stories of `benchmarks.text_search`, found by headlines,
alone and together with BM25. Some three minutes of one core; needs `../shared/data`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.search_corpora import reuters_stories
from benchmarks.search_rankers import Bm25, z_sum
from benchmarks.text_encoding import NAME
from benchmarks.text_search import ndcg, order, questions_of
from prometheus.arrays import Float32Matrix
from prometheus.encoders.texts.documents import QUESTION, TextDoc
from prometheus.encoders.texts.multilingual import MultilingualTextModel
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder

SENTENCES = Path(__file__).with_name("parallel_sentences.txt")
BAR, N_LANGUAGES = 0.9, 5
ONE_STORY_IN = 6
REPEATED = 3


class Model(Protocol):
    """A text model."""

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector per text."""


MODELS: Mapping[str, Callable[[], Model]] = {
    "multilingual": MultilingualTextModel,
    "MiniLM": lambda: OnnxTextEmbeddingModel(find_text_folder(NAME)),
}


def sentences() -> dict[str, list[str]]:
    """Return the sentences of each language, in the same order."""
    found: dict[str, list[str]] = {}
    for line in filter(None, SENTENCES.read_text(encoding="utf-8").splitlines()):
        language, _, text = line.partition(": ")
        found.setdefault(language, []).append(text)
    return found


def embedded(model: Model, texts: Sequence[str], source: str = "NEWS") -> Float32Matrix:
    """Return the vectors of texts, shape (n, dim)."""
    return model.embed_batch([TextDoc(source, str(number), text) for number, text in enumerate(texts)])


def twins(model: Model) -> dict[str, tuple[float, float]]:
    """Return for each language the share of its sentences nearest to their English twins, and the other way round."""
    vectors = {language: embedded(model, texts).astype(np.float64) for language, texts in sentences().items()}
    english = vectors.pop("en")
    own = np.arange(len(english))
    return {
        language: (
            float(np.mean((each @ english.T).argmax(axis=1) == own)),
            float(np.mean((english @ each.T).argmax(axis=1) == own)),
        )
        for language, each in vectors.items()
    }


def print_twins() -> None:
    """Print the twins found by each model, and whether the bar is held."""
    found = {name: twins(made()) for name, made in MODELS.items()}
    print(f"{'twins found first':24}" + "".join(f"{language:>16}" for language in found["MiniLM"]))
    for name, shares in found.items():
        told = "".join(f"{f'{there:.3f} / {back:.3f}':>16}" for there, back in shares.values())
        print(f"{name:24}{told}")
    n_held = sum(min(both) >= BAR for both in found["multilingual"].values())
    verdict = "held" if n_held >= N_LANGUAGES else "missed"
    print(f"{verdict}: {BAR} both ways in {N_LANGUAGES} languages ({n_held} have it); to English / from English")


def costs(name: str) -> dict[str, float]:
    """Return what a model costs this process: seconds for sentences and for a long text, and memory in MiB."""
    without, begun = most_memory(), time.process_time()
    model = MODELS[name]()
    opened = time.process_time() - begun
    short = [text for texts in sentences().values() for text in texts]
    long = " ".join(sentences()["en"])

    def seconds(texts: Sequence[str]) -> tuple[float, float]:
        tries = []
        for _ in range(REPEATED):
            processor, wall = time.process_time(), time.perf_counter()
            embedded(model, texts)
            tries.append((time.process_time() - processor, time.perf_counter() - wall))
        return min(each for each, _ in tries), min(each for _, each in tries)

    short_s, long_s = seconds(short), seconds([long])
    return {
        "opened": opened, "short": len(short) / short_s[0], "short wall": len(short) / short_s[1],
        "letters": len(long) / long_s[0], "MiB": most_memory() - without,
    }  # fmt: skip


def most_memory() -> float:
    """Return the most memory this process had, in MiB; getrusage would count its parent's before exec, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def print_costs() -> None:
    """Print the costs of each model, in a process of its own."""
    found = {}
    for name in MODELS:
        command = [sys.executable, "-m", "benchmarks.languages", "--costs-of", name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[name] = json.loads(said.splitlines()[-1])
    for name, each in found.items():
        print(
            f"{name:16}{each['short']:8.0f} sentences a second of processor time ({each['short wall']:.0f} by the "
            f"clock), {each['letters']:8.0f} letters of a long text, {each['opened']:.2f} s to open, "
            f"{each['MiB']:.0f} MiB at most beyond what the script itself takes"
        )
    ours, theirs = found["multilingual"], found["MiniLM"]
    shares = [ours[each] / theirs[each] for each in ("short", "letters")]
    print(f"speed beside MiniLM: {shares[0]:.2f} of its sentences, {shares[1]:.2f} of its letters")


def print_english() -> None:
    """Print how well each model ranks English stories, alone and with words."""
    stories = reuters_stories()[::ONE_STORY_IN]
    words, asked = Bm25([each.body for each in stories]), questions_of(stories)
    heads = [stories[at].headline for at in asked]
    print(f"{len(stories)} stories, {len(asked)} headlines: topics nDCG and bodies MRR, alone; with words")
    for name, made in MODELS.items():
        model = made()
        bodies = embedded(model, [each.body for each in stories]).astype(np.float64)
        figures: dict[str, list[float]] = {"topics": [], "bodies": [], "topics with words": [], "bodies with words": []}
        for at, vector in zip(asked, embedded(model, heads, QUESTION), strict=True):
            is_alike = np.array([bool(each.topics & stories[at].topics) for each in stories])
            is_alike[at] = False
            cosines = bodies @ vector
            both = z_sum([words.scores(stories[at].headline), cosines])
            for scores, told in ((cosines, ""), (both, " with words")):
                ranked = order(scores)
                grades = is_alike[ranked[ranked != at]].astype(int)
                figures[f"topics{told}"].append(ndcg(grades, grades))
                figures[f"bodies{told}"].append(1.0 / (1 + int(np.flatnonzero(ranked == at)[0])))
        print(f"{name:16}" + ", ".join(f"{told} {np.mean(each):.3f}" for told, each in figures.items()), flush=True)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--english", action="store_true", help="what is lost on English, too")
    parser.add_argument("--costs-of", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.costs_of:
        print(json.dumps(costs(options.costs_of)))
        return
    print_twins()
    print_costs()
    if options.english:
        print_english()


if __name__ == "__main__":
    main()
