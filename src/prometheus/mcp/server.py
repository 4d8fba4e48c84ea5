"""The tools behind the official SDK: over standard input and output, or beside the page under ``/mcp``."""

from __future__ import annotations

import json
import logging
import signal
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from prometheus import __version__
from prometheus.app import App
from prometheus.errors import MissingExtraError
from prometheus.mcp import tools
from prometheus.web.access import AccessControl, AccessRules
from prometheus.web.load import Limits

try:
    from mcp import types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server
    from mcp.server.transport_security import TransportSecuritySettings
except ImportError as error:
    raise MissingExtraError("the MCP server", "mcp") from error

logger = logging.getLogger(__name__)

PATH = "/mcp"
MOST_AT_ONCE = 4
MAX_REQUEST_BYTES = 64 << 10
_INSTRUCTIONS = (
    "Market regimes, read only. Every tool needs `as_of`, a date or 'latest', and answers as that date knew it: say "
    "the date of an answer when you use it. Regimes describe; they are no advice to trade."
)


def create_server(app: App) -> Server[Any]:
    """Return the server of the tools over an open app; at most `MOST_AT_ONCE` answers are worked on together."""
    places = anyio.CapacityLimiter(MOST_AT_ONCE)

    async def list_tools(_context: Any, _asked: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(name) for name in tools.TOOLS])

    async def call_tool(_context: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        told, is_answer = await _in_time(app, asked, places)
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=not is_answer)

    return Server(
        "prometheus-regime", version=__version__, instructions=_INSTRUCTIONS,
        on_list_tools=list_tools, on_call_tool=call_tool,
    )  # fmt: skip


def run_stdio(app: App) -> None:
    """Answer over standard input and output until the input ends, or a signal ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_DFL
        )  # a thread that waits for input cannot be told to stop; nothing is written

    async def serve() -> None:
        server = create_server(app)
        async with stdio_server() as (asked, told):
            await server.run(asked, told, server.create_initialization_options())

    anyio.run(serve)


class BesidePage:
    """The application of the page, with the tools under `PATH`: the same rules, but for the method, which is POST."""

    def __init__(self, page: ASGIApp, app: App, rules: AccessRules) -> None:
        guarded = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # `rules` know host and origin
        self._page = page
        self._inner = create_server(app).streamable_http_app(
            streamable_http_path=PATH, json_response=True, stateless_http=True,
            max_request_body_size=MAX_REQUEST_BYTES, transport_security=guarded,
        )  # fmt: skip
        self._tools = AccessControl(self._inner, replace(rules, methods=("POST",)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what the server does on its start and end concerns the tools alone."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        answer = self._tools if scope["path"] == PATH else self._page
        await answer(scope, receive, send)


def _described(name: str) -> types.Tool:
    tool = tools.TOOLS[name]
    hints = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    schema = tool.parameters.model_json_schema()
    return types.Tool(name=name, description=tool.description, input_schema=schema, annotations=hints)


async def _in_time(
    app: App, asked: types.CallToolRequestParams, places: anyio.CapacityLimiter
) -> tuple[dict[str, Any], bool]:
    """Return what `tools.call` does, or that it took too long, waiting included; the work then ends unheard."""
    deadline_s = Limits().deadline_s
    try:
        with anyio.fail_after(deadline_s):
            return await anyio.to_thread.run_sync(
                tools.call, app, asked.name, asked.arguments or {}, limiter=places, abandon_on_cancel=True
            )
    except TimeoutError:
        detail = f"no answer within {deadline_s:.0f} s; ask for less, or again later"
        return {"error": "too_slow", "detail": detail}, False
    except Exception:
        logger.exception("tool %s", asked.name)
        return {"error": "internal", "detail": "an error of the server; its log says more"}, False
