"""The sign-in at tastytrade, and one request after another under it.

The rule of this room: an answer that is no clear yes and no clear no is raised, never interpreted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import inf
from typing import Any

from ttflow.brokers.base import Busy, NotSent, SignInError
from ttflow.brokers.http import Answer, Unreadable, Wire
from ttflow.brokers.tastytrade.wire import SOURCE, Data, told
from ttflow.errors import TtflowError
from ttflow.settings.sections import Tastytrade as Credentials

VERSION = "20251101"
"""The version of the interface that this was written against; the sandbox takes no such header."""

EARLY_S = 60.0
"""How long before its end an access token is renewed, in seconds."""

PAUSE_S = 30.0
"""How long to leave the broker alone after a 429: it publishes no limits and names no time. So long, too,
after a page instead of an access token."""

MOST_PAGES = 200
"""After so many pages a list is given up: it would take longer than anybody waits for it."""

UNTOLD = timedelta(days=1)
"""How far our clock may be ahead of the broker's while the broker has not said what time it is."""


class Refused(TtflowError):
    """The broker read the request and said no, in so many words; nothing of it was done."""


_PAGE = "a page came instead of an answer"


class Session:
    """A sign-in by OAuth refresh token, and the requests made under it.

    `address` is the interface's, without a path. `clock` counts seconds: an access token is renewed a minute
    before it ends, or when a fifth of its life is left where that is later, by one caller for all. `now`
    tells the time, UTC.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        *,
        versioned: bool = False,
        answer_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        # Without a product in User-Agent the broker's front answers 401, with a page.
        headers = {"User-Agent": SOURCE, "Accept": "application/json"}
        headers |= {"Accept-Version": VERSION} if versioned else {}
        self.wire = Wire(address, headers=headers, answer_s=answer_s)
        self._credentials, self._clock, self._now = credentials, clock, now
        self._ahead: timedelta | None = None
        self._lock = asyncio.Lock()
        self._token, self._until = "", 0.0
        self._refusal: SignInError | None = None
        self._refused_until = 0.0

    # Signing in

    async def token(self, *, instead_of: str | None = None) -> str:
        """Return an access token that is still good, and not the one that was refused.

        Raises SignInError where the broker doesn't let us in. It is asked once only, for repeated failures
        lock an address out for hours: the refusal stands until `open`. A page that came in the place of an
        answer says nothing of the credentials: it stands for `PAUSE_S`, so that an exit gets out after all.
        """
        async with self._lock:
            if self._refusal and self._clock() < self._refused_until:
                raise self._refusal
            if self._clock() >= self._until or self._token == instead_of:
                await self._renew()
            return self._token

    def open(self) -> None:
        """Let requests be sent, and a sign-in that was refused be tried again: it may have been put right."""
        self._refusal = None
        self.wire.open()

    async def close(self) -> None:
        """Close the connections; nothing is sent until the next `open`."""
        await self.wire.close()

    async def _renew(self) -> None:
        body = {"grant_type": "refresh_token"}
        for field in ("client_id", "client_secret", "refresh_token"):
            if secret := getattr(self._credentials, field):
                body[field] = secret.get_secret_value()
        answer = await self.wire.ask("POST", "/oauth/token", body)
        if answer.status in (400, 401, 403):
            reason = _reason(answer)
            lasting = reason is not _PAGE
            self._refusal = SignInError(
                f"tastytrade doesn't let us in ({answer.status}: {reason}); check "
                "TASTYTRADE_CLIENT_SECRET and TASTYTRADE_REFRESH_TOKEN, then start again",
                lasting=lasting,
            )
            self._refused_until = inf if lasting else self._clock() + PAUSE_S
            raise self._refusal
        granted = judged(answer)
        if not granted.get("access_token"):
            raise Unreadable("tastytrade's answer to the sign-in holds no access token")
        lives = float(granted.get("expires_in") or 900)
        self._token = str(granted["access_token"])
        self._until = self._clock() + lives - min(EARLY_S, lives / 5)

    # Asking

    @property
    def ahead(self) -> timedelta:
        """How far our clock is ahead of the broker's at most, by its answers' `Date`; a day unless told."""
        return UNTOLD if self._ahead is None else self._ahead

    async def ask(
        self, method: str, path: str, body: Data | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send one request and return the `data` of its answer; `{}` where it has none.

        A value of `query` is a text, or a list of texts. A request whose token is refused goes out once more
        with a new one, since the broker did nothing with it. Raises Refused where it says no, Busy where it
        wants to be left alone, SignInError, NotSent where nothing left, and anything else where nobody knows
        what became of it.
        """
        return (await self._asked(method, path, body, query)).get("data") or {}

    async def pages(self, path: str, query: Mapping[str, Any], per_page: int) -> AsyncIterator[list[Data]]:
        """The pages of a list, one after another, asked for as they are taken.

        Raises Unreadable where the list ends before its last page, or has too many of them: whoever reads to
        the end has read all of it. A list that comes without pages is one page.
        """
        for page in range(MOST_PAGES):
            asked = {**query, "per-page": str(per_page), "page-offset": str(page)}
            answer = await self._asked("GET", path, None, asked)
            items = list((answer.get("data") or {}).get("items", ()))
            last = page + 1 >= int((answer.get("pagination") or {}).get("total-pages") or 0)
            if not items and not last:
                raise Unreadable(f"page {page} of {path} is empty, and not the last one")
            yield items
            if last:
                return
        raise Unreadable(f"{path} has more than {MOST_PAGES} pages")

    async def _asked(
        self, method: str, path: str, body: Data | None, query: Mapping[str, Any] | None
    ) -> Data:
        token = await self._signed_in()
        answer = await self.wire.ask(method, path, body, query=query, headers=_bearer(token))
        if answer.status == 401:
            token = await self._signed_in(instead_of=token)
            answer = await self.wire.ask(method, path, body, query=query, headers=_bearer(token))
        self._compare_clocks(answer)
        return judged(answer)

    def _compare_clocks(self, answer: Answer) -> None:
        try:
            theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
        except ValueError:
            return
        ahead = self._now() - theirs.replace(tzinfo=theirs.tzinfo or UTC)
        self._ahead = ahead if self._ahead is None else max(self._ahead, ahead)

    async def _signed_in(self, *, instead_of: str | None = None) -> str:
        """A token; whatever goes wrong on the way to one has kept the request here."""
        try:
            return await self.token(instead_of=instead_of)
        except (NotSent, SignInError):
            raise
        except Exception as error:
            told = f"tastytrade gave no access token: {str(error) or type(error).__name__}"
            raise NotSent(told) from error


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def judged(answer: Answer) -> Data:
    """Return what a good answer holds; raise what any other means, as `Session.ask` says."""
    if answer.status == 429:
        raise Busy("tastytrade asks for fewer requests (429)", PAUSE_S)
    if answer.status == 401:
        raise SignInError(f"tastytrade refuses a new access token: {_reason(answer)}", lasting=False)
    if not answer.body and answer.status in (200, 202, 204):
        return {}
    given = answer.json()
    if not isinstance(given, Mapping):
        raise Unreadable(f"tastytrade answered {answer.status} with JSON that is no object")
    if 200 <= answer.status < 300:
        return given
    if 400 <= answer.status < 500 and answer.status != 408 and given.get("error"):
        raise Refused(told(given["error"], answer.status))
    raise Unreadable(f"tastytrade answered {answer.status}, which says neither yes nor no")


def _reason(answer: Answer) -> str:
    try:
        given = answer.json()
    except Unreadable:
        return _PAGE
    error = given.get("error") if isinstance(given, Mapping) else None
    # OAuth's own refusals are words; the others are objects.
    return (
        str(given.get("error_description") or error) if isinstance(error, str) else told(error, answer.status)
    )
