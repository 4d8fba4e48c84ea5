"""Text encoding against sentence-transformers on the same chunks, in alternation; needs `../shared/data`.

Run ``python -m benchmarks.text_encoding``. Where sentence-transformers is not importable, it says how to get it into an
environment of its own; the model measured never needs it. Both sides get the same strings, cut at 254 tokens, and both
tokenize them. Others may use the machine: only the ratios of neighbouring runs count, and their median.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.recording import write_result
from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel, read_tokenizer
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.encoders.texts.word_vectors import StaticTextModel

NAME = "sentence-transformers/all-MiniLM-L6-v2"
DATA = Path(__file__).parents[2] / "shared" / "data"
N_PAIRS = 3
BODY_TOKENS = 254
FLOPS_PER_TOKEN = 6 * 2 * 384 * (4 * 384 + 2 * 1536)
FLOPS_PER_PAIR_OF_TOKENS = 6 * 2 * 2 * 384

Encode = Callable[[list[str]], Float32Matrix]


def central_bank_texts(n_documents: int) -> list[str]:
    table = pq.read_table(DATA / "events" / "central_bank_documents_8banks_to_2020.parquet", columns=["text"])
    texts = [text for text in table.column("text").to_pylist() if text and text.strip()]
    return texts[:: max(1, len(texts) // n_documents)][:n_documents]


def news_texts(n_articles: int) -> list[str]:
    table = pq.read_table(DATA / "news" / "reuters_1987_first11000.parquet", columns=["headline", "body"])
    texts = [f"{row['headline'] or ''}\n\n{row['body'] or ''}".strip() for row in table.to_pylist()]
    return [text for text in texts if text][:n_articles]


def chunk_strings(texts: list[str], folder: Path | None = None) -> list[str]:
    """Return the pieces of the texts that the model reads one by one, as strings."""
    return [
        text[first:last] for text, cuts in zip(texts, chunk_cuts(texts, folder), strict=True) for first, last in cuts
    ]


def chunk_cuts(texts: Sequence[str], folder: Path | None = None) -> list[list[tuple[int, int]]]:
    """Return where the pieces of each text begin and end, in characters; none of a text without a token."""
    tokenizer: Any = read_tokenizer((folder or find_text_folder(NAME)) / "tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = []
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        offsets = encoding.offsets
        parts = (offsets[start : start + BODY_TOKENS] for start in range(0, len(offsets), BODY_TOKENS))
        found.append([(part[0][0], part[-1][1]) for part in parts])
    return found


def our_encoder(threads: int | None = None) -> Encode:
    model = OnnxTextEmbeddingModel(find_text_folder(NAME), long_text="truncate", threads=threads)
    return lambda texts: model.embed_batch([TextDoc("BENCH", "1", text) for text in texts])


def reference_encoder() -> Encode:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 -- not needed for the other figures

    model = SentenceTransformer(str(find_text_folder(NAME)), device="cpu")
    return lambda texts: np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False), dtype=np.float32)


def seconds(encode: Encode, texts: list[str]) -> tuple[float, Float32Matrix]:
    begin = time.perf_counter()
    vectors = encode(texts)
    return time.perf_counter() - begin, vectors


def compare(title: str, texts: list[str], ours: Encode, reference: Encode) -> float:
    """Print the medians of how many times as long the reference takes, and return that of processor time."""
    ratios, used = [], []
    ours(texts[:64])
    reference(texts[:64])
    for _ in range(N_PAIRS):
        begun = time.process_time()
        mine, vectors = seconds(ours, texts)
        between = time.process_time()
        theirs, expected = seconds(reference, texts)
        ratios.append(theirs / mine)
        used.append((time.process_time() - between) / (between - begun))
    cosine = float((unit_rows(vectors) * unit_rows(expected)).sum(axis=1).min())
    print(
        f"{title}: {len(texts)} chunks; sentence-transformers takes {statistics.median(used):.2f} times the processor "
        f"time (of {N_PAIRS}: {min(used):.2f} to {max(used):.2f}), {statistics.median(ratios):.2f} times that of the "
        f"clock; largest difference {np.abs(vectors - expected).max():.1e}, smallest cosine 1 - "
        f"{max(0.0, 1 - cosine):.1e}",
        flush=True,
    )
    return statistics.median(used)


def compare_static(texts: list[str], ours: Encode, cache_dir: Path) -> None:
    """Tell how much faster the model of words alone is; it gives vectors of another kind."""
    model = StaticTextModel(find_text_folder(NAME), cache_dir)
    docs = [TextDoc("BENCH", "1", text) for text in texts]
    begun = time.process_time()
    model.embed_batch(docs)
    between = time.process_time()
    ours(texts[: len(texts) // 10])
    took, ours_took = between - begun, 10 * (time.process_time() - between)
    print(
        f"static model: {len(texts) / took:,.0f} chunks of news a processor second, "
        f"{ours_took / took:.0f} times as many"
    )


def unit_rows(vectors: Float32Matrix) -> Float64Matrix:
    exact: Float64Matrix = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    return exact


def model_flops(texts: list[str]) -> float:
    tokenizer: Any = read_tokenizer(find_text_folder(NAME) / "tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(BODY_TOKENS + 2)
    lengths = np.array([len(each.ids) for each in tokenizer.encode_batch(texts)], dtype=np.float64)
    return float((lengths * FLOPS_PER_TOKEN + lengths**2 * FLOPS_PER_PAIR_OF_TOKENS).sum())


def matrix_product_rate() -> float:
    """Return the float32 operations a processor second of numpy's best of several products."""
    generator = np.random.default_rng(1)
    left, right = (generator.standard_normal((2048, 2048), dtype=np.float32) for _ in range(2))
    best = min(processor_seconds(lambda: left @ right) for _ in range(6))
    return float(2 * 2048**3 / best)


def processor_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def share_of_peak(texts: list[str], ours: Encode) -> float:
    """Compare the arithmetic of one core; of the clock's seconds others take theirs."""
    flops = model_flops(texts)
    rates = [(flops / processor_seconds(lambda: ours(texts)), matrix_product_rate()) for _ in range(N_PAIRS)]
    ours_rate, product_rate = (statistics.median(each) for each in zip(*rates, strict=True))
    print(
        f"arithmetic of one core: {ours_rate / 1e9:.0f} GFLOP/s in the model, {product_rate / 1e9:.0f} GFLOP/s in "
        f"numpy's float32 matrix product, share {ours_rate / product_rate:.2f}",
        flush=True,
    )
    return float(ours_rate / product_rate)


ENCODE = """
import json, resource, sys, time
from pathlib import Path
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
docs = [TextDoc("BENCH", "1", text) for text in json.loads(Path(sys.argv[1]).read_bytes())]
model = OnnxTextEmbeddingModel(sys.argv[2], long_text="mean", cache_dir=sys.argv[3])
begun = time.process_time()
vectors = model.embed_batch(docs)
took = time.process_time() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([peak / 1024, took, vectors.tobytes().hex()]))
"""
"""What one measured process does; the texts are handed over, so that reading Parquet counts for nothing."""


def peak_memory(before: Path | None) -> dict[str, float]:
    """Encode in processes of their own, in turn with those of another version; the first builds the graph."""
    figures: dict[str, float] = {}
    versions: dict[str, Path | None] = {"this": None} | ({} if before is None else {"before": before})
    with tempfile.TemporaryDirectory() as folder:
        for n_texts, n_runs, what in (
            (1, 1, "and builds the graph"),
            (10, 3, "that is built"),
            (100, 1, "that is built"),
        ):
            texts = Path(folder, "texts.json")
            texts.write_text(json.dumps(central_bank_texts(n_texts)))
            found: dict[str, list[tuple[float, float, str]]] = {version: [] for version in versions}
            for _ in range(n_runs):
                for version, source in versions.items():
                    found[version].append(encode_alone(texts, Path(folder, version), source))
            if len({vectors for each in found.values() for _, _, vectors in each}) != 1:
                sys.exit("the versions give other vectors")
            for version, each in found.items():
                peak = statistics.median(peak for peak, _, _ in each)
                if version == "this":
                    figures[f"peak MiB, {n_texts} documents"] = peak
                print(
                    f"{version}: a process that encodes {n_texts} central-bank documents ({what}) peaks at "
                    f"{peak:.0f} MiB, {min(took for _, took, _ in each):.2f} processor seconds for the texts",
                    flush=True,
                )
    return figures


def encode_alone(texts: Path, cache: Path, source: Path | None) -> tuple[float, float, str]:
    """Return the peak in MiB, processor seconds of the texts alone, and the vectors."""
    environment = os.environ if source is None else os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", ENCODE, str(texts), str(find_text_folder(NAME)), str(cache)]
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    peak, took, vectors = json.loads(done.stdout)
    return peak, took, vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--articles", type=int, default=2000)
    parser.add_argument("--before", type=Path, help="src of another checkout, whose memory is measured beside")
    parser.add_argument("--one-thread", action="store_true", help="one thread each, as waiting threads of torch count")
    parser.add_argument("--cache", type=Path, help="folder that keeps what is built of the models")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--memory", action="store_true", help="measure memory alone")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there; the benchmark reads real texts from it")
    figures = {} if arguments.no_memory else peak_memory(arguments.before)
    if arguments.memory:
        return
    chunks = chunk_strings(central_bank_texts(arguments.documents))
    articles = chunk_strings(news_texts(arguments.articles))
    if arguments.one_thread:
        os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    ours = our_encoder(threads=1 if arguments.one_thread else None)
    figures["share of the matrix product's operations a second"] = share_of_peak(chunks[:100], ours)
    with tempfile.TemporaryDirectory() as scratch:
        compare_static(articles, ours, arguments.cache or Path(scratch))
    if importlib.util.find_spec("sentence_transformers") is None:
        print("for the comparison install sentence-transformers, best in a venv of its own: pip install '.[torch]'")
    else:
        figures |= compared(arguments, chunks, articles, ours)
    write_result("text_encoding", {"documents": arguments.documents, "articles": arguments.articles}, figures)


def compared(arguments: argparse.Namespace, chunks: list[str], articles: list[str], ours: Encode) -> dict[str, float]:
    """Return how many times as long sentence-transformers takes."""
    reference = reference_encoder()
    documents = compare(f"{arguments.documents} central-bank documents", chunks, ours, reference)
    news = compare(f"{arguments.articles} news articles", articles, ours, reference)
    return {
        "documents, times as fast as sentence-transformers": documents,
        "news, times as fast as sentence-transformers": news,
    }


if __name__ == "__main__":
    main()
