"""The code of this program as a digest: what another version of it found is not trusted."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_SUFFIXES = (".py", ".json")


@cache
def digest_of_code(*folders: str) -> str:
    """Return a digest of every byte of the code, and of its tables, in some folders of the package, or in all of it.

    A version number could be forgotten.
    """
    digest = hashlib.blake2b(digest_size=16)
    for folder in folders or (".",):
        for file in sorted((_ROOT / folder).rglob("*.*")):
            if file.suffix in _SUFFIXES:
                digest.update(file.read_bytes())
    return digest.hexdigest()
