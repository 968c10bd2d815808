"""A client of a running desk, for commands and scripts: find it, ask it, send it alerts, watch it.

A desk that is served leaves `<journal>.address` beside its journal while it runs: its process id and its
address as JSON. It counts only while that process holds the journal's lock, so one left by a crash misleads
nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hmac
import json
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from ttflow import __version__
from ttflow.access import address_of, read_token
from ttflow.errors import RequestError
from ttflow.settings import Settings, beside, is_loopback

if TYPE_CHECKING:
    from tornado.websocket import WebSocketClientConnection

WEBHOOK = "/webhook/tradingview"
TIMEOUT_S = 15.0
GOODBYE_S = 1.0
PING_S = 20.0
"""How often a stream asks whether the desk is still there: a machine that vanished says no goodbye."""


# Finding it


@dataclass(frozen=True)
class Running:
    """A desk that runs: its process, 0 where that isn't known, and its address, None where it serves none."""

    pid: int
    url: str | None


def address_path(journal: Path) -> Path:
    """Where a served desk says how it is reached: beside its journal."""
    return beside(journal, ".address")


@contextlib.contextmanager
def announced(journal: Path, url: str) -> Iterator[None]:
    """Say beside the journal, while the block runs, that this process serves it at `url`."""
    place = address_path(journal)
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    draft.write_text(json.dumps({"pid": os.getpid(), "url": url}) + "\n", encoding="utf-8")
    draft.replace(place)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


def running(journal: Path) -> Running | None:
    """The desk that has a journal, None where nobody has it."""
    pid = _holder(beside(journal, ".lock"))
    if pid is None:
        return None
    try:
        told = json.loads(address_path(journal).read_text(encoding="utf-8"))
        return Running(pid, str(told["url"]) if told["pid"] == pid else None)
    except (OSError, ValueError, KeyError, TypeError):
        return Running(pid, None)


def _holder(place: Path) -> int | None:
    """The process that holds a lock, 0 where it isn't known which, None where nobody does."""
    try:
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        held = os.pread(file, 32, 0).strip()
        return int(held) if held.isdigit() else 0
    else:
        return None
    finally:
        os.close(file)


def token_of(settings: Settings) -> str | None:
    """The API token that a command may use: as set, else the one beside the journal; never a new one."""
    if settings.api_token is not None:
        return settings.api_token.get_secret_value()
    return read_token(settings.journal)


def client_for(settings: Settings, url: str | None = None, last: str | None = None) -> Client:
    """A client of the desk at `url`, else of the one that has the journal, else of the settings' address.

    A desk that is away is awaited where it was `last`: at the settings' address another one may answer.
    """
    if url is None:
        found = running(settings.journal)
        url = (found and found.url) or last or address_of(settings.host, settings.port)
    return Client(url, token_of(settings))


# Asking it


class Unknown(RequestError):
    """The desk has no such thing: a group or a strategy that isn't there."""


class Unauthorized(RequestError):
    """The desk wants its API token, and was shown none or another."""


class Answer(NamedTuple):
    """What the webhook answered; `retry_s` is how long it asks to wait, None where it doesn't."""

    status: int
    body: dict[str, Any]
    retry_s: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the alert was kept."""
        return self.status == 200

    @property
    def problem(self) -> str:
        """Why it was not, in one line."""
        message = str(self.body.get("message", "no explanation"))
        told = [f"{one.get('field', '')} {one.get('problem', '')}".strip() for one in self._details()]
        return "; ".join(dict.fromkeys(told)) or message

    def _details(self) -> list[Mapping[str, str]]:
        found = self.body.get("details")
        return found if isinstance(found, list) else []


class Client:
    """Speaks with one desk over HTTP. `url` is its address, or that of its webhook; raises RequestError."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.base, self.webhook = _addresses(url)
        self.token = token
        self._opener = _opener(self.base)

    def get(self, path: str, **query: object) -> Any:
        """Read `path` of the API as JSON; None where there is no such thing."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        url = f"{self.base}{path}" + (f"?{urlencode(asked)}" if asked else "")
        # A token that the desk doesn't know is worse than none: on this machine reading needs none.
        for token in (self.token, None) if self.token else (None,):
            status, body, _ = self._ask(Request(url, headers=_headers(token)))
            if status != 401:
                break
        if status == 404:
            return None
        return self._checked(status, body)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Change something; returns the answer's JSON."""
        data = json.dumps(body or {}).encode()
        headers = {**_headers(self.token), "Content-Type": "application/json"}
        status, answer, _ = self._ask(Request(f"{self.base}{path}", data, headers, method="POST"))
        return self._checked(status, answer)

    def alert(self, body: bytes, secret: str | None = None) -> Answer:
        """Post an alert's bytes to the webhook, signed where there is a secret."""
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"ttflow/{__version__}"}
        if secret:
            signed = hmac.new(secret.encode(), body, "sha256").hexdigest()
            headers["X-Webhook-Signature"] = f"sha256={signed}"
        status, text, retry = self._ask(Request(self.webhook, body, headers, method="POST"))
        told = _json(text)
        if not isinstance(told, dict) or "status" not in told:
            raise RequestError(
                f"{self.base} is no desk of ttflow: it answered {status}; look at the address."
            )
        return Answer(status, told, float(retry) if retry and retry.isdigit() else None)

    def story(self, alert_id: str, wait_s: float = 0) -> dict[str, Any] | None:
        """An alert with what became of it; waits for its decision, and for its order to be settled.

        None where it is not decided within `wait_s` seconds. An order that waits for its price is settled.
        """
        until = time.monotonic() + wait_s
        while True:
            found: dict[str, Any] | None = self.get(f"/api/alerts/{quote(alert_id, safe='')}")
            if (found and not any(map(_moves, found["tickets"]))) or time.monotonic() >= until:
                return found
            time.sleep(0.05)

    def _checked(self, status: int, body: bytes) -> Any:
        told = _json(body)
        if status == 200 and told is not None:
            return told
        if status == 401:
            raise Unauthorized(
                f"The desk at {self.base} wants its API token: name its --journal, or set TTFLOW_API_TOKEN."
            )
        if isinstance(told, dict) and "message" in told:
            if status == 404:
                raise Unknown(str(told["message"]))
            raise RequestError(str(told["message"]))
        raise RequestError(f"{self.base} is no desk of ttflow: it answered {status}; look at the address.")

    def _ask(self, request: Request) -> tuple[int, bytes, str | None]:
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read(), None
        except HTTPError as error:
            with error:
                return error.code, error.read(), error.headers.get("Retry-After")
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise RequestError(
                    f"The desk at {self.base} has not answered within {TIMEOUT_S:g} s. What was asked may "
                    "still be done: look at ttflow tail and at the broker, and restart the desk if it hangs."
                ) from error
            told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise RequestError(
                f"No desk answers at {self.base} ({told}); start one with ttflow serve, or give its --url."
            ) from error


def _moves(ticket: Mapping[str, Any]) -> bool:
    """Whether a ticket's outcome is about to come."""
    order = ticket.get("order") or {}
    sent = order.get("status") == "submitting" or (
        order.get("type") == "market" and ticket["status"] == "ordered"
    )
    return ticket["status"] == "open" or sent


def _addresses(url: str) -> tuple[str, str]:
    """The desk's address and its webhook's, from either."""
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise RequestError(f"{url!r} is no address of a desk; give one such as http://127.0.0.1:8000.")
    whole = parts.geturl()
    base, found, _ = whole.partition(WEBHOOK)
    base = base.rstrip("/")
    return base, whole if found else f"{base}{WEBHOOK}"


def _opener(base: str) -> OpenerDirector:
    """A proxy is for the world: this machine's desk is asked directly."""
    home = is_loopback(urlsplit(base).hostname or "")
    return build_opener(*[ProxyHandler({})] if home else [])


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


# Watching it


async def stream(base: str, token: str | None = None, since: int | None = None) -> AsyncGenerator[str, None]:
    """The desk's messages, each as JSON text, until it closes the connection; raises RequestError.

    The first one is empty: it says that the connection stands, and that nothing from now on is missed.
    """
    connection = await _connect(base, token, since)
    ended = False
    try:
        yield ""
        while (message := await connection.read_message()) is not None:
            yield message if isinstance(message, str) else message.decode()
        ended = True
    finally:
        connection.close()
        if not ended:
            await _hear_out(connection)


async def _hear_out(connection: WebSocketClientConnection) -> None:
    """Wait for the answer to a goodbye, so that the socket is closed before its loop is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            while await connection.read_message() is not None:
                pass


async def _connect(base: str, token: str | None, since: int | None) -> WebSocketClientConnection:
    from tornado.httpclient import HTTPClientError, HTTPRequest
    from tornado.websocket import websocket_connect

    query = "" if since is None else f"?since={since}"
    url = f"ws{base.removeprefix('http')}/api/stream{query}"
    try:
        request = HTTPRequest(url, headers=_headers(token), request_timeout=TIMEOUT_S)
        return await websocket_connect(
            request, max_message_size=64 * 2**20, ping_interval=PING_S, ping_timeout=PING_S
        )
    except HTTPClientError as error:
        if error.code == 401 and token:
            return await _connect(base, None, since)  # another desk's token is worse than none
        body = _json(error.response.body) if error.response and error.response.body else None
        message = body.get("message") if isinstance(body, dict) else None
        kind = Unauthorized if error.code == 401 else RequestError
        raise kind(message or f"{base} is no desk of ttflow: it answered {error.code}.") from error
    except OSError as error:
        raise RequestError(f"No desk answers at {base} ({error.strerror or error}).") from error
