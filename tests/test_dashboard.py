"""The page signs a browser in, brings everything with it, and shows what senders wrote as text."""

from __future__ import annotations

import asyncio
import re
import shutil
from importlib.resources import files
from urllib.parse import urlencode

import pytest
from serving import TOKEN, visit

SCRIPTS = ("app.js", "panels.js")
ASSETS = ("index.html", *SCRIPTS, "style.css", "icon.svg")
SECRET = "a-webhook-secret-nobody-guesses"
FAR = {"X-Forwarded-For": "203.0.113.7"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
QUIETLY = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--virtual-time-budget=4000",
)
CHROMIUM = shutil.which("chromium")


def asset(name):
    return files("ttflow.dashboard").joinpath(name).read_text(encoding="utf-8")


def cookie_of(reply):
    """What a browser would send back."""
    return {"Cookie": reply.headers["Set-Cookie"].partition(";")[0]}


# The files


@pytest.mark.parametrize("name", ASSETS)
def test_nothing_comes_from_outside(name):
    addresses = re.findall(r"(?:https?:)?//[a-z0-9][a-z0-9.-]*\.[a-z]+[^\s\"']*", asset(name))
    assert [url for url in addresses if url != "http://www.w3.org/2000/svg"] == []


def test_the_page_needs_no_exception_from_its_content_policy():
    page = asset("index.html")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_can_only_write_text(name):
    script = asset(name)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|DOMParser", script)
    assert len(script.splitlines()) <= 310


@pytest.mark.parametrize("name", ASSETS[1:])
def test_each_file_is_served_as_what_it_is(tmp_path, name):
    async def work(visitor):
        got = await visitor.ask(f"/static/{name}")
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        assert got.headers["Content-Type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
        assert got.text == asset(name)

    visit(tmp_path, work)


@pytest.mark.parametrize("name", ["index.html", "__init__.py", "..%2Faccess.py", "../access.py", ""])
def test_no_other_file_is_served(tmp_path, name):
    async def work(visitor):
        assert (await visitor.ask(f"/static/{name}")).status == 404

    visit(tmp_path, work)


def test_the_track_record_is_made_from_the_journal(tmp_path):
    async def work(visitor):
        await visitor.alert(price=100)
        await visitor.alert(action="exit", price=110)

        got = await visitor.ask("/performance")

        assert (got.status, got.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "walker" in got.text
        assert "default-src 'none'" in got.text  # the page's own policy stands in place of the server's

    visit(tmp_path, work)


def test_strangers_see_no_track_record(tmp_path):
    async def work(visitor):
        got = await visitor.ask("/performance", headers=FAR)
        assert (got.status, "<form" in got.text) == (401, True)

    visit(tmp_path, work)


# Signing in


def test_this_machines_browser_sees_the_page_and_needs_to_sign_in_to_act(tmp_path):
    async def work(visitor):
        got = await visitor.ask("/")
        assert (got.status, got.text) == (200, asset("index.html"))
        assert (await visitor.ask("/api/desk")).json["signed_in"] is False
        assert (await visitor.ask("/api/desk", token=True)).json["signed_in"] is True

    visit(tmp_path, work)


def test_the_printed_address_signs_a_browser_in_and_is_left_at_once(tmp_path):
    async def work(visitor):
        path = visitor.server.sign_in_url.removeprefix(visitor.server.address)
        got = await visitor.ask(path)
        assert (got.status, got.headers["Location"], got.text) == (303, "/", "")
        flags = got.headers["Set-Cookie"]
        assert "HttpOnly" in flags
        assert "SameSite=Strict" in flags
        assert TOKEN not in flags

        assert (await visitor.ask("/api/desk", headers=cookie_of(got))).json["signed_in"] is True
        assert (await visitor.ask("/api/halt", {}, headers=cookie_of(got))).status == 200
        assert (await visitor.ask("/", headers={**cookie_of(got), **FAR})).text == asset("index.html")

    visit(tmp_path, work)


def test_a_signed_in_browser_can_still_not_be_used_by_another_site(tmp_path):
    async def work(visitor):
        cookie = cookie_of(await visitor.ask(f"/?token={TOKEN}"))
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            assert (await visitor.ask("/api/halt", {}, headers={**cookie, **headers})).status == 403
        plain = {**cookie, "Content-Type": "text/plain"}
        assert (await visitor.ask("/api/halt", b"", headers=plain)).status == 415
        assert "*" not in visitor.desk.engine.state.halts

    visit(tmp_path, work)


@pytest.mark.parametrize("token", ["wrong", "", "9999999999.0000", "%F0%9F%92%A5", "%00"])
def test_a_wrong_address_signs_nobody_in(tmp_path, token):
    async def work(visitor):
        got = await visitor.ask(f"/?token={token}")
        assert (got.status, "Set-Cookie" in got.headers) == (401, False)
        assert "<form" in got.text

    visit(tmp_path, work)


def test_an_old_address_is_no_trouble_to_who_is_signed_in(tmp_path):
    async def work(visitor):
        cookie = cookie_of(await visitor.ask(f"/?token={TOKEN}"))
        got = await visitor.ask("/?token=old", headers=cookie)
        assert (got.status, got.headers["Location"]) == (303, "/")

    visit(tmp_path, work)


@pytest.mark.parametrize("forged", ["", "x", "9999999999.0000", '"'])
def test_a_forged_cookie_is_nothing(tmp_path, forged):
    async def work(visitor):
        name = visitor.server.app.settings["access"].cookie
        got = await visitor.ask("/api/halt", {}, headers={"Cookie": f"other={{; {name}={forged}"})
        assert got.status == 401

    visit(tmp_path, work)


def test_two_desks_on_one_machine_have_each_their_cookie(tmp_path):
    async def work(visitor):
        return cookie_of(await visitor.ask(f"/?token={TOKEN}"))["Cookie"].partition("=")[0]

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert visit(tmp_path / "a", work) != visit(tmp_path / "b", work)


def test_from_elsewhere_there_is_only_the_form(tmp_path):
    async def work(visitor):
        got = await visitor.ask("/")
        assert (got.status, "<form" in got.text) == (401, True)
        assert "webhook" not in got.text

        got = await visitor.ask("/sign-in", urlencode({"token": "wrong"}).encode(), headers=FORM)
        assert (got.status, "Set-Cookie" in got.headers) == (401, False)
        got = await visitor.ask("/sign-in", urlencode({"token": TOKEN}).encode(), headers=FORM)
        assert got.status == 303
        assert (await visitor.ask("/", headers=cookie_of(got))).status == 200

    visit(tmp_path, work, host="0.0.0.0", secrets=(SECRET,))


def test_another_site_cannot_sign_a_browser_in(tmp_path):
    async def work(visitor):
        headers = {**FORM, "Origin": "https://evil.example"}
        got = await visitor.ask("/sign-in", urlencode({"token": TOKEN}).encode(), headers=headers)
        assert (got.status, "Set-Cookie" in got.headers) == (403, False)
        assert (await visitor.ask("/", headers={"Host": "evil.example"})).status == 403

    visit(tmp_path, work)


# What it is told


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "{address}/webhook/tradingview"),
        ({"public_url": "https://desk.example.com"}, "https://desk.example.com/webhook/tradingview"),
        ({"public_url": "https://a.b/x/webhook/tradingview"}, "https://a.b/x/webhook/tradingview"),
        ({"secrets": (SECRET,)}, "{address}/webhook/tradingview"),
    ],
)
def test_it_is_told_where_alerts_go_and_never_the_secret(tmp_path, settings, url):
    async def work(visitor):
        got = await visitor.ask("/api/desk", token=True)
        told = got.json["webhook"]
        assert told["url"] == url.format(address=visitor.server.address)
        assert told["secret"] is ("secrets" in settings)
        assert SECRET not in got.text
        assert "{{strategy.order.action}}" in got.json["message"]

    visit(tmp_path, work, **settings)


# In a browser


async def shown_in_browser(visitor, tmp_path):
    """The page as a browser has it after a while."""
    browser = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        *[
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
        ],
        *["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000"],
        f"--user-data-dir={tmp_path / 'browser'}",
        "--dump-dom",
        visitor.server.sign_in_url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return (await browser.communicate())[0].decode()


@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_what_a_sender_wrote_shows_as_text_in_a_browser(tmp_path):
    async def work(visitor):
        await visitor.alert(strategy="<img src=x onerror=\"document.title='owned'\">", comment="<script>")
        await visitor.alert(
            strategy="plain", symbol="<B>", account_group="</td><script>document.title=1</script>"
        )
        shown = await shown_in_browser(visitor, tmp_path)
        assert "<title>ttflow</title>" in shown
        assert "&lt;img src=x onerror=" in shown
        assert "&lt;/td&gt;&lt;script&gt;" in shown
        assert shown.count("<script") == len(SCRIPTS)
        assert shown.count('class="pill filled"') == 1
        assert shown.count('class="pill denied"') == 1
        assert ">Halt trading</button>" in shown

    visit(tmp_path, work)


@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_a_reversal_shows_that_its_last_fill_is_not_all_of_it(tmp_path):
    async def work(visitor):
        await visitor.alert(action="buy", quantity=1)
        await visitor.alert(action="reverse", quantity=1)
        shown = await shown_in_browser(visitor, tmp_path)
        assert shown.count("2 fills, the last: Sell 1 ") == 1
        assert shown.count('class="pill filled"') == 2

    visit(tmp_path, work)
