"""Text encoding on a GPU: are rows independent, do they equal the CPU's, what if memory runs out, how fast is it?

Run ``python -m benchmarks.text_gpu``, with the extra ``[torch]``, and with ``--model FOLDER`` where MiniLM is
not installed; it takes less than five minutes. Texts are four versions of each Reuters body and headline of
`../shared/data`, else sentences of the package's sample. sentence-transformers gets the same chunks as strings, 512 at
a time. Without a GPU the same code runs on the CPU, is checked there, and is not timed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq

from benchmarks.text_encoding import DATA, NAME, chunk_strings, unit_rows
from prometheus.arrays import Float32Matrix
from prometheus.encoders.texts import batches
from prometheus.encoders.texts.chunks import Precision
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel
from prometheus.errors import RetryableError
from prometheus.ingest.sample.macro_events import sample_macro_events

REUTERS = DATA / "news" / "reuters_1987_first11000.parquet"
VERSIONS = 4
BATCH_OF_PEER = 512
N_RUNS = 3
N_CHECKED = 400
CPU_TOKENS_AT_ONCE = 2_048
SHORT_OF_MEMORY = 0.7


def bodies_and_headlines() -> tuple[list[str], list[str], str]:
    """Return distinct long and short texts, and where they are from."""
    if REUTERS.is_file():
        table = pq.read_table(REUTERS, columns=["headline", "body"]).to_pydict()
        bodies, headlines = ([text for text in table[name] if text and text.strip()] for name in ("body", "headline"))
        source = "Reuters"
    else:
        headlines = list(dict.fromkeys(event.description for event in sample_macro_events()))
        bodies = [" ".join(headlines[start : start + 12]) for start in range(0, len(headlines), 6)]
        source = "sample"
    return list(dict.fromkeys(bodies)), list(dict.fromkeys(headlines)), source


def versions(texts: Sequence[str]) -> list[str]:
    """Return each text several times, never the same: equal ones are computed once."""
    return [f"{text} ({number})" for number in range(VERSIONS) for text in texts]


def documents(texts: Sequence[str]) -> list[TextDoc]:
    return [TextDoc("BENCH", str(number), text) for number, text in enumerate(texts)]


def median_seconds(encode: Callable[[], Any], n_runs: int) -> float:
    def once() -> float:
        begin = time.perf_counter()
        encode()
        return time.perf_counter() - begin

    return statistics.median(once() for _ in range(n_runs))


def check_rows(model: TorchTextEmbeddingModel, texts: Sequence[str], title: str) -> None:
    """Encode texts in other orders, in other company and alone; not a bit may change."""
    docs = documents(texts)
    together = model.embed_batch(docs)
    order = np.random.default_rng(1).permutation(len(docs))
    mixed = model.embed_batch([docs[at] for at in order])
    some = [*range(0, len(docs), max(1, len(docs) // 8)), len(docs) - 1]
    alone = np.concatenate([model.embed_batch([docs[at]]) for at in some])
    is_same = mixed.tobytes() == together[order].tobytes() and alone.tobytes() == together[some].tobytes()
    print(f"{title}: rows {'independent' if is_same else 'NOT INDEPENDENT'} of order and neighbours", flush=True)
    if not is_same:
        sys.exit(1)


def check_values(model: TorchTextEmbeddingModel, docs: list[TextDoc], expected: Float32Matrix, title: str) -> None:
    found = model.embed_batch(docs)
    cosine = float((unit_rows(found) * unit_rows(expected)).sum(axis=1).min())
    difference = float(np.abs(found - expected).max())
    print(
        f"{title}: against the CPU, smallest cosine 1 - {max(0.0, 1 - cosine):.1e}, largest difference {difference:.1e}"
    )


def check_memory(open_model: Callable[[], TorchTextEmbeddingModel], docs: list[TextDoc], title: str) -> None:
    """Open a model where memory is short of what it takes; the vectors must be the same."""
    import torch  # noqa: PLC0415 -- an extra

    torch.cuda.reset_peak_memory_stats()
    begin = torch.cuda.memory_reserved()
    model = open_model()
    before, needed = model.embed_batch(docs), torch.cuda.max_memory_reserved() - begin
    del model
    gc.collect()
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + SHORT_OF_MEMORY * needed
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        is_same = open_model().embed_batch(docs).tobytes() == before.tobytes()
        said = "same vectors" if is_same else "OTHER VECTORS"
    except RetryableError as error:
        said = str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    print(f"{title}: with {SHORT_OF_MEMORY:.0%} of the {needed / 2**20:,.0f} MiB it takes: {said}", flush=True)


def time_texts(model: TorchTextEmbeddingModel, peer: Any, texts: Sequence[str], pieces: list[str], title: str) -> None:
    """Time whole documents, and the same chunks as strings by sentence-transformers."""
    docs = documents(texts)
    ours_s = median_seconds(partial(model.encode, docs), N_RUNS)
    rate = len(docs) / ours_s
    encode = partial(peer.encode, batch_size=BATCH_OF_PEER, show_progress_bar=False)
    encode(pieces[:BATCH_OF_PEER])
    theirs_s = median_seconds(partial(encode, pieces), 1)
    theirs = len(docs) / theirs_s
    print(
        f"{title}: {len(docs)} texts of {len(pieces)} chunks, {rate:,.0f} texts/s ({len(pieces) / ours_s:,.0f} "
        f"chunks/s); sentence-transformers {theirs:,.0f} texts/s, ratio {rate / theirs:.2f}",
        flush=True,
    )


def open_peer(folder: Path, precision: str) -> Any:
    """Return sentence-transformers at the same precision."""
    import torch  # noqa: PLC0415 -- an extra
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 -- an extra

    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return SentenceTransformer(str(folder), device="cuda", model_kwargs={"dtype": dtype})


def on_gpu(folder: Path) -> None:
    import torch  # noqa: PLC0415 -- an extra

    bodies, headlines, source = bodies_and_headlines()
    long, short = versions(bodies), versions(headlines)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {os.cpu_count()} cores; {source} texts", flush=True
    )
    pieces = [chunk_strings(texts, folder) for texts in (long, short)]
    checked = documents([*bodies[:: len(bodies) // N_CHECKED], *headlines[:: len(headlines) // N_CHECKED]])
    expected = OnnxTextEmbeddingModel(folder).embed_batch(checked)
    for precision in get_args(Precision):
        model = TorchTextEmbeddingModel(folder, precision=precision)
        check_rows(model, [doc.text for doc in checked], precision)
        check_values(model, checked, expected, precision)
        peer = open_peer(folder, precision)
        for title, texts, strings in zip(("bodies", "headlines"), (long, short), pieces, strict=True):
            time_texts(model, peer, texts, strings, f"{precision} {title}")
        del peer, model
        gc.collect()
        check_memory(partial(TorchTextEmbeddingModel, folder, precision=precision), checked, precision)


def on_cpu(folder: Path) -> None:
    batches.TOKENS_AT_ONCE = CPU_TOKENS_AT_ONCE
    bodies, headlines, source = bodies_and_headlines()
    model = TorchTextEmbeddingModel(folder, device="cpu", in_batches=True)
    checked = [*bodies[:6], *headlines[:6]]
    check_rows(model, checked, f"batches on the CPU, {source} texts")
    docs = documents(checked)
    check_values(model, docs, OnnxTextEmbeddingModel(folder).embed_batch(docs), "batches on the CPU")
    print("there is no GPU here: nothing was timed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of the model; default: the installed MiniLM")
    folder = parser.parse_args().model or find_text_folder(NAME)
    if importlib.util.find_spec("sentence_transformers") is None:
        print("nothing was run; install sentence-transformers, best in a venv of its own: pip install '.[torch]'")
        return
    import torch  # noqa: PLC0415 -- an extra

    (on_gpu if torch.cuda.is_available() else on_cpu)(folder)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
