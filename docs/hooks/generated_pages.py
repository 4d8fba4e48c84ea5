"""What the site takes from the code and from the root of the repository, made anew at each build.

A page asks for a generated part by a comment, such as ``<!-- generated: commands -->``. Files of the root become pages.
At the end every built page is searched for anything that a browser would load from another host.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from prometheus import errors
from prometheus.cli import COMMANDS, main
from prometheus.cli.runner import application_of
from prometheus.core.config import PrometheusConfig
from prometheus.errors import PrometheusError, RetryableError

ROOT = Path(__file__).parents[2]
HELP_COLUMNS = "82"
ROOT_PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
PLACES = {**ROOT_PAGES, "README.md": "index.md", "docs/adr": "adr/README.md"}
DECISIONS = "Decisions"
_LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?(\))")
_IMAGE = re.compile(r'(<img src=")([^":]+)(")')
_ASKED = re.compile(r"<!-- generated: (\w+) -->")
_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision record into the navigation."""
    records = sorted(path.name for path in Path(config.docs_dir, "adr").glob("[0-9]*.md"))
    for entry in config.nav or []:
        if DECISIONS in entry:
            entry[DECISIONS] = ["adr/README.md", *(f"adr/{name}" for name in records)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are files of the root."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_others: object) -> str:
    """Fill in what the page asks for, and put the addresses right that mkdocs does not look after."""
    text = _ASKED.sub(lambda asked: PARTS[asked[1]](), markdown)
    source = page.file.src_uri
    is_from_root = source in ROOT_PAGES.values()
    origin = PurePosixPath("." if is_from_root else "docs") / PurePosixPath(source).parent
    text = _LINK.sub(lambda link: link[1] + _leads_to(link[2], origin, source) + (link[3] or "") + link[4], text)
    folder = PurePosixPath(source).parent
    return _IMAGE.sub(lambda image: image[1] + get_relative_url(str(folder / image[2]), page.url) + image[3], text)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would load anything from elsewhere."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        found = foreign_addresses(path.read_text(encoding="utf-8"))
        if found:
            raise PluginError(f"{path}: loads {found[0]} from another host")


def foreign_addresses(html: str) -> list[str]:
    """Return the addresses of other hosts that a browser would load a page's parts from."""
    finder = _Finder()
    finder.feed(html)
    return finder.found


def command_pages() -> str:
    """Return what each command does, then the help of every command and sub-command."""
    rows = [f"| [`{name}`](#{name}) | {text} |" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows, "", *map(_command_part, COMMANDS)])


def error_table() -> str:
    """Return every error class with its exit code, whether trying again may help, and what it says."""
    rows = ["| error | exit code | try again? | meaning |", "|---|---|---|---|"]
    for error in _tree(PrometheusError):
        first = (error.__doc__ or "").strip().splitlines()[0]
        again = "yes" if issubclass(error, RetryableError) else ""
        rows.append(f"| `{error.__name__}` | {error.exit_code} | {again} | {first} |")
    return "\n".join(rows)


def settings_table() -> str:
    """Return every setting with the variable that sets it, its meaning and its default."""
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    for name, field in PrometheusConfig.model_fields.items():
        default = f"`{field.default}`" if isinstance(field.default, str | int | float) else ""
        rows.append(f"| `PROMETHEUS_{name.upper()}` | {field.description} | {default} |")
    return "\n".join(rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": command_pages,
    "errors": error_table,
    "settings": settings_table,
}


def sub_commands(name: str) -> list[str]:
    """Return the names of a command's sub-commands, none where it has none."""
    from typer.main import get_command  # noqa: PLC0415

    command: Any = get_command(application_of(name))
    return list(getattr(command, "commands", {}))


def _command_part(name: str) -> str:
    parts = [f"## {name}", _help(name)]
    for sub in sub_commands(name):
        parts += [f"### {name} {sub}", _help(name, sub)]
    return "\n\n".join(parts) + "\n"


def _help(*words: str) -> str:
    text = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": HELP_COLUMNS}), redirect_stdout(text):
        exit_code = main([*words, "--help"])
    if exit_code:
        raise PluginError(f"{' '.join(words)} --help ended with {exit_code}")
    return f"```text\n{text.getvalue().strip()}\n```"


def _tree(error: type[PrometheusError]) -> Iterator[type[PrometheusError]]:
    yield error
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def _leads_to(target: str, origin: PurePosixPath, source: str) -> str:
    place = normpath(str(origin / target))
    if place in PLACES:
        page = PLACES[place]
    elif source in ROOT_PAGES.values() and place.startswith("docs/"):
        page = place.removeprefix("docs/")
    else:
        return target
    return relpath(page, str(PurePosixPath(source).parent))


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "link" and attributes.get("rel") in {"canonical", "prev", "next", "alternate"}:
            return
        address = attributes.get(_LOADING.get(tag, "")) or ""
        if address.startswith(("http:", "https:", "//")):
            self.found.append(address)
