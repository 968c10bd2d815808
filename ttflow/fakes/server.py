"""What all fakes serve beside their broker's own calls: `/_price`, `/_fault` and `/_state`, on loopback only.

The one rule: a fault is asked for by its kind and a count, and each time it strikes it is used up once.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from ttflow.errors import RequestError
from ttflow.fakes.exchange import Exchange

LOOPBACK = "127.0.0.1"
WRONG = "wrong"
"""The one credential that no fake accepts."""

FAULTS: Mapping[str, str] = {
    "rate_limit": "answer 429",
    "expire_token": "answer 401 as for an expired token; it stays expired",
    "refuse": "refuse the order",
    "lose_answer": "take the order, then drop the connection before the answer",
    "drop": "drop the connection before the order is taken",
    "server_error": "answer 502 with a page of HTML, without taking the order",
    "slow": "take a second to answer an order",
    "close_socket": "close the stream at once",
    "no_heartbeat": "let the stream fall silent, without closing it",
    "duplicate_fill": "tell the next fill twice",
    "late_fill": "fill the next order a while after its answer",
    "out_of_order_fills": "fill the next order in two parts and tell the second first",
    "fill_before_answer": "tell the next order's fill before answering it",
    "partial_fill": "fill half of the next order, rounded up, and leave the rest working",
    "lost_leg": "lose the stop of the next bracket once its entry is filled, and say nothing",
}
"""The faults that every fake has; a fake adds its own."""


class Faults:
    """What is to go wrong: how often each kind still strikes; `known` are the kinds with what they do."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known, self.left = dict(known), dict.fromkeys(known, 0)
        self.asked: Callable[[str], None] = lambda kind: None

    def ask(self, kind: str, count: int = 1) -> None:
        """Let a fault strike `count` more times; 0 takes it back. Raises RequestError for an unknown kind."""
        if kind not in self.known:
            raise RequestError(f"{kind!r} is no fault of this fake; it has {', '.join(sorted(self.known))}.")
        self.left[kind] = self.left[kind] + count if count else 0
        if count:
            self.asked(kind)

    def take(self, kind: str) -> bool:
        """Whether a fault strikes now; it is then used up once."""
        if not self.left.get(kind):
            return False
        self.left[kind] -= 1
        return True


class Fake(ABC):
    """One broker's fake: an exchange, faults, and the broker's own calls as Tornado `routes`.

    `name` is the broker's, `account` the one account that it holds. `faults` are its own kinds, beside those
    that all have.
    """

    def __init__(self, name: str, account: str, faults: Mapping[str, str]) -> None:
        self.name, self.account = name, account
        self.exchange = Exchange(utc_now)
        self.faults = Faults({**FAULTS, **faults})
        self.requests: dict[str, int] = {}

    @abstractmethod
    def routes(self) -> list[Any]:
        """The broker's own calls, for a Tornado application."""

    def flush(self) -> None:  # noqa: B027  # most fakes tell at once
        """Tell the streams what has happened, where that is not done at once."""

    def close(self) -> None:  # noqa: B027  # most do nothing by themselves
        """Stop whatever it does by itself, when the server stops."""

    def heard(self, call: str) -> None:
        """Count a request, for whoever looks at `/_state`."""
        self.requests[call] = self.requests.get(call, 0) + 1


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Served:
    """A fake that is being served at `address`, such as `http://127.0.0.1:8101`."""

    fake: Fake
    address: str
    _server: HTTPServer

    async def close(self) -> None:
        """Stop serving."""
        self._server.stop()
        self.fake.close()
        await self._server.close_all_connections()


async def serve(fake: Fake, port: int = 0) -> Served:
    """Serve a fake on loopback; port 0 takes a free one. Raises OSError where the port is taken."""
    sockets = bind_sockets(port, LOOPBACK)
    own = [
        (r"/_price", PriceHandler, {"fake": fake}),
        (r"/_fault", FaultHandler, {"fake": fake}),
        (r"/_state", StateHandler, {"fake": fake}),
    ]
    server = HTTPServer(Application([*own, *fake.routes()], log_function=_quiet))
    server.add_sockets(sockets)
    return Served(fake, f"http://{LOOPBACK}:{sockets[0].getsockname()[1]}", server)


def _quiet(handler: RequestHandler) -> None:
    """A fake's faults are meant; nobody wants them in a log."""


class FakeHandler(RequestHandler):
    """The base of a fake's handlers: the fake, a body as JSON, an answer as JSON, a line that is cut."""

    fake: Any

    def initialize(self, fake: Any) -> None:
        """Remember the fake."""
        self.fake = fake

    def prepare(self) -> Any:
        """Turn away what a page in a browser could send through a name that points to this machine."""
        host = self.request.host_name
        if host not in (LOOPBACK, "localhost"):
            self.answer({"error": f"this is a fake on {LOOPBACK}, not {host}"}, 403)

    def given(self) -> Any:
        """The body as JSON, numbers with a point as Decimals; None where it is empty or no JSON."""
        return read_json(self.request)

    def answer(self, told: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(told, default=_number))

    def cut(self) -> None:
        """Drop the connection without an answer."""
        self.detach().close()

    def page(self, status: int) -> None:
        """Answer as a proxy in trouble does: with HTML."""
        self.set_status(status)
        self.set_header("Content-Type", "text/html")
        self.finish(f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>")


def read_json(request: HTTPServerRequest) -> Any:
    """A request's body as JSON, numbers with a point as Decimals; None where it is empty or no JSON."""
    try:
        return json.loads(request.body, parse_float=Decimal)
    except ValueError:
        return None


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{value!r} can't be written as JSON")


class PriceHandler(FakeHandler):
    """`POST /_price {"symbol","price"}`: what a symbol trades at from now on."""

    def post(self) -> None:
        """Take a price; resting orders that it reaches are filled."""
        given = self.given()
        try:
            symbol, price = str(given["symbol"]), Decimal(str(given["price"]))
            if not price.is_finite():
                raise ValueError
        except (TypeError, KeyError, ValueError, ArithmeticError):
            self.answer({"error": 'post {"symbol": "ESZ2026", "price": 5000.25}'}, 400)
            return
        self.fake.exchange.price(symbol, price)
        self.fake.flush()
        self.answer({"symbol": symbol, "price": price})


class FaultHandler(FakeHandler):
    """`/_fault`: GET lists the kinds, POST `{"kind","count"}` asks for one."""

    def get(self) -> None:
        """List every kind with what it does, and how often each still strikes."""
        self.answer({"faults": self.fake.faults.known, "left": self.fake.faults.left})

    def post(self) -> None:
        """Let a fault strike; `count` is 1 unless given, 0 takes it back."""
        given = self.given()
        try:
            kind, count = str(given["kind"]), int(given.get("count", 1))
            self.fake.faults.ask(kind, max(count, 0))
        except (TypeError, KeyError, ValueError, AttributeError):
            self.answer({"error": 'post {"kind": "refuse", "count": 1}; GET lists the kinds'}, 400)
        except RequestError as error:
            self.answer({"error": str(error)}, 400)
        else:
            self.answer({"left": self.fake.faults.left})


class StateHandler(FakeHandler):
    """`GET /_state`: what the fake holds, and how often it was asked what."""

    def get(self) -> None:
        """Answer with `orders`, `fills`, `positions`, `faults` still to strike, and `requests` heard."""
        left = {kind: count for kind, count in self.fake.faults.left.items() if count}
        self.answer({**self.fake.exchange.state(), "faults": left, "requests": self.fake.requests})
