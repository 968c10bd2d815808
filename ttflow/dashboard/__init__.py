"""The first page: one HTML file, one script, one style sheet, one icon; nothing from outside.

The page itself holds no data: its script asks the API, as any other program would.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ttflow.access import SESSION_S, Refusal
from ttflow.answering import Answering
from ttflow.dashboard.performance import Performance

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "panels.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_PLAIN = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · ttflow</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/style.css">
<main class="plain">
<h1>{title}</h1>
<p>{text}</p>
{more}
</main>
</html>
"""

_FORM = """\
<form method="post" action="/sign-in">
<label for="token">API token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button class="primary">Sign in</button>
</form>
<p class="quiet"><code>ttflow serve</code> and <code>ttflow doctor</code> print an address that signs you in.
The token is your <code>TTFLOW_API_TOKEN</code>; where none is set, it is in the file
beside the journal whose name ends in <code>.token</code>.</p>
"""


@cache
def _asset(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()


@cache
def _performance(journal: Path) -> Performance:
    return Performance(journal)


def plain_page(title: str, text: str, more: str = '<p><a href="/">To the desk</a></p>') -> str:
    """A page of a title and a sentence; `more` is HTML."""
    return _PLAIN.format(title=escape(title), text=escape(text), more=more)


class _Page(Answering):
    """What is answered as a page."""

    def prepare(self) -> None:
        """Refuse a name that isn't ours."""
        self.access.check_host(self.request)

    def send(self, name: str) -> None:
        """Answer one of the package's files."""
        self.set_header("Content-Type", _TYPES[name])
        self.finish(_asset(name))

    def ask(self, text: str, status: int = 401) -> None:
        """Answer the form that asks for the token."""
        self.set_status(status)
        self.set_header("Content-Type", _TYPES["index.html"])
        self.finish(plain_page("Sign in", text, _FORM))

    def sign_in(self) -> None:
        """Let the browser in, and take the token out of its address."""
        self.set_cookie(
            self.access.cookie,
            self.access.session(),
            max_age=SESSION_S,
            httponly=True,
            samesite="Strict",
            secure=self.request.protocol == "https",
        )
        self.redirect("/", status=303)


class Index(_Page):
    """`GET /`: the page; with `?token=` it signs the browser in first."""

    def get(self) -> None:
        """Answer the page, or the form where the caller has to sign in."""
        given = self.get_query_argument("token", None)
        if given is not None:
            if self.access.signs_in(given):
                self.sign_in()
            elif self.access.by_cookie(self.request):
                self.redirect("/", status=303)
            else:
                self.ask("This sign-in address is not good, or not any more.")
        elif self.access.knows(self.request) or self.access.is_local(self.request):
            self.send("index.html")
        else:
            self.ask("This desk shows itself to those who know its API token.")


class TrackRecord(_Page):
    """`GET /performance`: the track record, for those who may see the page."""

    async def get(self) -> None:
        """Answer it; its own policy lets nothing in but what it holds."""
        if not (self.access.knows(self.request) or self.access.is_local(self.request)):
            self.ask("This desk shows itself to those who know its API token.")
            return
        page = await _performance(self.desk.settings.journal.resolve()).page()
        self.set_header("Content-Type", _TYPES["index.html"])
        self.clear_header("Content-Security-Policy")
        self.finish(page)


class SignIn(_Page):
    """`/sign-in`: the form by itself, and where it is sent to."""

    def get(self) -> None:
        """Answer the form."""
        self.ask("With the API token you can halt, resume and send test alerts.", status=200)

    def post(self) -> None:
        """Sign in with the form's token."""
        if self.access.crosses(self.request):
            raise Refusal(403, "forbidden", "The form was sent from another site.")
        if self.access.signs_in(self.get_body_argument("token", "")):
            self.sign_in()
        else:
            self.ask("That is not this desk's API token.")


class Asset(_Page):
    """The script, the style sheet and the icon."""

    def get(self, name: str) -> None:
        """Answer the file."""
        self.send(name)


def routes() -> list[tuple[Any, ...]]:
    """The rules of the page."""
    names = "|".join(name.replace(".", r"\.") for name in _TYPES if name != "index.html")
    return [("/", Index), ("/performance", TrackRecord), ("/sign-in", SignIn), (f"/static/({names})", Asset)]
