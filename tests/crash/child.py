"""The desk that is killed: a real one, behind its real webhook, on a journal on disk.

A nursery imports everything once and then, for each line that it reads (what to crash at, and the fault to
plant), forks a desk; it tells the desk's pid, its port when it listens, and its end. A desk crashes by a
SIGKILL to itself at the n-th time that it comes to a place, `place:n`; `stall:n` sleeps 200 ms inside the
n-th commit first, long enough for whoever was told too early to act on it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from functools import partial
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from ttflow import outside as outside_module
from ttflow import webhook
from ttflow.brokers import NotSent, Report, tradovate, worker
from ttflow.deciding import Decider
from ttflow.desk import Desk
from ttflow.engine import Ids
from ttflow.gate import Gate
from ttflow.inputs import Kind
from ttflow.journal import repeats, writer
from ttflow.order import Order
from ttflow.settings import Group, Settings
from ttflow.settings.sections import Credentials
from ttflow.testing import ScriptedBroker
from ttflow.words import evolve

SECRET = "a-secret-of-the-harness"
STRATEGIES = tuple(f"s{number}" for number in range(60))
STALL_S = 0.2


def settings(journal: str) -> Settings:
    """One paper group and one live group; throttled, so that there is a memory to bring back."""
    return Settings.model_validate(
        {
            "journal": journal,
            "secrets": (SECRET,),
            "rate_limit": "0",
            "flow": {"throttle_s": 0.05, "expire_s": 0},
            "groups": {
                "paper": {"broker": "simulator"},
                "live": {
                    "broker": "outside",
                    "live": True,
                    "sides": "both",
                    "strategies": STRATEGIES,
                    "accounts": ({"name": "one"}, {"name": "two", "multiplier": 2}),
                },
            },
        }
    )


def at_tradovate(journal: str, address: str) -> Settings:
    """The same groups, the live one at a fake of Tradovate, which has one account."""
    live = {
        "broker": "tradovate",
        "live": True,
        "sides": "both",
        "strategies": STRATEGIES,
        "base_url": address,
    }
    credentials = dict.fromkeys(("username", "password", "sec", "device_id"), "x") | {"cid": "1"}
    return settings(journal).model_copy(
        update={
            "credentials": Credentials.model_validate({"tradovate": credentials}),
            "groups": {
                "paper": Group(broker="simulator"),
                "live": Group.model_validate({**live, "base_url": address}),
            },
        }
    )


class Outside(ScriptedBroker):
    """The adapter to the broker in the other process."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.http = AsyncHTTPClient(max_clients=50)

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Send the order, once."""
        told = {name: str(getattr(order, name)) for name in ("order_id", "symbol", "side", "quantity")}
        try:
            answer = await self.http.fetch(f"{self.url}/orders", method="POST", body=json.dumps(told))
        except ConnectionRefusedError as error:
            raise NotSent("the connection was refused") from error
        return self._read(order, answer.body)

    async def cancel(self, order: Order) -> Report:
        """Say how it stands: this broker withdraws nothing."""
        return await self.find(order)

    async def find(self, order: Order) -> Report:
        """Look it up by its id."""
        try:
            answer = await self.http.fetch(f"{self.url}/orders/{order.order_id}")
        except HTTPClientError as error:
            if error.code != 404:
                raise
            return Report(order_id=order.order_id, outcome="not_found")
        return self._read(order, answer.body)

    def _read(self, order: Order, body: bytes) -> Report:
        said = json.loads(body)
        return Report(order_id=order.order_id, outcome=said["outcome"], fills=tuple(said["fills"]))


# Where it crashes


class Crash:
    """Kills this process the n-th time that it comes to the place."""

    def __init__(self, at: str) -> None:
        self.place, _, number = at.partition(":")
        self.left = int(number or 0)

    def __call__(self, place: str) -> None:
        """Come to a place."""
        stalls = self.place == "stall" and place == "inside"
        if not (stalls or self.place == place):
            return
        self.left -= 1
        if self.left == 0:
            if stalls:
                time.sleep(STALL_S)
            os.kill(os.getpid(), signal.SIGKILL)


def arm(crash: Crash) -> None:
    """Put the crash into the journal's writer, the broker's worker and the webhook's answer."""
    writer.crash_point = worker.crash_point = crash
    answer = Gate.answer

    def and_then(gate: Gate, call: Any) -> Any:
        answered = answer(gate, call)
        # Called before the one who writes the answer, who comes later.
        answered.add_done_callback(lambda given: given.result().status == 200 and crash("answer"))
        return answered

    Gate.answer = and_then


# What is broken on purpose


def acknowledge_early() -> None:
    """Answer before the commit."""

    async def keep(desk: Desk, text: str, alert: Any) -> Any:
        desk.journal.keep(Kind.ALERT, text, explicit_id=alert.id, timed=True)
        return webhook.Receipt(desk.engine.ids.alert(desk.journal.last_seq + 1), False, 0)

    Desk.keep = keep


def random_ids() -> None:
    """Give orders an id that derives from nothing."""
    Ids.order = lambda *args: f"tt-{secrets.token_hex(12)}"


def send_again() -> None:
    """Send an order in doubt once more before looking it up."""
    find, again = worker.Worker._find, set()

    async def and_find(self: worker.Worker, broker: Any, order: Order) -> Report | None:
        if order.order_id not in again:
            again.add(order.order_id)
            await self._ask(broker.submit, order)
        return await find(self, broker, order)

    worker.Worker._find = and_find


def send_early() -> None:
    """Let orders leave before their decision is committed."""

    def write(decider: Decider, applied: Any) -> None:
        for effect in applied.effects:
            decider.leave(effect)
        kept(decider, applied._replace(effects=()))

    kept = Decider._write
    Decider._write = write


def keep_repeats() -> None:
    """Take every repeat for a new alert."""
    repeats.Repeats.judge = lambda *args: repeats.Verdict(Kind.ALERT, None)


def forget_unknown() -> None:
    """Take silence for a refusal."""
    find = worker.Worker._find

    async def refused(self: worker.Worker, broker: Any, order: Order) -> Report | None:
        await find(self, broker, order)
        return Report(order_id=order.order_id, outcome="refused", reason="no answer")

    worker.Worker._find = refused


MUTANTS = {
    made.__name__: made
    for made in (acknowledge_early, random_ids, send_again, send_early, keep_repeats, forget_unknown)
}


# The process


def desk_at(journal: str, broker: str) -> Desk:
    """A desk whose live group is at the broker of `outside.py`, or at `tradovate ADDRESS`."""
    _, _, address = broker.partition(" ")
    if not address:
        outside_module.Worker = partial(worker.Worker, timeout_s=2.0, settle_s=0.0)
        return Desk(settings(journal), brokers={"outside": Outside(broker)})
    # A lookup waits for the connection; the budget of a real broker would make the harness wait for minutes.
    outside_module.Worker = partial(worker.Worker, timeout_s=2.0, settle_s=0.5)
    tradovate.Tradovate.capabilities = evolve(tradovate.Tradovate.capabilities, requests_per_minute=None)
    return Desk(at_tradovate(journal, address))


async def serve(journal: str, broker: str) -> None:
    """Run the desk, and tell the port, until killed."""
    async with desk_at(journal, broker) as desk:
        sockets = bind_sockets(0, "127.0.0.1")
        application = Application(webhook.routes(desk), log_function=lambda handler: None)
        HTTPServer(application, **webhook.server_options(desk.settings)).add_sockets(sockets)
        tell(port=sockets[0].getsockname()[1])
        while True:
            await asyncio.sleep(0.02)
            reached = all(keeper.state in ("connected", "not live") for keeper in desk.keepers.values())
            tell(rest=reached and not desk.undecided and not desk.worker._tasks)


def tell(**what: Any) -> None:
    """Write one line; whole, since a kill can come at any time."""
    os.write(1, json.dumps(what).encode() + b"\n")


def give_birth(journal: str, broker: str, crash: str, mutant: str) -> None:
    """Fork one desk and wait for its end."""
    pid = os.fork()
    if not pid:
        sys.stdin.close()
        os.dup2(os.open(f"{journal}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        arm(Crash(crash))
        if mutant:
            MUTANTS[mutant]()
        asyncio.run(serve(journal, broker))
        os._exit(1)
    tell(pid=pid)
    _, status = os.waitpid(pid, 0)
    tell(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    for line in sys.stdin:
        give_birth(*json.loads(line))
