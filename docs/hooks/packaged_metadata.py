"""What a built package says of itself: the README with links that lead somewhere, and the addresses of the project.

The README's links are paths in the repository, and a page of a package index has none of those files. Where the build
knows the repository's address, as a hosted build says in ``GITHUB_SERVER_URL`` and ``GITHUB_REPOSITORY``, links and
pictures become absolute, at the tag of the version. Elsewhere a link becomes its text with the path in the source
archive, and a picture is left out: no address is made up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_REMARK = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


class PackagedMetadata(MetadataHookInterface):
    """Sets ``readme`` and ``urls``, which pyproject.toml leaves to it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to the metadata of the project."""
        address = repository_address(os.environ)
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        readme = readme_without_paths(text, address, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = {} if address is None else project_urls(address)


def repository_address(environment: Mapping[str, str]) -> str | None:
    """Return the address of the repository that is being built, without a slash at the end; None if nothing says so."""
    server, name = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_REPOSITORY", "")
    return f"{server.rstrip('/')}/{name}" if server.startswith("https://") and name else None


def project_urls(address: str) -> dict[str, str]:
    """Return the well-known addresses of a repository, by label."""
    return {
        "Repository": address,
        "Documentation": f"{address}/tree/HEAD/docs",
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def readme_without_paths(text: str, address: str | None, tag: str) -> str:
    """Return a README whose links need no file beside it; remarks for the tests and blocks of code stay out of it.

    Examples
    --------
    >>> readme_without_paths("See [Regimes](docs/regimes.md#what).", None, "v1")
    'See Regimes (docs/regimes.md).'
    >>> readme_without_paths("See [Regimes](docs/regimes.md#what).", "https://host.example/a/b", "v1")
    'See [Regimes](https://host.example/a/b/blob/v1/docs/regimes.md#what).'
    """
    parts = _FENCE.split(_REMARK.sub("", text))
    return "".join(part if part.startswith("```") else _LINK.sub(_change(address, tag), part) for part in parts)


def _change(address: str | None, tag: str) -> Any:
    def changed(link: re.Match[str]) -> str:
        text, target, picture = link["text"], link["target"], link["picture"]
        if "://" in target or target.startswith("#"):
            return link[0]
        if address is not None:
            return f"{picture}[{text}]({address}/{'raw' if picture else 'blob'}/{tag}/{target})"
        path = target.partition("#")[0]
        return "" if picture else text if text == path else f"{text} ({path})"

    return changed
