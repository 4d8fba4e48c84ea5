"""What a folder with a text model says about itself, in the layout of sentence-transformers.

Only JSON, ``tokenizer.json``, safetensors and ONNX are ever read. Pickled weights can run code when they are loaded,
and some models bring Python of their own; both are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from prometheus.errors import FileAccessError, InputRefusedError

Pooling: TypeAlias = Literal["mean", "cls"]

SAFETENSORS = "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
POOLINGS: Mapping[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}


@dataclass(frozen=True, slots=True)
class TextModelFolder:
    """One text model on disk, complete and of a kind that can be run.

    Attributes
    ----------
    path
        The folder.
    weights
        An ONNX graph to be used as it is, or BERT weights in safetensors form.
    tokenizer
        ``tokenizer.json``.
    config
        ``config.json``, empty where there is none.
    max_length
        Tokens the model reads at once, special ones included.
    pooling
        How token vectors become one vector.
    normalize
        Whether that vector is brought to unit length.
    """

    path: Path
    weights: Path
    tokenizer: Path
    config: Mapping[str, Any]
    max_length: int
    pooling: Pooling
    normalize: bool

    @property
    def is_graph(self) -> bool:
        """Whether the weights come as an ONNX graph."""
        return self.weights.suffix == ".onnx"


def read_text_folder(path: Path) -> TextModelFolder:
    """Return what the folder holds.

    Raises
    ------
    FileAccessError
        There is no such folder, or a file in it cannot be read.
    InputRefusedError
        It lacks a tokenizer or usable weights, or asks for something that is not implemented.
    """
    if not path.is_dir():
        raise FileAccessError(str(path), "no such folder")
    config = _read_json(path / "config.json")
    if "auto_map" in config:
        raise InputRefusedError(f"{path}: the model needs Python code of its own, which is never run")
    weights = find_weights(path)
    if weights is None:
        raise InputRefusedError(f"{path}: {_why_no_weights(path, config)}")
    tokenizer = path / "tokenizer.json"
    if not tokenizer.is_file():
        raise InputRefusedError(f"{path}: there is no tokenizer.json; save the tokenizer in its fast form")
    pooling, normalize = _read_modules(path)
    return TextModelFolder(path, weights, tokenizer, config, _max_length(path, config), pooling, normalize)


def find_weights(path: Path) -> Path | None:
    """Return the file to run: an ONNX graph of the folder itself, BERT weights, or a graph in ``onnx/``; else None.

    Raises
    ------
    InputRefusedError
        There are several graphs and none is called ``model.onnx``.
    """
    graphs = sorted(path.glob("*.onnx"))
    named = path / "model.onnx"
    if len(graphs) > 1 and named not in graphs:
        raise InputRefusedError(
            f"{path}: several graphs and no model.onnx among them ({', '.join(each.name for each in graphs)})"
        )
    if graphs:
        return named if named in graphs else graphs[0]
    if (path / SAFETENSORS).is_file() and is_bert(path):
        return path / SAFETENSORS
    exported = path / "onnx" / "model.onnx"
    return exported if exported.is_file() else None


def is_bert(path: Path) -> bool:
    """Return whether the folder's weights are those of a BERT encoder."""
    return _read_json(path / "config.json").get("model_type") == "bert"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hex digits.

    Raises
    ------
    FileAccessError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileAccessError(str(path), error.strerror or "cannot be read") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FileAccessError(str(path), error.strerror or "cannot be read") from error
    except ValueError as error:
        raise FileAccessError(str(path), "is no valid JSON") from error
    if not isinstance(found, dict):
        raise FileAccessError(str(path), "holds no JSON object")
    return found


def _why_no_weights(path: Path, config: Mapping[str, Any]) -> str:
    if (path / SAFETENSORS).is_file():
        kind = config.get("model_type", "unknown")
        return (
            f"a model of type {kind!r} is not turned into a graph, only 'bert' is; "
            "export it to model.onnx, or run it with the extra [torch]"
        )
    if any(path.glob("model-*.safetensors")):
        return "the weights are spread over several files; save them as one model.safetensors"
    pickled = sorted(each.name for pattern in PICKLED for each in path.glob(pattern))
    if pickled:
        return f"the weights are pickled ({', '.join(pickled)}), which is never loaded; save them as safetensors"
    return "there are no weights (model.safetensors or model.onnx)"


def _max_length(path: Path, config: Mapping[str, Any]) -> int:
    stated = _read_json(path / "sentence_bert_config.json")
    if stated.get("do_lower_case"):
        raise InputRefusedError(f"{path}: do_lower_case of sentence_bert_config.json is not implemented")
    found = [stated.get("max_seq_length"), config.get("max_position_embeddings")]
    known = [value for value in found if isinstance(value, int) and value > 0]
    if not known:
        raise InputRefusedError(
            f"{path}: the maximum length is stated neither in sentence_bert_config.json (max_seq_length) "
            "nor in config.json (max_position_embeddings)"
        )
    return min(known)


def _read_modules(path: Path) -> tuple[Pooling, bool]:
    """Return pooling and normalisation; without ``modules.json`` the mean is taken and left as it is."""
    if _read_json(path / "config_sentence_transformers.json").get("default_prompt_name"):
        raise InputRefusedError(f"{path}: a default prompt (config_sentence_transformers.json) is not implemented")
    modules = path / "modules.json"
    if not modules.is_file():
        return "mean", False
    try:
        listed = [
            (str(entry["type"]).rpartition(".")[2], str(entry["path"])) for entry in json.loads(modules.read_bytes())
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise FileAccessError(str(modules), "is no list of modules") from error
    kinds = [kind for kind, _ in listed]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputRefusedError(
            f"{path}: modules {' + '.join(kinds)} are not implemented, only Transformer + Pooling (+ Normalize)"
        )
    return _read_pooling(path / listed[1][1] / "config.json"), kinds[-1] == "Normalize"


def _read_pooling(path: Path) -> Pooling:
    config = _read_json(path)
    chosen = config.get("pooling_mode")
    modes = [chosen] if chosen else [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if len(modes) != 1 or not isinstance(modes[0], str) or modes[0] not in POOLINGS:
        named = " + ".join(map(str, modes)) or "none"
        raise InputRefusedError(f"{path}: pooling {named} is not implemented, only mean and cls are")
    return POOLINGS[modes[0]]
