"""A served desk in a thread of its own, for clients that wait for their answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from ttflow.desk import Desk
from ttflow.server import serve
from ttflow.settings import Settings

TOKEN = "the-api-token-of-the-tests"
LIMIT_S = 30


class Served:
    """The desk, its address, and a way to have it do things."""

    def __init__(self, journal, **settings):
        known = {"api_token": TOKEN, "rate_limit": "0", "port": 0, **settings}
        self.settings = Settings(journal=journal, **known)
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        assert self._ready.wait(LIMIT_S)
        if self._failed:
            raise self._failed

    async def _main(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Desk(self.settings) as self.desk:
                server = await serve(self.desk)
                self.url = server.address
                self.port = server.port
                self._ready.set()
                await self._over.wait()
                await server.close()
        except BaseException as error:
            self._failed = error
            self._ready.set()

    def do(self, work) -> Any:
        """Run a coroutine in the desk's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    def alert(self, **fields) -> None:
        """Send an alert and wait for its decision."""
        usual = {"symbol": "AAPL", "action": "buy", "quantity": 1, "price": 100, "strategy": "walker"}
        given = {name: value for name, value in {**usual, **fields}.items() if value is not None}
        self.do(self.desk.send(given))

    def trade(self, count, first=0) -> None:
        """Open and close, again and again, each alert unlike the others."""
        for number in range(first, first + count):
            self.alert(action="sell" if number % 2 else "buy", price=100 + number % 7, comment=f"{number}")

    def stop(self) -> None:
        """Stop the server and the desk."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(LIMIT_S)


@contextlib.contextmanager
def served(journal, **settings):
    """A desk, served while the block runs."""
    desk = Served(journal, **settings)
    try:
        yield desk
    finally:
        desk.stop()
