"""Where a text model comes from and what its folder says: a folder, an installed package, the Hugging Face hub.

Folders are in the layout of sentence-transformers. Only JSON, ``tokenizer.json``, safetensors and ONNX are ever read or
fetched: pickled weights and Python of a model's own could run code; both are refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from prometheus.encoders.texts.pinned import PINNED, PinnedModel
from prometheus.errors import FileAccessError, InputRefusedError, MissingExtraError, RetryableError

Pooling: TypeAlias = Literal["mean", "cls"]

SAFETENSORS = "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
POOLINGS: Mapping[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}
SETTINGS = ("config.json", "*/config.json", "modules.json", "sentence_bert_config.json",
            "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json")  # fmt: skip
ONNX = ("model.onnx", "onnx/model.onnx")
INSTALL = "install it with: python -m prometheus models install"
INSTALL_AGAIN = "install it again with: python -m prometheus models install"
CONNECT_TIMEOUT_S = 4.0
ANSWER_WITHIN_S = 8.0
_MAX_JSON_BYTES = 64 << 20


def find_text_folder(name: str, models_dir: Path | None = None) -> Path:
    """Return the folder of a text model: a local one, or that of a hub name like ``sentence-transformers/x``.

    A name is looked for among installed packages, then below `models_dir`, then in the hub's cache and on the hub.
    `InputRefusedError` where files are not those of the name; `RetryableError`, within ten seconds, if the hub would
    have to be asked and cannot be reached; `MissingExtraError` where its library is not installed.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.startswith((".", "/", "~")):
        raise FileAccessError(name, "no such folder")
    return packaged_folder(name) or _installed_folder(name, models_dir) or hub_folder(name)


def packaged_folder(name: str) -> Path | None:
    """Return the folder of a package that carries a model; None without one, `InputRefusedError` for other weights."""
    model = PINNED.get(name)
    spec = importlib.util.find_spec(model.package) if model else None  # finds it without running any of its code
    if model is None or spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / model.weights
    found = file_sha256(weights)
    if found != model.weights_sha256:
        raise InputRefusedError(
            f"{weights}: SHA-256 {found} is not that of {name} ({model.weights_sha256}); "
            f"reinstall the package {model.package}"
        )
    return folder


def _installed_folder(name: str, models_dir: Path | None) -> Path | None:
    if models_dir is None or name not in PINNED or not (models_dir / name).is_dir():
        return None
    faults = file_faults(models_dir / name, PINNED[name])
    if faults:
        raise InputRefusedError(f"{faults[0]}; {INSTALL_AGAIN}")
    return models_dir / name


def file_faults(folder: Path, model: PinnedModel) -> list[str]:
    """Return what is wrong with the files of a model in a folder, a line each; each file is read whole."""
    return [fault for name in model.files if (fault := _file_fault(folder / name, model, name)) is not None]


def _file_fault(path: Path, model: PinnedModel, name: str) -> str | None:
    wanted = model.files[name]
    if not path.is_file():
        return f"{path}: there is no such file, or it is no regular one; {model.name} has it"
    if path.stat().st_size != wanted.n_bytes:
        return f"{path}: {path.stat().st_size:,} bytes, where that of {model.name} has {wanted.n_bytes:,}"
    found = file_sha256(path)
    return None if found == wanted.sha256 else f"{path}: SHA-256 {found} is not that of {model.name} ({wanted.sha256})"


def hub_folder(name: str) -> Path:
    """Return the folder of a hub model; ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_TOKEN`` are honoured."""
    with text_runtime():
        from huggingface_hub import constants  # noqa: PLC0415 -- slow to import

    cached = _cached_folder(name)
    if cached is not None:
        return cached
    unknown = f"text model {name!r} is no folder, not installed and not in the hub cache"
    way_out = f"; {INSTALL}" if name in PINNED else ""
    if constants.HF_HUB_OFFLINE:
        raise InputRefusedError(f"{unknown}, and HF_HUB_OFFLINE forbids to fetch it{way_out}")
    reason = _why_unreachable(f"{constants.ENDPOINT}/api/models/{name}")
    if reason is not None:
        raise RetryableError(f"{unknown}, and {constants.ENDPOINT} cannot be reached: {reason}{way_out}")
    return _download(name)


def _cached_folder(name: str) -> Path | None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=[*SETTINGS, SAFETENSORS, *ONNX]))
    except HFValidationError as error:
        raise InputRefusedError(f"text model {name!r} is neither a folder nor a name the hub could know") from error
    except LocalEntryNotFoundError:
        return None
    is_complete = (folder / "tokenizer.json").is_file() and find_weights(folder) is not None
    return folder if is_complete else None


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(SETTINGS)))
        for patterns in ((SAFETENSORS,), ONNX) if is_bert(folder) else (ONNX,):
            if find_weights(folder) is None:
                snapshot_download(name, allow_patterns=list(patterns))
    except Exception as error:  # what a lost connection raises has changed with each HTTP client of the hub's library
        raise InputRefusedError(f"text model {name!r} cannot be fetched: {first_line(error)}") from error
    return folder


def _why_unreachable(url: str) -> str | None:
    """Return why there is no answer, None where there is one; the look-up of a host name has no deadline of its own."""
    answers: list[str | None] = []
    probe = threading.Thread(target=lambda: answers.append(_probe(url)), daemon=True)
    probe.start()
    probe.join(ANSWER_WITHIN_S)
    return answers[0] if answers else f"no answer within {ANSWER_WITHIN_S:.0f} seconds"


def _probe(url: str) -> str | None:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=CONNECT_TIMEOUT_S):  # noqa: S310 -- the hub's own address
            return None
    except HTTPError:
        return None  # an answer too; the hub's library says better what it means
    except URLError as error:
        return first_line(error.reason) if isinstance(error.reason, BaseException) else error.reason
    except OSError as error:
        return first_line(error)


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says anything, else the name of its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@dataclass(frozen=True, slots=True)
class TextModelFolder:
    """One text model on disk that can be run; `max_length` tokens at once, special ones included, become a vector."""

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
    """Return what the folder holds; `FileAccessError` or `InputRefusedError` says what is missing or unknown."""
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
    """Return the file to run: an ONNX graph of the folder itself, BERT weights, or a graph in ``onnx/``; else None."""
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


@contextmanager
def text_runtime() -> Iterator[None]:
    """Raise `MissingExtraError` where a library of text models cannot be imported: they are an extra, ``texts``."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError("a text model", "texts") from error


def require_text_runtime() -> None:
    """Raise `MissingExtraError` where the libraries that run a text model are not installed."""
    with text_runtime():
        import onnxruntime  # noqa: F401, PLC0415 -- slow to import
        import tokenizers  # noqa: F401, PLC0415


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `FileAccessError` where a file cannot be read, at once where it is a pipe or a device."""
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
        if is_regular:
            yield
    except OSError as error:
        raise FileAccessError(str(path), error.strerror or "cannot be read") from error
    if not is_regular:
        raise FileAccessError(str(path), "is no regular file")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hex digits."""
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        with readable(path):
            found = json.loads(_read_small(path))
    except (ValueError, RecursionError) as error:
        raise FileAccessError(str(path), "is no valid JSON") from error
    if not isinstance(found, dict):
        raise FileAccessError(str(path), "holds no JSON object")
    return found


def _read_small(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise FileAccessError(str(path), f"is larger than settings of a model may be, {_MAX_JSON_BYTES:,} bytes")
    return content


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
            (str(entry["type"]).rpartition(".")[2], str(entry["path"])) for entry in json.loads(_read_small(modules))
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
