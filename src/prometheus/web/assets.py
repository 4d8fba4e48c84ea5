"""The files that pages load, each under an address that changes with its content."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from prometheus.web.middleware import digest

STATIC = Path(__file__).parent / "static"
VENDOR = "static/vendor"
SUFFIXES = frozenset({".css", ".js", ".png"})


class Assets(StaticFiles):
    """The scripts, styles and icons in `static` and `static/vendor`, by name; no other file is served."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC, packages=[("prometheus.web", VENDOR)])
        files = [path for folder in (STATIC, STATIC.parent / VENDOR) for path in folder.iterdir()]
        self._versions = {path.name: digest(path.read_bytes())[1:17] for path in files if path.suffix in SUFFIXES}

    def address(self, name: str) -> str:
        """Return where a page finds a file; the address changes with the content."""
        return f"/static/{name}?v={self._versions[name]}"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file by its name, or 404."""
        if path not in self._versions:
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file; under the address of its present content, clients may keep it for good."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("v")
        is_current = asked == [self._versions[Path(full_path).name]]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
        return response
