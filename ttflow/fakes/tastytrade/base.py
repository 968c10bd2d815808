"""What every call of a fake tastytrade begins with: User-Agent, token, errors in the broker's words."""

from __future__ import annotations

import re
from typing import Any

from ttflow.errors import TtflowError
from ttflow.fakes.server import WRONG, FakeHandler
from ttflow.fakes.tastytrade.bodies import Invalid
from ttflow.fakes.tastytrade.broker import Tastytrade

_NUMBER = re.compile(r"(?<=/)[0-9]+(?=/|$)")
_AGENT = re.compile(r"\S+/\S+")


class Missing(TtflowError):
    """There is no such thing; answered 404."""


class Handler(FakeHandler):
    """The base of the calls: the User-Agent, the token, errors in the broker's words."""

    fake: Tastytrade
    open_to_all = False

    def prepare(self) -> None:
        """Turn away who names no product, and who has no token that is good."""
        super().prepare()
        if self._finished:
            return
        self.fake.heard(f"{self.request.method} {_NUMBER.sub('N', self.request.path)}")
        agent = self.request.headers.get("User-Agent", "")
        if not _AGENT.match(agent) or self.fake.faults.take("no_agent_html"):
            self.page(401)
        elif not self.open_to_all and not self._let_in():
            self.refuse("token_invalid", "This token is invalid or has expired", 401)

    def _let_in(self) -> bool:
        if self.fake.faults.take("expire_token"):
            self.fake.tokens.clear()
        kind, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and token in self.fake.tokens

    def write_error(self, status_code: int, **given: Any) -> None:
        """Answer what a call raised."""
        error = (given.get("exc_info") or (None, None, None))[1]
        if isinstance(error, Invalid):
            self.answer({"error": error.error}, error.status)
        elif isinstance(error, Missing):
            self.refuse("not_found", str(error), 404)
        else:
            self.page(status_code)

    def log_exception(self, *error: Any) -> None:
        """Say nothing of what was refused on purpose."""
        if not isinstance(error[1], Invalid | Missing):
            super().log_exception(*error)

    def refuse(self, code: str, message: str, status: int) -> None:
        """Answer with one error."""
        self.answer({"error": {"code": code, "message": message}}, status)

    def data(self, data: Any, status: int = 200, **more: Any) -> None:
        """Answer with data."""
        self.answer({"data": data, "context": self.request.path, **more}, status)

    @property
    def query(self) -> dict[str, list[str]]:
        """What stands behind the `?`: each name's values, in order."""
        return {name: [value.decode() for value in given] for name, given in self.request.arguments.items()}

    def check_account(self, number: str) -> None:
        """Raise Missing for any account but the one."""
        if number != self.fake.account:
            raise Missing(f"Account {number} not found")


class TokenHandler(Handler):
    """`POST /oauth/token`: an access token for a refresh token."""

    open_to_all = True

    def post(self) -> None:
        """Grant a token to everybody whose credentials are not `wrong`."""
        given = self.given()
        needed = ("client_secret", "refresh_token")
        if not isinstance(given, dict) or given.get("grant_type") != "refresh_token":
            self.refuse("unsupported_grant_type", "The grant type is not supported", 400)
        elif not all(isinstance(given.get(name), str) and given[name] for name in needed):
            self.refuse("invalid_request", "A required parameter is missing", 400)
        elif WRONG in given.values():
            self.refuse("invalid_credentials", "Invalid client or refresh token", 401)
        else:
            granted = {"access_token": self.fake.token(), "token_type": "Bearer"}
            self.answer({**granted, "expires_in": self.fake.lives_s})
