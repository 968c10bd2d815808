"""A real server on a free port, around a real desk on a temporary journal, and someone who asks it things."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from ttflow.desk import Desk
from ttflow.server import Server, serve
from ttflow.settings import Settings

TOKEN = "the-api-token-of-the-tests"
LIMIT_S = 60


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Visitor:
    """Asks the served desk over HTTP; `token=True` shows the API token."""

    def __init__(self, desk: Desk, server: Server) -> None:
        self.desk, self.server = desk, server
        self.http = AsyncHTTPClient(force_instance=True)

    def headers(self, token: bool | str, extra: Mapping[str, str] | None) -> dict[str, str]:
        shown = TOKEN if token is True else token
        return {**({"Authorization": f"Bearer {shown}"} if shown else {}), **(extra or {})}

    async def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        token: bool | str = False,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        method = method or ("GET" if body is None else "POST")
        given = self.headers(token, headers)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        request = HTTPRequest(
            self.server.address + path,
            method=method,
            body=body,
            headers=given,
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )
        answer = await self.http.fetch(request, raise_error=False)
        return Reply(answer.code, answer.headers, answer.body.decode())

    async def alert(self, **fields: Any) -> str:
        """Post an alert to the webhook and wait until it is decided; returns its id."""
        usual = {"symbol": "AAPL", "action": "buy", "quantity": 1, "price": 100, "strategy": "walker"}
        given = {name: value for name, value in {**usual, **fields}.items() if value is not None}
        answer = await self.ask("/webhook/tradingview", given)
        assert answer.status == 200, answer.text
        await self.desk.decided(self.desk.journal.last_seq)
        return str(answer.json["alert_id"])

    async def stream(
        self, query: str = "", *, token: bool | str = False, headers: Mapping[str, str] | None = None
    ) -> WebSocketClientConnection:
        address = self.server.address.replace("http", "ws", 1)
        request = HTTPRequest(f"{address}/api/stream{query}", headers=self.headers(token, headers))
        return await websocket_connect(request, max_message_size=2**26)


async def heard(connection: WebSocketClientConnection) -> dict[str, Any]:
    """The stream's next message."""
    message = await connection.read_message()
    assert message is not None, f"closed: {connection.close_code} {connection.close_reason}"
    found: dict[str, Any] = json.loads(message)
    return found


async def hang_up(connection: WebSocketClientConnection) -> None:
    """Close a stream and hear out what is still on its way, so that the socket closes too."""
    connection.close()
    while await connection.read_message() is not None:
        pass


def visit(folder: Path, work: Callable[[Visitor], Awaitable[Any]], **settings: Any) -> Any:
    """Serve a desk, let `work` visit it, and close both."""

    async def main() -> Any:
        known = {"api_token": TOKEN, "rate_limit": "0", "port": 0, **settings}
        async with Desk(Settings(journal=folder / "ttflow.db", **known)) as desk:
            server = await serve(desk)
            visitor = Visitor(desk, server)
            try:
                async with asyncio.timeout(LIMIT_S):
                    return await work(visitor)
            finally:
                visitor.http.close()
                await server.close()

    return asyncio.run(main())
