"""The API tells what the journal and the live book hold, obeys commands, and lets in whom it should."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from serving import TOKEN, visit

from ttflow import access, api
from ttflow.access import Access, read_token, token_for, token_path
from ttflow.errors import JournalUnavailable, RequestError
from ttflow.settings import AccountSettings, Group, Settings, usual_groups
from ttflow.tradingview import read_trades

SECRET = "a-webhook-secret-nobody-guesses"
XSS = '<img src=x onerror="alert(1)">'
TABLES = ("alerts", "tickets", "orders", "fills", "trades", "notices", "modes")
VIEWS = ("strategies", "groups", "positions")
LISTED = """Trade #,Type,Date and time,Signal,Price USD,Size (qty),Net P&L USD
1,Exit long,2026-01-05 10:00,x,105,1,5
1,Entry long,2026-01-05 09:00,e,100,1,5
2,Exit long,2026-02-05 10:00,x,97,1,-3
2,Entry long,2026-02-05 09:00,e,100,1,-3
"""
NO_SUCH_ROW = {"status", "error", "message"}


def copied(*names):
    """Settings with a group of several accounts."""
    accounts = tuple(AccountSettings(name=name) for name in names)
    return {**usual_groups(), "copied": Group(broker="simulator", accounts=accounts)}


# Reading


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_a_list_and_where_to_go_on(tmp_path, name):
    async def work(visitor):
        got = await visitor.ask(f"/api/{name}")
        assert (got.status, got.json) == (200, {name: [], "next": None})

    visit(tmp_path, work)


def test_an_alert_is_told_with_what_became_of_it_in_each_account(tmp_path):
    async def work(visitor):
        alert_id = await visitor.alert(account_group="copied", price="191.50")
        got = (await visitor.ask(f"/api/alerts/{alert_id}")).json

        assert (got["alert"]["alert_id"], got["alert"]["price"]) == (alert_id, "191.50")
        assert [ticket["account"] for ticket in got["tickets"]] == ["a", "b"]
        for ticket in got["tickets"]:
            assert (ticket["account_group"], ticket["status"], ticket["reason"]) == ("copied", "filled", None)
            assert ticket["trail"][-1] == {"step": "fill", "text": "Buy 1 AAPL at 191.5."}
            assert ticket["order"]["account"] == ticket["account"]
            assert ticket["orders"] == [ticket["order"]]
            assert [fill["price"] for fill in ticket["fills"]] == ["191.5"]

    visit(tmp_path, work, groups=copied("a", "b"))


def test_a_reversal_has_both_its_legs(tmp_path):
    async def work(visitor):
        await visitor.alert()
        alert_id = await visitor.alert(action="reverse", quantity=2)
        (ticket,) = (await visitor.ask(f"/api/alerts/{alert_id}")).json["tickets"]
        assert [order["leg"] for order in ticket["orders"]] == ["close", "open"]
        assert ticket["order"]["leg"] == "open"

    visit(tmp_path, work)


@pytest.mark.parametrize("alert_id", ["alert_none", "..%2F..", "%00", "%F0%9F%92%A5", "a" * 2000])
def test_an_unknown_alert_is_404(tmp_path, alert_id):
    async def work(visitor):
        got = await visitor.ask(f"/api/alerts/{alert_id}")
        assert (got.status, got.json["error"], set(got.json)) == (404, "not_found", NO_SUCH_ROW)

    visit(tmp_path, work)


def test_tickets_come_with_what_their_alert_asked_for(tmp_path):
    async def work(visitor):
        await visitor.alert(strategy=XSS)
        await visitor.alert(account_group="nowhere", action="exit", quantity=None)
        denied, filled = (await visitor.ask("/api/tickets")).json["tickets"]
        assert (denied["status"], denied["action"], denied["quantity"]) == ("denied", "exit", None)
        assert (filled["strategy"], filled["action"], filled["quantity"]) == (XSS, "buy", "1")
        assert filled["trail"][-1]["step"] == "fill"
        assert filled["received_at"] < denied["received_at"]

    visit(tmp_path, work)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 100])
def test_pages_hold_every_row_once_and_never_part_those_of_one_input(tmp_path, limit):
    async def work(visitor):
        for number in range(5):
            await visitor.alert(
                account_group="copied" if number % 2 else "paper_simulator", quantity=number + 1
            )
        seen, before = [], ""
        while True:
            page = (await visitor.ask(f"/api/fills?limit={limit}{before}")).json
            seqs = [row["seq"] for row in page["fills"]]
            assert len(seqs) <= limit or len(set(seqs)) == 1
            assert not {row["seq"] for row in seen} & set(seqs)
            seen += page["fills"]
            if page["next"] is None:
                break
            assert page["next"] == seqs[-1]
            before = f"&before={page['next']}"
        whole = (await visitor.ask("/api/fills?limit=1000")).json["fills"]
        assert seen == whole
        assert [row["seq"] for row in seen] == sorted((row["seq"] for row in seen), reverse=True)
        assert len(seen) == 3 + 2 * 3

    visit(tmp_path, work, groups=copied("a", "b", "c"))


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=", "limit=1.5", "limit=%D9%A3", "before=x",
     "before=-1", "before=99999999999999999999"],
)  # fmt: skip
def test_a_wrong_limit_or_before_is_400(tmp_path, query):
    async def work(visitor):
        got = await visitor.ask(f"/api/orders?{query}")
        assert (got.status, got.json["error"]) == (400, "invalid_request")
        assert got.json["message"].startswith(query.partition("=")[0])

    visit(tmp_path, work)


def test_positions_are_the_ledgers_that_hold_something(tmp_path):
    async def work(visitor):
        await visitor.alert(symbol="MNQ1!", action="sell", quantity=2, price="21500.25")
        await visitor.alert(symbol="MNQ1!", action="sell", quantity=1, price="21500.75", strategy=XSS)
        await visitor.alert(symbol="AAPL", price=10)
        await visitor.alert(symbol="AAPL", action="exit", quantity=None, price=11)
        held = {row["strategy"]: row for row in (await visitor.ask("/api/positions")).json["positions"]}
        assert held == {
            "walker": {
                "strategy": "walker", "account_group": "paper_simulator", "account": "paper",
                "symbol": "MNQ1!", "quantity": "-2", "average_price": "21500.25",
                "last_price": "21500.75", "unrealised": "-2",
            },
            XSS: {
                "strategy": XSS, "account_group": "paper_simulator", "account": "paper",
                "symbol": "MNQ1!", "quantity": "-1", "average_price": "21500.75",
                "last_price": "21500.75", "unrealised": "0",
            },
        }  # fmt: skip

    visit(tmp_path, work)


def test_an_average_is_no_longer_than_anyone_can_read(tmp_path):
    async def work(visitor):
        for place, price in enumerate((10, 10, 11)):
            await visitor.alert(price=price, comment=f"entry {place}")
        (held,) = (await visitor.ask("/api/positions")).json["positions"]
        assert (held["quantity"], held["average_price"]) == ("3", "10.333333333333")

    visit(tmp_path, work)


def test_strategies_and_groups_are_as_they_stand(tmp_path):
    async def work(visitor):
        await visitor.alert(price=10)
        await visitor.alert(action="exit", quantity=None, price=12)
        await visitor.desk.set_mode("walker", "halted", "lunch")
        await visitor.desk.halt("paper_simulator", "lunch")

        (walker,) = (await visitor.ask("/api/strategies")).json["strategies"]
        assert (walker["strategy"], walker["mode"], walker["pinned"]) == ("walker", "halted", True)
        assert (walker["trades"], walker["wins"], walker["net_profit"]) == (1, 1, "2")

        found = (await visitor.ask("/api/groups")).json["groups"]
        groups = {row["account_group"]: row for row in found}
        assert groups["paper_simulator"]["halt"]["reason"] == "lunch"
        assert groups["paper_simulator"]["accounts"][0]["books"][0]["cash"] == "100002"
        assert (groups["topstep"]["halt"], groups["topstep"]["broker_state"]) == (None, "not configured")

    visit(tmp_path, work)


def test_what_a_strategy_does_on_paper_can_be_read_where_no_group_is_live(tmp_path):
    async def work(visitor):
        for number, out in enumerate([95, 103, 97] * 4, 1):
            await visitor.alert(price=100, alert_id=f"in {number}")
            await visitor.alert(action="exit", quantity=None, price=out, alert_id=f"out {number}")
            (row,) = (await visitor.ask("/api/strategies")).json["strategies"]
            assert row["progress"].startswith(f"{number} of 20 paper trades")
        assert (
            row["progress"]
            == "12 of 20 paper trades, profit factor 0.38, 4 % of 75 %; no account group is live"
        )
        assert visitor.desk.engine.judged_now("walker").verdict.progress.n == 0

    visit(tmp_path, work)


def test_of_a_backtest_no_figure_is_told_that_the_order_of_its_import_bends(tmp_path):
    async def told(visitor):
        (row,) = (await visitor.ask("/api/strategies")).json["strategies"]
        return row["statistics"]["backtest"]

    async def work(visitor):
        early, late = (
            read_trades(LISTED.replace("2026", year), strategy="trend")[0] for year in ("2024", "2025")
        )
        await visitor.desk.import_trades("trend", late, "the later half")
        figures = await told(visitor)
        assert (figures["trades"], figures["episodes"], figures["max_drawdown"]) == (2, 2, -3)

        await visitor.desk.import_trades("trend", early, "the earlier half")
        figures = await told(visitor)
        assert (figures["trades"], figures["net_profit"], figures["profit_factor"]) == (4, 4, 10 / 6)
        assert (figures["episodes"], figures["max_drawdown"], figures["sharpe"]) == (None, None, None)

    visit(tmp_path, work)


def test_notices_and_modes_and_trades_are_told_newest_first(tmp_path):
    async def work(visitor):
        await visitor.alert(price=10)
        await visitor.alert(action="exit", quantity=None, price=12)
        await visitor.desk.halt("*", "first")
        await visitor.desk.resume("*", "second")
        texts = [row["text"] for row in (await visitor.ask("/api/notices")).json["notices"]]
        assert texts[0].endswith("second.")
        assert texts[1].endswith("first.")
        assert [row["net_pnl"] for row in (await visitor.ask("/api/trades")).json["trades"]] == ["2"]

    visit(tmp_path, work)


# Commands


def test_halt_and_resume_everywhere(tmp_path):
    async def work(visitor):
        desk = visitor.desk
        got = await visitor.ask("/api/halt", {"reason": "lunch"}, token=True)
        assert (got.status, got.json) == (200, {"status": "ok", "seq": desk.journal.last_seq})
        assert (desk.engine.state.halts["*"].state, desk.engine.state.halts["*"].reason) == (
            "halted",
            "lunch",
        )
        assert (await visitor.ask("/api/desk")).json["halt"]["reason"] == "lunch"
        got = await visitor.ask("/api/resume", b"", token=True)
        assert got.json == {"status": "ok", "seq": desk.journal.last_seq}
        assert desk.engine.state.halts["*"].reason == "through the API"
        assert (await visitor.ask("/api/desk")).json["halt"] is None

    visit(tmp_path, work)


def test_halt_and_resume_a_group(tmp_path):
    async def work(visitor):
        for verb, state in (("halt", "halted"), ("resume", "active")):
            got = await visitor.ask(f"/api/groups/topstep/{verb}", {}, token=True)
            assert got.status == 200
            assert visitor.desk.engine.state.halts["topstep"].state == state
        assert "*" not in visitor.desk.engine.state.halts

    visit(tmp_path, work)


@pytest.mark.parametrize("name", ["a/b c", XSS, "100% näive", "日本"])
def test_set_a_strategys_mode_whatever_it_is_called(tmp_path, name):
    async def work(visitor):
        await visitor.alert(strategy=name)
        for mode in ("paper", "halted", "live", "auto"):
            path = f"/api/strategies/{quote(name, safe='')}/mode"
            got = await visitor.ask(path, {"mode": mode, "reason": "by test"}, token=True)
            assert (got.status, got.json["seq"]) == (200, visitor.desk.journal.last_seq)
            (row,) = (await visitor.ask("/api/strategies")).json["strategies"]
            assert (row["strategy"], row["mode"]) == (name, mode)

    visit(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/groups/nowhere/halt", {}, 404),
        ("/api/groups/*/halt", {}, 404),
        ("/api/strategies/nobody/mode", {"mode": "paper"}, 404),
        ("/api/strategies/walker/mode", {"mode": "fast"}, 400),
        ("/api/strategies/walker/mode", {"mode": ["live"]}, 400),
        ("/api/strategies/walker/mode", {}, 400),
        ("/api/halt", {"reason": "two\nlines"}, 400),
        ("/api/halt", {"reason": "x" * 201}, 400),
        ("/api/halt", {"reason": ""}, 400),
        ("/api/halt", {"strategy": ["walker"]}, 404),
        ("/api/flatten", {"strategy": {}}, 404),
        ("/api/prices", {"symbol": ["AAPL"], "price": 1}, 400),
        ("/api/prices", b'{"symbol": "\\ud800", "price": 1}', 400),
        ("/api/prices", {"prices": {"": 1}}, 400),
        ("/api/prices", {"prices": {"AAPL": "1e-999999999"}}, 400),
        ("/api/halt", {"reason": 7}, 400),
        ("/api/halt", b'{"reason": "\\ud800"}', 400),
        ("/api/halt", b"[]", 400),
        ("/api/halt", b"{", 400),
        ("/api/halt", b"\xff", 400),
        ("/api/halt", b"[" * 5000, 400),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_and_leaves_no_trace(tmp_path, path, body, status):
    async def work(visitor):
        await visitor.alert()
        before = visitor.desk.journal.last_seq
        got = await visitor.ask(path, body, token=True, headers={"Content-Type": "application/json"})
        assert (got.status, got.json["status"]) == (status, "error")
        assert visitor.desk.journal.last_seq == before

    visit(tmp_path, work)


def test_with_a_bearer_token_the_bodys_content_type_does_not_matter(tmp_path):
    async def work(visitor):
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            got = await visitor.ask(
                "/api/halt", b'{"reason": "x"}', token=True, headers={"Content-Type": kind}
            )
            assert (got.status, got.json["status"]) == (200, "ok")

    visit(tmp_path, work)


def test_a_command_that_cannot_be_kept_is_503(tmp_path):
    async def work(visitor):
        async def full(scope, reason):
            raise JournalUnavailable("The disk is full.")

        visitor.desk.halt = full
        got = await visitor.ask("/api/halt", {}, token=True)
        assert (got.status, got.json["error"], got.headers["Retry-After"]) == (503, "unavailable", "5")

    visit(tmp_path, work)


def test_a_command_whose_decision_does_not_come_says_that_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "WAIT_S", 0.01)

    async def work(visitor):
        async def stuck(seq):
            await visitor.desk.journal._loop.create_future()

        visitor.desk.decided = stuck
        got = await visitor.ask("/api/halt", {}, token=True)
        assert (got.status, got.json["error"]) == (503, "undecided")

    visit(tmp_path, work)


def test_test_alerts_go_down_the_real_path_and_back_to_flat(tmp_path):
    async def work(visitor):
        outcomes = []
        for _ in range(4):
            kept = (await visitor.ask("/api/test-alert", {}, token=True)).json
            await visitor.desk.decided(kept["seq"])
            (ticket,) = (await visitor.ask(f"/api/alerts/{kept['alert_id']}")).json["tickets"]
            outcomes.append((ticket["status"], ticket["orders"][0]["side"], ticket["account_group"]))
        assert (
            outcomes
            == [
                ("filled", "buy", "paper_simulator"),
                ("filled", "sell", "paper_simulator"),
            ]
            * 2
        )
        assert (await visitor.ask("/api/positions")).json["positions"] == []

    visit(tmp_path, work)


def test_without_a_paper_group_there_is_no_test_alert(tmp_path):
    async def work(visitor):
        got = await visitor.ask("/api/test-alert", {}, token=True)
        assert (got.status, got.json["error"]) == (409, "no_paper_group")

    visit(tmp_path, work, groups={"main": Group(broker="tastytrade")})


# Who may


READ, CHANGE, OPEN = "/api/alerts", "/api/halt", "/healthz"
REMOTE = {"X-Forwarded-For": "203.0.113.7"}
PUBLIC = {"Host": "desk.example.com"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
OTHER = {"Origin": "https://evil.example"}
NULL = {"Origin": "null"}
REBOUND = {"Host": "evil.example:8000"}

MATRIX = [
    # headers, token: (reading, changing)
    ({}, False, (200, 401)),
    ({}, True, (200, 200)),
    ({}, "wrong", (401, 401)),
    ({}, "", (200, 401)),
    ({"Authorization": "Basic eDp5"}, False, (401, 401)),
    (REMOTE, False, (401, 401)),
    (REMOTE, True, (200, 200)),
    ({"Forwarded": "for=203.0.113.7"}, False, (401, 401)),
    (PUBLIC, False, (401, 401)),
    (PUBLIC, True, (200, 200)),
    (REBOUND, False, (403, 403)),
    (REBOUND, True, (403, 403)),
    ({"Host": "localhost.evil.example"}, True, (403, 403)),
    ({"Host": "localhost"}, False, (200, 401)),
    ({"Host": "[::1]:80"}, True, (200, 200)),
    (CROSS, False, (403, 403)),
    (CROSS, True, (403, 403)),
    ({"Sec-Fetch-Site": "same-site"}, True, (403, 403)),
    ({"Sec-Fetch-Site": "same-origin"}, True, (200, 200)),
    ({"Sec-Fetch-Site": "none"}, True, (200, 200)),
    (OTHER, True, (403, 403)),
    (NULL, True, (403, 403)),
    ({"Origin": "http://["}, True, (403, 403)),
    ({"Origin": "http://127.0.0.1:1"}, True, (403, 403)),  # another port is another program
    ({"Origin": "https://desk.example.com"}, True, (200, 200)),
]


@pytest.mark.parametrize(("headers", "token", "answers"), MATRIX)
def test_who_may_read_and_who_may_change(tmp_path, headers, token, answers):
    async def work(visitor):
        got = await visitor.ask(READ, token=token, headers=headers)
        changed = await visitor.ask(CHANGE, {}, token=token, headers=headers)
        assert (got.status, changed.status) == answers
        halted = "*" in visitor.desk.engine.state.halts
        assert halted is (answers[1] == 200)
        assert (await visitor.ask(OPEN, token=token, headers=headers)).status == 200
        for refused in (got, changed):
            if refused.status == 401:
                assert (refused.json["error"], refused.headers["WWW-Authenticate"]) == (
                    "unauthorized",
                    "Bearer",
                )

    visit(tmp_path, work, public_url="https://desk.example.com")


EVERY = [
    *((f"/api/{name}", None) for name in (*TABLES, *VIEWS, "desk", "alerts/alert_none")),
    ("/metrics", None),
    *((path, {}) for path in ("/api/halt", "/api/resume", "/api/groups/topstep/halt", "/api/test-alert")),
    ("/api/strategies/walker/mode", {"mode": "auto"}),
]


@pytest.mark.parametrize(("path", "body"), EVERY)
def test_off_loopback_everything_needs_the_token(tmp_path, path, body):
    async def work(visitor):
        assert (await visitor.ask(path, body)).status == 401
        assert (await visitor.ask(path, body, token="wrong")).status == 401
        assert (await visitor.ask(path, body, token=True)).status not in (401, 403)
        for health in ("/livez", "/readyz", "/healthz", "/webhook/test"):
            assert (await visitor.ask(health)).status == 200

    visit(tmp_path, work, host="0.0.0.0", secrets=(SECRET,))


@pytest.mark.parametrize(("path", "body"), [entry for entry in EVERY if entry[1] is not None])
def test_what_changes_something_needs_the_token_here_too(tmp_path, path, body):
    async def work(visitor):
        before = visitor.desk.journal.last_seq
        assert (await visitor.ask(path, body)).status == 401
        assert (await visitor.ask(path, body, token=True, headers=CROSS)).status == 403
        assert visitor.desk.journal.last_seq == before

    visit(tmp_path, work)


def test_the_webhook_is_reached_by_any_name(tmp_path):
    async def work(visitor):
        alert = {"symbol": "AAPL", "action": "exit"}
        got = await visitor.ask(f"/webhook/tradingview/{SECRET}", alert, headers=REBOUND | REMOTE)
        assert got.status == 200

    visit(tmp_path, work, secrets=(SECRET,))


def test_no_answer_holds_a_secret(tmp_path):
    async def work(visitor):
        body = {"symbol": "AAPL", "action": "buy", "quantity": 1, "price": 1, "token": SECRET}
        kept = await visitor.ask(f"/webhook/tradingview/{SECRET}", body)
        await visitor.desk.decided(visitor.desk.journal.last_seq)
        paths = [path for path, body in EVERY if body is None]
        paths += [f"/api/alerts/{kept.json['alert_id']}", "/healthz", "/", "/static/app.js", "/sign-in"]
        for path in paths:
            text = (await visitor.ask(path, token=True)).text
            for secret in (SECRET, TOKEN, "broker-password"):
                assert secret not in text, path

    credentials = {"tradovate": {"password": "broker-password", "username": "broker-password"}}
    visit(tmp_path, work, secrets=(SECRET,), credentials=credentials)


# The token


def test_a_token_is_made_once_and_is_its_owners_alone(tmp_path):
    settings = Settings(journal=tmp_path / "desk.db")
    assert read_token(settings.journal) is None
    made = token_for(settings)
    place = token_path(settings.journal)
    assert (place.name, place.stat().st_mode & 0o777) == ("desk.db.token", 0o600)
    assert len(made) >= 43
    assert token_for(settings) == read_token(settings.journal) == made
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["desk.db.token"]


def test_a_token_that_others_could_read_is_closed_again(tmp_path, caplog):
    settings = Settings(journal=tmp_path / "desk.db")
    made = token_for(settings)
    token_path(settings.journal).chmod(0o644)
    assert token_for(settings) == made
    assert token_path(settings.journal).stat().st_mode & 0o777 == 0o600
    assert "others could read" in caplog.text
    assert made not in caplog.text


def test_an_empty_token_file_is_no_token(tmp_path):
    settings = Settings(journal=tmp_path / "desk.db")
    token_path(settings.journal).write_text("\n")
    assert read_token(settings.journal) is None
    assert token_for(settings) == read_token(settings.journal) != ""


def test_a_token_that_was_set_is_not_written_down(tmp_path):
    settings = Settings(journal=tmp_path / "desk.db", api_token="mine")
    assert token_for(settings) == "mine"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", ["folder", "bytes"])
def test_a_token_that_cannot_be_read_is_one_clear_line(tmp_path, spoil):
    place = token_path(tmp_path / "desk.db")
    if spoil == "folder":
        place.mkdir()
    else:
        place.write_bytes(b"\xff\xfe")
    with pytest.raises(
        RequestError, match=r"^The API token .*desk\.db\.token can't be read \(.+\); look at its owner\.$"
    ):
        read_token(tmp_path / "desk.db")


def test_a_token_that_cannot_be_made_is_one_clear_line(tmp_path):
    with pytest.raises(RequestError, match="can't be made"):
        token_for(Settings(journal=tmp_path / "missing" / "desk.db"))


def judge(tmp_path, now, token=TOKEN):
    return Access(Settings(journal=tmp_path / "desk.db", api_token=token), clock=lambda: now[0])


def test_what_signs_a_browser_in_ends_and_is_good_for_nothing_else(tmp_path, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(access.time, "time", lambda: now[0])
    judged = judge(tmp_path, now)

    class Desk:
        settings = Settings(journal=tmp_path / "desk.db", api_token=TOKEN)

    url = access.sign_in_url(Desk())
    given = re.fullmatch(r"http://127\.0\.0\.1:8000/\?token=(\S+)", url)[1]
    assert TOKEN not in url
    assert judged.signs_in(given)
    assert not judged.signs_in(judged.session())
    assert not judge(tmp_path, now, "another").signs_in(given)
    assert not judged.signs_in(given[:-1] + ("0" if given[-1] != "0" else "1"))
    assert not judged.signs_in("9" + given)
    now[0] += access.SIGN_IN_S - 1
    assert judged.signs_in(given)
    now[0] += 1
    assert not judged.signs_in(given)


@pytest.mark.parametrize("given", ["", ".", "x.y", "٣.abc", "1" * 400 + ".a", "\ud800", "1000000", "-1.a"])
def test_nonsense_signs_nobody_in(tmp_path, given):
    assert not judge(tmp_path, [0.0]).signs_in(given)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("a.b", "a.b")],
)
def test_an_address_is_one_that_a_browser_here_can_open(host, shown):
    assert access.address_of(host, 8000) == f"http://{shown}:8000"


def test_lists_are_json_whatever_stands_in_them(tmp_path):
    async def work(visitor):
        await visitor.alert(strategy=XSS, comment='"}]\u2028</script>')
        got = await visitor.ask("/api/alerts")
        assert got.headers["Content-Type"] == "application/json; charset=utf-8"
        assert json.loads(got.text)["alerts"][0]["strategy"] == XSS

    visit(tmp_path, work)


def test_a_desk_is_flattened_and_told_prices(tmp_path):
    async def work(visitor):
        await visitor.alert(strategy="one", quantity=2, stop_loss={"price": 90})
        told = await visitor.ask("/api/prices", {"prices": {"AAPL": "95.5"}}, token=True)
        flat = await visitor.ask("/api/flatten", {"strategy": "one"}, token=True)
        wrong = await visitor.ask("/api/prices", {"prices": {"AAPL": "dear"}}, token=True)
        unknown = await visitor.ask("/api/flatten", {"strategy": "nobody"}, token=True)
        fills = (await visitor.ask("/api/fills")).json["fills"]

        assert (told.status, flat.status, wrong.status, unknown.status) == (200, 200, 400, 404)
        assert [row["price"] for row in fills] == ["95.5", "100"]

    visit(tmp_path, work)
