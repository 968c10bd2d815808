"""A session at Tradovate: signed in once, renewed before it ends, and asked everything.

The one rule: a token is renewed, never replaced by a second session, as long as it can be; signing in anew
may close the sessions that are open. What Tradovate asks to wait for is waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ttflow.brokers.base import Busy, NotSent, SignInError
from ttflow.brokers.budget import Budget, awaited, patient
from ttflow.brokers.http import Answer, Unreadable, Wire, written
from ttflow.brokers.tradovate.wire import moment, refusal
from ttflow.errors import TtflowError
from ttflow.settings.sections import Tradovate as Credentials

log = logging.getLogger("ttflow.brokers.tradovate")

RATE_LIMITED_S = 3600.0
"""How long Tradovate asks to be left alone after a 429 and after a ticket with a captcha."""

EXITS_S = 60.0
"""After a 429 what an exit needs is tried again once in so long: itself, a withdrawal, the lookup of either.

A position that can't be left costs more than a request too many.
"""

FRESH_S = 60.0
"""For how long after a sign-in a call that is denied to an open session is denied to any; Tradovate allows
ten sign-ins a minute."""

TICKETS_KEPT = 20
"""How many tickets that came with too long a penalty are kept for when their request comes again."""

AGAIN_S = (60.0, 600.0, 3600.0)
"""After how long a sign-in is tried again that was refused with credentials that were good before."""

SKEW_S = 5.0
USUAL_LIFETIME_S = 80 * 60.0
TICKETS = 3
"""How many tickets in a row are served for one request."""


Request = tuple[str, bytes, tuple[tuple[str, str], ...]]
"""What a ticket belongs to: a call with its body and its query."""


class Denied(TtflowError):
    """Tradovate refuses the call to a session that has signed in of late."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Every interval of the adapter, in seconds.

    `beat_s` is how often the stream is told that we live (Tradovate wants it every 2.5 s at least), and
    after `silence_s` without a word from it it is given up. `retry_s` and `retry_most_s` bound the pause
    before it is opened again. `penalty_s` is the longest penalty that an order waits for by itself,
    `sign_in_s` the longest that a start does. `settle_s` is how long fills may come after their order's end.
    `deaf_s` is for how long after the stream is lost nothing is said to be absent: what it would have shown
    may not be in the lists yet. `look_s` is how long after news of a position a snapshot is due, so that its
    fills are heard first.
    `answer_s` bounds each wait for an answer.
    """

    beat_s: float = 2.0
    silence_s: float = 10.0
    retry_s: float = 0.5
    retry_most_s: float = 30.0
    penalty_s: float = 3.0
    sign_in_s: float = 120.0
    settle_s: float = 1.0
    deaf_s: float = 30.0
    look_s: float = 0.5
    answer_s: float = 10.0


class Session:
    """One user's session at one address; `user_id` is known once it has signed in.

    `market_token` opens the market data, as long as the session does; None for a user who has none.
    """

    def __init__(
        self, address: str, credentials: Credentials, pace: Pace, budget: Budget | None = None
    ) -> None:
        self.wire = Wire(address, answer_s=pace.answer_s, budget=budget)
        self.user_id: int | None = None
        self.market_token: str | None = None
        self._credentials, self._pace = credentials, pace
        self._token: str | None = None
        self._ends = self._barred_until = self._limited_until = self._exits_at = 0.0
        self._tickets: dict[Request, str] = {}
        self._lifetime_s, self._signed_in_at = USUAL_LIFETIME_S, 0.0
        self._lock = asyncio.Lock()
        self._hopeless: SignInError | None = None
        self._let_in, self._refusals, self._again_at = False, 0, 0.0

    async def open(self) -> None:
        """Sign in; raises SignInError where Tradovate doesn't let us in."""
        if not self._let_in:
            self._hopeless = None
        self.wire.open()
        async with self._lock:
            await self._sign_in(self._pace.sign_in_s)

    async def close(self) -> None:
        """Forget the token and close the connections; nothing is sent until the next `open`."""
        self._token = self.market_token = None
        await self.wire.close()

    async def token(self) -> str:
        """A token that is valid now; signs in where there is none. Raises NotSent where that fails."""
        if self._token is None or _now() >= self._ends:
            await self.replace(self._token)
        assert self._token is not None
        return self._token

    async def keep(self) -> None:
        """Renew the token, for ever, each time when a quarter of its life is left."""
        pause = 1.0
        while True:
            await asyncio.sleep(max(0.0, self._ends - self._lifetime_s / 4 - _now()))
            try:
                await self._renew()
                pause = 1.0
            except Exception as error:
                log.warning("the session was not renewed, trying again: %s", error)
                await asyncio.sleep(min(pause, self._lifetime_s / 20))
                pause = min(2 * pause, 60.0)

    async def ask(self, call: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        """Ask one thing, with a POST where there is a body; returns its JSON, which may be a refusal.

        None is what is not there (404). Raises Busy for a rate limit or a penalty that takes too long,
        NotSent where nothing left or nothing was taken, Denied, and anything else where no answer came.
        """
        token = await self.token()
        answer, data = await self._send(call, body, query, token, self._pace.penalty_s)
        if answer.status == 401 and not await self._is_good(token):
            await self.replace(token)
            answer, data = await self._send(call, body, query, await self.token(), self._pace.penalty_s)
        if answer.status == 401:
            told = "401 with a fresh token: look at TRADOVATE_DEVICE_ID and at what the API key permits"
            raise Denied(f"Tradovate denies {call}: {told}")
        if answer.status == 404 and body is None:
            return None
        if answer.status == 200 or (answer.status < 500 and refusal(data)):
            return data
        raise Unreadable(f"Tradovate answered {call} with {answer.status}")

    async def rows(self, call: str, query: Mapping[str, str] | None = None) -> list[Any]:
        """Ask for a list; raises Unreadable where none comes.

        Where there is nothing the list is empty: a 404 or an empty body, read as that, would close positions.
        """
        data = await self.ask(call, query=query)
        if not isinstance(data, list):
            raise Unreadable(f"Tradovate answered {call} without a list")
        return data

    # Tokens

    async def _is_good(self, token: str) -> bool:
        """Whether a token that was refused for one call is of a session that is open, and new.

        What the session may not do no other may: signing in for each call would use up what is allowed of it.
        """
        if token != self._token or _now() - self._signed_in_at > FRESH_S:
            return False
        try:
            answer, _ = await self._send("auth/me", None, None, token, self._pace.penalty_s)
        except Exception as error:  # the call itself was answered: that it was not taken stays certain
            log.warning("Tradovate does not say whether the session is open: %r", error)
            return False
        return answer.status == 200

    async def replace(self, token: str | None) -> None:
        """Sign in anew, unless somebody has since `token` was taken; raises NotSent where that fails."""
        async with self._lock:
            if self._token != token:
                return
            try:
                await self._sign_in(self._pace.penalty_s)
            except NotSent:
                raise
            except Exception as error:
                raise NotSent(f"nothing was sent, signing in to Tradovate failed: {error}") from error

    async def _sign_in(self, patience_s: float) -> None:
        if self._hopeless and (self._hopeless.lasting or _now() < self._again_at):
            raise self._hopeless  # asking again and again with a wrong password locks the account
        call = "auth/accesstokenrequest"
        answer, data = await self._send(call, self._proof(), None, None, patience_s)
        why = refusal(data)
        if why or answer.status in (400, 401, 423):
            raise self._refused(why or f"it answered {answer.status}")
        self._take(answer, data)
        self._signed_in_at, self._let_in = _now(), True
        self._hopeless, self._refusals = None, 0

    def _refused(self, why: str) -> SignInError:
        """Remember that Tradovate does not let us in: for good, unless it did with these credentials before.

        Those may have been changed, or it says so while it is being maintained, and what is held has to be
        left: it is asked again, seldom.
        """
        told = f"Tradovate does not let us in: {why.rstrip('.')}. Look at TRADOVATE_*."
        self._hopeless = SignInError(told, lasting=not self._let_in)
        self._again_at = _now() + AGAIN_S[min(self._refusals, len(AGAIN_S) - 1)]
        self._refusals += 1
        return self._hopeless

    def _proof(self) -> dict[str, Any]:
        given = self._credentials
        secret = {name: value.get_secret_value() for name, value in given if value is not None}
        cid = secret.get("cid", "")
        written = {
            "name": secret.get("username"),
            "password": secret.get("password"),
            "appId": "ttflow",
            "appVersion": "1.0",
            "deviceId": secret.get("device_id"),
            "cid": int(cid) if cid.isdigit() else cid,
            "sec": secret.get("sec"),
        }
        return {name: value for name, value in written.items() if value is not None}

    async def _renew(self) -> None:
        async with self._lock:
            token = self._token
            answer, data = await self._send("auth/renewaccesstoken", None, None, token, self._pace.sign_in_s)
            if answer.status == 401 or refusal(data):
                await self._sign_in(self._pace.sign_in_s)
            else:
                self._take(answer, data)

    def _take(self, answer: Answer, data: Any) -> None:
        """Take the tokens of an answer; raises Unreadable where there is none."""
        if answer.status != 200 or not isinstance(data, Mapping) or not data.get("accessToken"):
            raise Unreadable(f"Tradovate answered {answer.status} without a token")
        self._token = str(data["accessToken"])
        if data.get("mdAccessToken"):
            self.market_token = str(data["mdAccessToken"])
        self.user_id = data.get("userId", self.user_id)
        self._lifetime_s = _lifetime(answer, data)
        self._ends = _now() + self._lifetime_s

    # Requests

    async def _send(
        self, call: str, body: Any, query: Mapping[str, str] | None, token: str | None, patience_s: float
    ) -> tuple[Answer, Any]:
        """Send a request, and again with each ticket that it is answered with.

        A ticket whose penalty is too long to wait here is kept: it goes with the same request when that comes
        again.
        """
        method = "GET" if body is None else "POST"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for _ in range(TICKETS):
            self._leave_alone()
            given, asked = self.ticketed(call, body, query)
            answer = await self.wire.ask(method, f"/{call}", given, query=asked, headers=headers)
            if answer.status == 429:
                raise self.limited()
            data = _json(answer)
            if not (isinstance(data, Mapping) and data.get("p-ticket")):
                return answer, data
            self.keep_ticket(data, call, body, query)
            await self.wait(data, patience_s, signing_in=token is None)
        raise Busy(f"Tradovate answered {TICKETS} times with a penalty", patience_s)

    def keep_ticket(
        self, data: Mapping[str, Any], call: str, body: Any, query: Mapping[str, str] | None = None
    ) -> None:
        """Keep the ticket that a request was answered with; one with a captcha is for a person."""
        if not data.get("p-captcha"):
            self._tickets[_request(call, body, query)] = str(data["p-ticket"])
        for oldest in list(self._tickets)[:-TICKETS_KEPT]:
            del self._tickets[oldest]

    def ticketed(self, call: str, body: Any, query: Mapping[str, str] | None = None) -> tuple[Any, Any]:
        """The body and the query with the ticket that the request was given, if it was."""
        ticket = self._tickets.pop(_request(call, body, query), None)
        if ticket is None:
            return body, query
        added = {"p-ticket": ticket}
        return ({**body, **added}, query) if body is not None else (None, {**(query or {}), **added})

    def _leave_alone(self) -> None:
        """Raise Busy where Tradovate is not to be asked now."""
        until = max(self._barred_until, self._limited_until if _waits_long() else self._exits_at)
        if (left := until - _now()) > 0:
            raise Busy(f"Tradovate wants to be left alone for another {left:.0f} s", left)

    def limited(self) -> Busy:
        """Leave Tradovate alone for an hour after a 429, which is one for all that a user asks.

        What can't wait is tried again sooner, once a minute: an exit gets out if it can.
        """
        self._limited_until = _now() + RATE_LIMITED_S
        self._exits_at = _now() + min(EXITS_S, RATE_LIMITED_S)
        seconds = RATE_LIMITED_S if _waits_long() else self._exits_at - _now()
        return Busy("Tradovate's rate limit is reached: it wants an hour's pause", seconds)

    async def wait(
        self, data: Mapping[str, Any], patience_s: float | None = None, *, signing_in: bool = False
    ) -> None:
        """Wait as a penalty ticket asks, or leave Tradovate alone for as long where that is too long.

        `patience_s` is how long is not too long, by default as long as a start may wait. Raises Busy, and
        SignInError for a captcha while signing in.
        """
        if data.get("p-captcha"):
            self._barred_until = _now() + RATE_LIMITED_S
            told = "Tradovate wants a person to solve a captcha; sign in on its site, or wait an hour"
            raise SignInError(told, lasting=False) if signing_in else Busy(told, RATE_LIMITED_S)
        seconds = float(data.get("p-time") or 1)
        if seconds > (self._pace.sign_in_s if patience_s is None else patience_s):
            self._barred_until = _now() + seconds
            raise Busy(f"Tradovate wants to be left alone for {seconds:.0f} s", seconds)
        until = _now() + seconds
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:  # whoever asked waits no longer; the ticket is not good before
            self._barred_until = max(self._barred_until, until)
            raise


def _request(call: str, body: Any, query: Mapping[str, str] | None) -> Request:
    return call, b"" if body is None else written(body), tuple(sorted((query or {}).items()))


def _waits_long() -> bool:
    """Whether what is asked here can wait for the hour that Tradovate wants after a 429."""
    return patient.get() and not awaited.get()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _json(answer: Answer) -> Any:
    """The answer's JSON; None where it is empty or something else, and then its status says enough.

    Raises Unreadable for an answer of 200 that can't be read.
    """
    try:
        return answer.json() if answer.body else None
    except Unreadable:
        if answer.status == 200:
            raise
        return None


def _lifetime(answer: Answer, data: Mapping[str, Any]) -> float:
    """How long a token is good, in seconds; by the broker's clock where ours is wrong.

    One that ended before it was given ends nobody knows when: it is good until it is denied.
    """
    ends = moment(data.get("expirationTime"))
    if ends is None:
        return USUAL_LIFETIME_S
    now = datetime.now(UTC)
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        theirs = now
    if abs((theirs - now).total_seconds()) > SKEW_S:
        now = theirs
    left_s = (ends - now).total_seconds()
    return left_s if left_s > 0 else USUAL_LIFETIME_S
