"""The SDK's own clients, over a subprocess's standard streams and over HTTP, for tests that are not asynchronous."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
from mcp import types
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from tests.web.serving import ENVIRONMENT

Question = tuple[str, Mapping[str, Any]]


class Said(NamedTuple):
    """What a tool said: its text, and whether it was an answer."""

    text: str
    is_answer: bool

    @property
    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def stdio_of(home: Path) -> StdioServerParameters:
    clean = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("PROMETHEUS_", "PG"))}
    return StdioServerParameters(
        command=sys.executable, args=["-m", "prometheus", "mcp"], env=clean | {"PROMETHEUS_HOME": str(home)}
    )


class Conversation(NamedTuple):
    """The tools that a server offers, and what they said."""

    tools: list[types.Tool]
    said: list[Said]


def converse(
    server: StdioServerParameters | str,
    questions: Sequence[Question],
    mode: str = "auto",
    before: Callable[[int], None] | None = None,
) -> Conversation:
    """Ask a server all questions, one after the other, over one connection; `before` is called before each."""

    async def talk() -> Conversation:
        found = []
        async with Client(_reached(server), mode=mode) as client:
            for at, (name, arguments) in enumerate(questions):
                if before is not None:
                    before(at)
                found.append(_said(await client.call_tool(name, dict(arguments))))
            return Conversation(list((await client.list_tools()).tools), found)

    return anyio.run(talk)


def ask(server: StdioServerParameters | str, questions: Sequence[Question], mode: str = "auto") -> list[Said]:
    """Return what the tools of a server said."""
    return converse(server, questions, mode).said


def ask_with_token(address: str, token: str, question: Question) -> Said:
    """Ask a server over HTTP that wants a token."""

    async def talk() -> Said:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            return _said(await client.call_tool(question[0], dict(question[1])))

    return anyio.run(talk)


def _reached(server: StdioServerParameters | str) -> Any:
    """Return how a client reaches a program, which it starts, or an address."""
    return stdio_client(server) if isinstance(server, StdioServerParameters) else server


def _said(result: types.CallToolResult) -> Said:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return Said(content.text, not result.is_error)
