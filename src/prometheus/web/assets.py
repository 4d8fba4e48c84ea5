"""Files that pages load: ours and Plotly's script, from memory, compressed once, cached for good."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import mimetypes
import threading
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from prometheus.web.caching import accepts_gzip

STATIC = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
_FOR_GOOD = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class Asset:
    """One file: what it is, and a version that changes with its content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self._lock = threading.Lock()
        self._compressed: bytes | None = None

    def response(self, request: Request) -> Response:
        """Return the file, compressed for those who can read that."""
        is_current = request.query_params.get("v") == self.version
        headers = {"Cache-Control": _FOR_GOOD if is_current else "no-cache", "Vary": "Accept-Encoding"}
        if accepts_gzip(request.headers):
            headers |= {"Content-Encoding": "gzip", "ETag": f'"{self.version}-gzip"'}
            return Response(self.compressed(), headers=headers, media_type=self.media_type)
        return Response(
            self.path.read_bytes(), headers={**headers, "ETag": f'"{self.version}"'}, media_type=self.media_type
        )

    def compressed(self) -> bytes:
        """Return the content, compressed as far as gzip can, the first time only."""
        with self._lock:
            if self._compressed is None:
                self._compressed = gzip.compress(self.path.read_bytes(), 9, mtime=0)
            return self._compressed


class Assets:
    """All files that pages may load, by name.

    Parameters
    ----------
    paths
        Only these are ever read; a name in an address is looked up, never joined to a path.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._assets = {path.name: Asset(path) for path in paths}

    def get(self, name: str) -> Asset | None:
        """Return the file of that name."""
        return self._assets.get(name)

    def address(self, name: str) -> str:
        """Return where a page finds a file; the address changes with the content."""
        return f"/static/{name}?v={self._assets[name].version}"


def packaged_assets() -> Assets:
    """Return the files beside this module and Plotly's script from its installed package."""
    own = [path for path in sorted(STATIC.glob("*")) if path.is_file()]
    return Assets([*own, _plotly_script()])


def _plotly_script() -> Path:
    """Find the script without importing Plotly, which takes a second."""
    found = importlib.util.find_spec("plotly")
    assert found is not None  # noqa: S101 -- it is a dependency
    assert found.origin is not None  # noqa: S101
    return Path(found.origin).parent / "package_data" / PLOTLY


@router.get("/static/{name}")
def get_asset(request: Request, name: str) -> Response:
    """Return a file that pages load."""
    assets: Assets = request.app.state.assets
    asset = assets.get(name)
    if asset is None:
        raise HTTPException(404)
    return asset.response(request)
