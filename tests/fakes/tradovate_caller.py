"""The fake of Tradovate, and someone who speaks to it by hand."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp

from ttflow.fakes.server import serve
from ttflow.fakes.tradovate import ACCOUNT_ID, TradovateFake

DEADLINE_S = 20
SIGN_IN = {
    "name": "u",
    "password": "p",
    "appId": "a",
    "appVersion": "1",
    "deviceId": "d",
    "cid": 1,
    "sec": "s",
}
MARKET = {
    "accountSpec": "DEMO12345",
    "accountId": ACCOUNT_ID,
    "clOrdId": "mine-1",
    "action": "Buy",
    "symbol": "ESZ6",
    "orderQty": 2,
    "orderType": "Market",
    "isAutomated": True,
}
LIMIT = {**MARKET, "orderType": "Limit", "price": 90}
BRACKET = {
    "bracket1": {"action": "Sell", "orderType": "Limit", "price": 120, "clOrdId": "mine-tp"},
    "bracket2": {"action": "Sell", "orderType": "Stop", "stopPrice": 80, "clOrdId": "mine-sl"},
}


class Caller:
    """Someone with a signed-in session; `status` is the last answer's."""

    def __init__(self, http, fake):
        self.http, self.fake, self.token, self.status = http, fake, "", 0

    async def post(self, path, body):
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.http.post(path, json=body, headers=headers) as response:
            self.status = response.status
            text = await response.text()
            return json.loads(text) if text[:1] in ("{", "[") else text

    async def get(self, path):
        async with self.http.get(path, headers={"Authorization": f"Bearer {self.token}"}) as response:
            self.status = response.status
            return await response.json() if response.content_type == "application/json" else None

    async def sign_in(self, **changed):
        told = await self.post("/v1/auth/accesstokenrequest", {**SIGN_IN, **changed})
        self.token = told.get("accessToken", "")
        return told

    async def place(self, **changed):
        return await self.post("/v1/order/placeorder", {**MARKET, **changed})

    async def fault(self, kind, count=1):
        return await self.post("/_fault", {"kind": kind, "count": count})

    async def state(self):
        return await self.get("/_state")

    @asynccontextmanager
    async def stream(self, token=None):
        """A stream that is signed in and in sync."""
        async with self.http.ws_connect("/v1/websocket") as socket:
            heard = Heard(socket)
            assert await heard.frame() == "o"
            await socket.send_str(f"authorize\n1\n\n{token or self.token}")
            assert await heard.next() == {"s": 200, "i": 1}
            await socket.send_str('user/syncrequest\n2\n\n{"users":[7]}')
            heard.bootstrap = (await heard.next())["d"]
            yield heard


class Heard:
    def __init__(self, socket):
        self.socket, self.waiting, self.bootstrap = socket, [], None

    async def frame(self):
        message = await self.socket.receive(timeout=5)
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None

    async def next(self):
        """The next answer or event; None once the stream is closed."""
        while not self.waiting:
            frame = await self.frame()
            if frame is None:
                return None
            self.waiting += json.loads(frame[1:]) if frame.startswith("a") else []
        return self.waiting.pop(0)

    async def fills(self, count):
        """The next fills' quantities and ids."""
        found = []
        while len(found) < count:
            data = (await self.next())["d"]
            if data["entityType"] == "fill":
                found.append((data["entity"]["qty"], data["entity"]["id"]))
        return found


def call(work, *, signed_in=True, **fake):
    async def main():
        served = await serve(TradovateFake(**{"late_s": 0.03, "slow_s": 0.05, "penalty_s": 0.05, **fake}))
        try:
            async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession(served.address) as http:
                caller = Caller(http, served.fake)
                if signed_in:
                    await caller.sign_in()
                return await work(caller)
        finally:
            await served.close()

    return asyncio.run(main())
