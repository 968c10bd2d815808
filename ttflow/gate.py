"""The webhook's decisions, without its connections: authenticate, limit, read, keep.

The one rule: a 2xx says that the alert is kept, and what can't be kept is answered 503, which makes
TradingView send it again. Nothing is answered 500, 504 or with a redirect.

In this order: a browser's request for a foreign page is refused (403, only where no secret is configured);
address rules and credentials (401, or 429 once an address has failed too often); the limit of the address
(429) or of the secret (503); reading (400); keeping. A request counts against its limit when it has passed
what stands before, so a body that is no alert counts, and one that is too large doesn't.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ttflow.alert import Alert, mask_secrets, parse_alert
from ttflow.errors import AlertError, JournalError
from ttflow.guard import Addresses, Keyring, Limiter, Sender, as_bytes, crosses_sites
from ttflow.redaction import Redaction, configured_secrets
from ttflow.settings import Settings

MAX_BODY = 64 * 1024
"""The largest body that is read as an alert, in bytes."""

PATIENCE_S = 2.5
"""How long an alert may take to be kept; TradingView gives up after 3 s, and does not send again then."""

RETRY_S = 5

log = logging.getLogger("ttflow.webhook")


class Receipt(NamedTuple):
    """What was kept: the alert's id and seq; for a repeat, those of the first one."""

    alert_id: str
    duplicate: bool
    seq: int


class Keeper(Protocol):
    """What the webhook needs of a desk."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    def keep(self, text: str, alert: Alert) -> Awaitable[Receipt]:
        """Commit an alert, its secrets masked in `text`; raises JournalError where it can't be."""


@dataclass
class Counters:
    """What the webhook has answered, by result, and the seconds it took over all of them."""

    results: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def count(self, result: str, seconds: float) -> None:
        """Count one request."""
        self.results[result] += 1
        self.seconds += seconds


Tokens = tuple[tuple[bytes, ...], ...]


class Call(NamedTuple):
    """A request to the webhook, read to its end. `tokens` are those of its address, in all readings."""

    body: bytes
    peer: str
    headers: Mapping[str, str]
    tokens: Tokens = ()


class Answer(NamedTuple):
    """An answer to the webhook's sender, and what the log says of it."""

    status: int
    result: str
    body: Mapping[str, Any]
    retry_s: int | None = None
    alert_id: str = "-"


def _refusal(status: int, error: str, message: str, *, result: str = "", **more: Any) -> Answer:
    body = {"status": "error", "error": error, "message": message}
    retry_s = more.pop("retry_s", None)
    return Answer(status, result or error, body | more, retry_s)


TOO_LARGE = _refusal(413, "too_large", f"The body is larger than {MAX_BODY} bytes")
_BAD_TOKEN = _refusal(401, "unauthorized", "Invalid webhook token")
_BAD_SIGNATURE = _refusal(401, "unauthorized", "Invalid webhook signature")
CROSS_SITE = _refusal(403, "forbidden", "A web page can't post here while no webhook secret is configured")
NOT_ALLOWED = _refusal(405, "method_not_allowed", "Alerts are sent with POST")
CUT_OFF = _refusal(408, "cut_off", "The connection ended before the request did")
UNAVAILABLE = _refusal(503, "unavailable", "The alert can't be kept now; send it again", retry_s=RETRY_S)


class Gate:
    """Lets alerts in: decides about every request, and counts. One for each desk, in its loop's thread.

    `clock` gives nanoseconds that never go back. `patience_s` is how long an alert may take to be kept;
    its keeping goes on after that, and a resend is then its repeat.
    """

    def __init__(
        self,
        desk: Keeper,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        patience_s: float = PATIENCE_S,
    ) -> None:
        settings = desk.settings
        self.counters = Counters()
        self.clock = clock
        self._desk, self._patience_s = desk, patience_s
        self._debug = settings.debug
        self._secrets = tuple(secret.get_secret_value() for secret in settings.secrets)
        self._keyring = Keyring(self._secrets)
        self._redact = Redaction(configured_secrets(settings))
        self._addresses = Addresses(settings.allow_from, settings.trusted_proxies)
        rates = settings.rate_limit
        self._per_address = Limiter(rates.per_address, clock)
        self._per_secret = Limiter(rates.per_secret, clock)
        self._failures = Limiter(rates.failures, clock)
        self.keeping: set[asyncio.Future[Receipt]] = set()
        self.on_refused: Callable[[str, str], None] | None = None
        """Hears the address and the answer of every alert that is lost because it was refused."""

    def answer(self, call: Call) -> asyncio.Future[Answer]:
        """Decide about one request; whatever goes wrong meanwhile is answered 503."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            refusal = self._refused(call) or self._taken(call, answered)
        except Exception:
            refusal = self._failed(call)
        if refusal:
            answered.set_result(refusal)
        return answered

    def sender(self, call: Call) -> Sender:
        """Where a request comes from, behind the proxies that are trusted."""
        return self._addresses.sender(call.peer, call.headers.get("X-Forwarded-For"))

    def note(self, call: Call, answer: Answer, began: int) -> None:
        """Count an answer and write the webhook's line of the log; `began` is the clock's."""
        took = self.clock() - began
        self.counters.count(answer.result, took / 1e9)
        address, message = self.sender(call).address, answer.body["message"]
        log.info("%s %s %s %.1f ms: %s", answer.result, answer.alert_id, address, took / 1e6, message)
        if answer.result in _LOST and self.on_refused:
            self.on_refused(address, message)

    def _refused(self, call: Call) -> Answer | None:
        sender = self.sender(call)
        headers = call.headers
        if not self._keyring and crosses_sites(
            headers.get("Sec-Fetch-Site"), headers.get("Origin"), headers.get("Host", "")
        ):
            return CROSS_SITE
        secret = self._proven(call)
        if secret is None or not sender.allowed:
            wait_s = self._failures.hit(sender.key)
            refusal = _BAD_SIGNATURE if "X-Webhook-Signature" in headers else _BAD_TOKEN
            return _limit(429, wait_s) if wait_s else refusal
        if self._keyring:
            wait_s = self._per_secret.hit(secret)
            # An authenticated sender gets what makes TradingView send again; a 429 would lose the alert.
            return _limit(503, wait_s) if wait_s else None
        wait_s = self._per_address.hit(sender.key)
        return _limit(429, wait_s) if wait_s else None

    def _proven(self, call: Call) -> int | None:
        """The place of the secret that the request proves; None refuses. Without secrets all are equal."""
        if not self._keyring:
            return 0
        try:
            # The known secrets are not looked for yet: how long that takes could tell what is in them.
            _, brought = mask_secrets(call.body, ())
            tokens = (*call.tokens, *((as_bytes(secret),) for secret in brought))
            return self._keyring.proven(call.body, call.headers.get("X-Webhook-Signature"), tokens)
        except Exception:
            log.exception("A request's credentials could not be checked.")
            return None

    def _taken(self, call: Call, answered: asyncio.Future[Answer]) -> Answer | None:
        """Give an alert to the desk; `answered` hears once it is committed, or after too long."""
        text, _ = mask_secrets(call.body, self._secrets)
        try:
            # What is read is what is kept: it reads alike in a replay, and no answer can quote a secret.
            alert = parse_alert(text.encode() if _is_utf8(call.body) else call.body)
        except AlertError as error:
            return _not_an_alert(error)
        keeping = asyncio.ensure_future(self._desk.keep(text, alert))
        self.keeping.add(keeping)
        patience = answered.get_loop().call_later(self._patience_s, self._give_up, alert, answered)

        def ended(keeping: asyncio.Future[Receipt]) -> None:
            patience.cancel()
            self.keeping.discard(keeping)
            answer = self._outcome(call, alert, keeping)
            if not answered.done():
                answered.set_result(answer)

        keeping.add_done_callback(ended)
        return None

    def _outcome(self, call: Call, alert: Alert, keeping: asyncio.Future[Receipt]) -> Answer:
        try:
            receipt = keeping.result()
        except JournalError as error:
            log.warning("An alert could not be kept: %s", error)
            return UNAVAILABLE
        except asyncio.CancelledError:
            return UNAVAILABLE
        except Exception:
            return self._failed(call)
        body: dict[str, Any] = {
            "status": "received",
            "alert_id": receipt.alert_id,
            "message": f"Alert queued for processing: {alert}",
        }
        if receipt.duplicate:
            body["duplicate"] = True
        return Answer(200, "repeat" if receipt.duplicate else "received", body, None, receipt.alert_id)

    def _give_up(self, alert: Alert, answered: asyncio.Future[Answer]) -> None:
        """Answer an alert that takes too long to be kept; it is kept even when nobody waits any more."""
        log.warning("An alert was not kept within %g s: %s", self._patience_s, alert)
        if not answered.done():
            answered.set_result(UNAVAILABLE)

    def _failed(self, call: Call) -> Answer:
        log.exception("The webhook failed.")
        return self._explained(call)

    def _explained(self, call: Call) -> Answer:
        """The answer to an error of our own: with its traceback for whoever debugs on this machine."""
        trusted = self._debug and self.sender(call).loopback and not _FORWARDED & call.headers.keys()
        if not trusted:
            return UNAVAILABLE
        body = {**UNAVAILABLE.body, "traceback": self._redact(traceback.format_exc())}
        return UNAVAILABLE._replace(body=body)


_LOST = {"forbidden", "invalid_alert", "rate_limited", "too_large", "unauthorized"}
_FORWARDED = {"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via"}


def _limit(status: int, wait_s: int) -> Answer:
    return _refusal(status, "rate_limited", "Rate limit exceeded", retry_s=wait_s)


def _not_an_alert(error: AlertError) -> Answer:
    details = [{"field": name, "problem": problem} for name, problem in error.problems]
    return _refusal(400, "invalid_alert", _shortened(str(error)), details=details)


def _shortened(text: str, most: int = 500) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
