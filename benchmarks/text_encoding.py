"""Text encoding against sentence-transformers on the same chunks, in alternation; needs `../shared/data`.

Run ``python -m benchmarks.text_encoding``. Where sentence-transformers is not importable, it says how to get it into an
environment of its own; the model measured never needs it. Both sides get the same strings, cut at 254 tokens, and both
tokenize them. Others may use the machine: only the ratios of neighbouring runs count, and their median.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
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


def our_encoder(long_text: str = "truncate", cache_dir: Path | None = None) -> Encode:
    model = OnnxTextEmbeddingModel(find_text_folder(NAME), long_text=long_text, cache_dir=cache_dir)
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
    """Print how many times as long the reference takes, and return the median."""
    ratios, ours_s = [], []
    ours(texts[:64])
    reference(texts[:64])
    for _ in range(N_PAIRS):
        mine, vectors = seconds(ours, texts)
        theirs, expected = seconds(reference, texts)
        ratios.append(theirs / mine)
        ours_s.append(mine)
    cosine = float((unit_rows(vectors) * unit_rows(expected)).sum(axis=1).min())
    print(
        f"{title}: {len(texts)} chunks, {statistics.median(ours_s):.1f} s; sentence-transformers takes "
        f"{statistics.median(ratios):.2f} times as long (of {N_PAIRS}: {min(ratios):.2f} to {max(ratios):.2f}); "
        f"largest difference {np.abs(vectors - expected).max():.1e}, smallest cosine 1 - {max(0.0, 1 - cosine):.1e}",
        flush=True,
    )
    return statistics.median(ratios)


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
    """Return the float32 operations per second of numpy's best of several products, all cores."""
    generator = np.random.default_rng(1)
    left, right = (generator.standard_normal((2048, 2048), dtype=np.float32) for _ in range(2))
    best = min(seconds(lambda _: left @ right, [])[0] for _ in range(12))
    return float(2 * 2048**3 / best)


def share_of_peak(texts: list[str], ours: Encode) -> None:
    flops = model_flops(texts)
    rates = [(flops / seconds(ours, texts)[0], matrix_product_rate()) for _ in range(N_PAIRS)]
    ours_rate, product_rate = (statistics.median(each) for each in zip(*rates, strict=True))
    print(
        f"arithmetic: {ours_rate / 1e9:.0f} GFLOP/s in the model, {product_rate / 1e9:.0f} GFLOP/s in numpy's float32 "
        f"matrix product, share {ours_rate / product_rate:.2f}",
        flush=True,
    )


def peak_memory() -> None:
    """Encode in a process of its own, so that nothing else counts; the graph is built in the first and then cached."""
    code = "from benchmarks import text_encoding as b; b.encode_and_report()"
    with tempfile.TemporaryDirectory() as cache:
        for n_texts in ("1", "10", "100"):
            subprocess.run([sys.executable, "-c", code, n_texts, cache], check=True)


def encode_and_report() -> None:
    texts = central_bank_texts(int(sys.argv[1]))
    our_encoder("mean", Path(sys.argv[2]))(texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of a process that encodes {len(texts)} central-bank documents: {peak:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--articles", type=int, default=2000)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there; the benchmark reads real texts from it")
    chunks = chunk_strings(central_bank_texts(arguments.documents))
    articles = chunk_strings(news_texts(arguments.articles))
    ours = our_encoder()
    share_of_peak(chunks[:300], ours)
    peak_memory()
    if importlib.util.find_spec("sentence_transformers") is None:
        print("for the comparison install sentence-transformers, best in a venv of its own: pip install '.[torch]'")
        return
    reference = reference_encoder()
    peer = "times as fast as sentence-transformers"
    figures = {
        f"documents, {peer}": compare(f"{arguments.documents} central-bank documents", chunks, ours, reference),
        f"news, {peer}": compare(f"{arguments.articles} news articles", articles, ours, reference),
    }
    write_result("text_encoding", {"documents": arguments.documents, "articles": arguments.articles}, figures)


if __name__ == "__main__":
    main()
