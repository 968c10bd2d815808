"""The sign-in at ProjectX, and one request after another under it.

The one rule: an answer that is no clear yes and no clear no is raised, never interpreted; a no is `Refused`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from ttflow.brokers.base import Busy, NotSent, SignInError
from ttflow.brokers.budget import Budget, patient
from ttflow.brokers.http import TURN_S, Answer, Unreadable, Wire
from ttflow.brokers.projectx.wire import UNCLEAR, Data, Pace, meaning, refusal
from ttflow.errors import TtflowError
from ttflow.settings.sections import TopstepX as Credentials

log = logging.getLogger("ttflow.brokers.projectx")

AGAIN_S = 60.0
"""How long after a renewal that failed the next one is tried, while the token is still good."""


PER_MINUTE = 200
"""How many requests are allowed in 60 seconds, by ProjectX's documents (gateway.docs.projectx.com)."""

LOOKS = ("Account/search", "Order/searchOpen")
"""The calls that a look at what is held begins with: like an entry it leaves half of the budget to others."""


class Refused(TtflowError):
    """The broker read the request and said no, in so many words; nothing of it was done."""


class Session:
    """A sign-in by user name and API key.

    `clock` counts seconds; `per_minute` requests may leave in any minute, None for no limit.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        pace: Pace,
        *,
        clock: Callable[[], float] = time.monotonic,
        per_minute: int | None = PER_MINUTE,
    ) -> None:
        self.wire = Wire(address, headers={"Accept": "application/json"}, answer_s=pace.answer_s)
        self._credentials, self._pace, self._clock = credentials, pace, clock
        self._token, self._due, self._ends = "", 0.0, 0.0
        self.budget = Budget(per_minute, clock)
        self._lock = asyncio.Lock()
        self._refusal: SignInError | None = None
        self._refused_until = 0.0

    # Signing in

    def open(self) -> None:
        """Let requests be sent, and a sign-in that was refused be tried again: it may have been put right."""
        self._refusal = None
        self.wire.open()

    async def close(self) -> None:
        """Close the connections; nothing is sent until the next `open`."""
        await self.wire.close()

    async def token(self, *, instead_of: str | None = None) -> str:
        """Return a token that is still good, and not the one that was refused.

        Raises SignInError where the broker doesn't let us in. It is asked once only, since nobody says what
        repeated failures lead to: the refusal stands until `open`. A page that came in the place of an answer
        says nothing of the credentials: it stands for as long as a 429, so that an exit gets out after all.
        """
        async with self._lock:
            if self._refusal and self._clock() < self._refused_until:
                raise self._refusal
            if not self._token or self._token == instead_of or self._clock() >= self._ends:
                await self._replace()
            elif self._clock() >= self._due:
                await self._renew_early()
            return self._token

    async def _renew_early(self) -> None:
        """Renew a token that is still good; where that fails, it is good still."""
        try:
            await self._replace()
        except SignInError:
            raise
        except Exception as error:
            log.warning("TopstepX's token was not renewed, trying again: %s", error)
            self._due = self._clock() + AGAIN_S

    async def _replace(self) -> None:
        """Have the token renewed, or sign in anew where there is none that can be."""
        if not (self._token and await self._validated()):
            await self._sign_in()

    async def _validated(self) -> bool:
        answer = await self.wire.ask("POST", "/api/Auth/validate", {}, headers=_bearer(self._token))
        if answer.status == 401:
            return False
        data = _object("Auth/validate", answer)
        if not data.get("success") or not data.get("newToken"):
            return False
        self._take(data["newToken"])
        return True

    async def _sign_in(self) -> None:
        call = "Auth/loginKey"
        answer = await self.wire.ask("POST", f"/api/{call}", self._proof())
        if answer.status in (400, 401, 403):
            raise self._refused(answer)
        data = _object(call, answer)
        if not data.get("success"):
            why = refusal(call, data)
            if meaning(call, data) == "UnknownError":
                raise SignInError(f"TopstepX does not let us in just now: {why}", lasting=False)
            raise self._hopeless(why)
        if not data.get("token"):
            raise Unreadable("TopstepX's answer to the sign-in holds no token")
        self._take(data["token"])

    def _proof(self) -> dict[str, str]:
        name, key = self._credentials.username, self._credentials.api_key
        return {
            "userName": name.get_secret_value() if name else "",
            "apiKey": key.get_secret_value() if key else "",
        }

    def _refused(self, answer: Answer) -> SignInError:
        """What an answer means that is no business answer: ProjectX says its own no with 200 and a code."""
        try:
            answer.json()
        except Unreadable as error:
            self._refused_until = self._clock() + self._pace.busy_s
            self._refusal = SignInError(f"TopstepX does not let us in just now: {error}", lasting=False)
            return self._refusal
        return self._hopeless(f"it answered {answer.status}")

    def _hopeless(self, why: str) -> SignInError:
        remedy = "check TOPSTEPX_USERNAME and TOPSTEPX_API_KEY, and that the API subscription is active"
        self._refusal = SignInError(f"TopstepX does not let us in: {why}; {remedy}, then start again")
        self._refused_until = inf
        return self._refusal

    def _take(self, token: Any) -> None:
        self._token, now = str(token), self._clock()
        self._due, self._ends = now + 0.75 * self._pace.lifetime_s, now + self._pace.lifetime_s

    # Asking

    async def ask(self, call: str, body: Mapping[str, Any], *, entry: bool = False) -> Data:
        """Send one request and return its answer.

        A request whose token is refused goes out once more with a new one, since the broker did nothing with
        it. Raises Refused where it says no, Busy where it wants to be left alone or its budget is used up,
        SignInError, NotSent where nothing left, and anything else where nobody knows what became of it.
        """
        token = await self._signed_in()
        waits = entry or call in LOOKS or patient.get()
        answer = await self._sent(call, body, token, waits=waits)
        if answer.status == 401:
            token = await self._signed_in(instead_of=token)
            answer = await self._sent(call, body, token, waits=waits)
        return self._judged(call, answer)

    async def _sent(self, call: str, body: Mapping[str, Any], token: str, *, waits: bool) -> Answer:
        if pause := await self.budget.turn(entry=waits, within_s=TURN_S):
            told = f"{call} was not sent: the {self.budget.per_minute} requests a minute are used up"
            raise Busy(f"{told}; the next may go in {pause:.1f} s", pause)
        return await self.wire.ask("POST", f"/api/{call}", body, headers=_bearer(token))

    async def _signed_in(self, *, instead_of: str | None = None) -> str:
        """A token; whatever goes wrong on the way to one has kept the request here."""
        try:
            return await self.token(instead_of=instead_of)
        except (NotSent, SignInError):
            raise
        except Exception as error:
            raise NotSent(f"TopstepX gave no token: {str(error) or type(error).__name__}") from error

    def _judged(self, call: str, answer: Answer) -> Data:
        if answer.status == 429:
            raise Busy("TopstepX asks for fewer requests (429)", _pause(answer, self._pace.busy_s))
        if answer.status == 401:
            raise SignInError("TopstepX refuses a new token (401)", lasting=False)
        data = _object(call, answer)
        if data.get("success") is True:
            return data
        why = refusal(call, data)
        if (call, meaning(call, data)) in UNCLEAR:
            raise Unreadable(f"TopstepX answered {call} with {why}, which doesn't say that nothing was done")
        raise Refused(why)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _pause(answer: Answer, usual_s: float) -> float:
    """How long a 429 asks to wait, in seconds."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isdigit() else usual_s


def _object(call: str, answer: Answer) -> Data:
    """The answer's JSON object; raises Refused for a request that was not understood, else Unreadable."""
    data = answer.json()
    if not isinstance(data, Mapping):
        raise Unreadable(f"TopstepX answered {call} with JSON that is no object")
    if answer.status == 400 and (wrong := data.get("errors") or data.get("title")):
        raise Refused(f"TopstepX does not understand the request: {wrong}")
    if answer.status != 200 or not isinstance(data.get("success"), bool):
        raise Unreadable(f"TopstepX answered {call} with {answer.status}, which says neither yes nor no")
    return data
