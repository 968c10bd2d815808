"""What one who is attached sees is what the journal has.

What they say is said plainly, and what they do is done.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from decimal import Decimal

import pandas as pd
import pytest
from served_desk import LIMIT_S, TOKEN, served

import ttflow as tt
from ttflow import stats
from ttflow.client import announced
from ttflow.errors import RequestError
from ttflow.journal import Reader
from ttflow.notebook.tables import SERVED

FLOWS = ("tickets", "fills", "orders", "trades", "modes", "notices", "prices")


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "ttflow.db"


@pytest.fixture
def desk(journal):
    with served(journal) as found:
        yield found


@pytest.fixture
def attached(desk):
    with tt.attach(desk.url, token=TOKEN) as found:
        yield found


def same_as_the_journal(attached, journal):
    assert attached.wait()
    with Reader.open(journal) as reader:
        for table in SERVED:
            pd.testing.assert_frame_equal(attached.frame(table), reader.frame(table))


# What is seen


def test_frames_are_those_of_the_journal_empty_full_and_grown(desk, attached, journal):
    same_as_the_journal(attached, journal)
    desk.trade(6)
    same_as_the_journal(attached, journal)
    desk.do(desk.desk.halt())
    desk.do(desk.desk.set_mode("walker", "paper"))
    desk.alert(account_group="nowhere")
    desk.alert(order_type="limit", limit_price=90, symbol="MSFT")
    same_as_the_journal(attached, journal)


def test_a_frame_asked_for_late_has_what_came_before(desk, attached, journal, monkeypatch):
    monkeypatch.setattr("ttflow.notebook.tables.PAGE", 3)
    desk.trade(10)
    same_as_the_journal(attached, journal)


def test_a_frame_belongs_to_whoever_asked_for_it(desk, attached):
    desk.trade(2)
    attached.wait()
    mine = attached.frame("fills")
    mine["price"] = 0.0

    assert list(attached.frame("fills")["price"]) == [100, 101]


def test_flows_carry_what_was_recorded_as_the_values_that_it_is(desk, attached):
    seen = {name: [] for name in FLOWS}
    for name, items in seen.items():
        getattr(attached, name).each(items.append)
    desk.trade(2)
    desk.do(desk.desk.set_mode("walker", "halted"))
    assert attached.wait()

    assert [(one.status, one.alert.quantity, one.alert.action) for one in seen["tickets"]] == [
        ("filled", 1, "buy"),
        ("filled", 1, "sell"),
    ]
    assert [type(one) for one in seen["fills"]] == [tt.Fill, tt.Fill]
    assert [one.price for one in seen["fills"]] == [Decimal(100), Decimal(101)]
    assert {type(one) for one in seen["orders"]} == {tt.Order}
    assert [one.net_pnl for one in seen["trades"]] == [1]
    assert [one.mode for one in seen["modes"]] == ["halted"]
    assert [one.kind for one in seen["notices"]][-1] == "mode"
    assert [one.price for one in seen["prices"]] == [100, 101]


def test_a_ticket_whose_alert_came_before_knows_what_it_asked(desk):
    desk.alert(order_type="limit", limit_price=90)
    with tt.attach(desk.url) as attached:
        seen = []
        attached.tickets.each(seen.append)
        desk.do(desk.desk.see_prices({"AAPL": 89}))
        assert attached.wait()

    assert [(one.status, one.alert.action, one.alert.price) for one in seen] == [("filled", "buy", 100)]


def test_flows_begin_where_they_are_told_to(desk):
    desk.trade(3)
    with tt.attach(desk.url, since=0) as attached:
        assert attached.wait()
        assert attached.fills.node.out == 3


def test_statistics_are_those_of_the_command(desk, attached, journal):
    desk.trade(12)
    figures = attached.statistics(capital=5000)
    with Reader.open(journal) as reader:
        wanted = stats.by(list(reader.rows("fills")), "strategy", "mode", capital=5000)

    assert list(figures.index) == [("walker", "paper")]
    pd.testing.assert_frame_equal(figures, wanted)


def test_positions_and_strategies_are_numbers_and_words(desk, attached):
    assert attached.positions().empty
    desk.trade(3)
    held = attached.positions().iloc[0]
    known = attached.strategies().iloc[0]

    assert (held["symbol"], held["quantity"], held["average_price"]) == ("AAPL", 1.0, 102.0)
    assert (known["strategy"], known["in_force"], known["trades"]) == ("walker", "paper", 1)
    assert str(attached.strategies()["first_seen_at"].dtype) == "datetime64[us, UTC]"


def test_an_alert_is_explained(desk, attached):
    desk.alert(account_group="nowhere")
    attached.wait()
    told = attached.explain(attached.frame("alerts")["alert_id"][0])

    assert "denied (UNKNOWN_GROUP)" in told
    assert "There is no account group nowhere" in told
    with pytest.raises(RequestError, match="no alert alert_none"):
        attached.explain("alert_none")


# What is done


def test_the_controls_do_what_they_say(desk, attached):
    desk.trade(1)
    attached.halt("paper_simulator", reason="a look")
    desk.alert(symbol="MSFT")
    attached.wait()
    assert attached.frame("tickets")["reason"].iloc[-1] == "TRADING_HALTED"
    assert "a look" in attached.frame("notices")["text"].iloc[-1]

    attached.resume("paper_simulator")
    attached.flatten("*/walker")
    attached.set_mode("walker", "paper")
    assert attached.positions().empty
    assert attached.frame("modes")["mode"].iloc[-1] == "paper"


def test_limits_are_set_for_all_or_for_a_group_and_taken_back(desk, attached):
    for limits, scope in (({"quantity": 2}, "*"), (None, "*"), ({"quantity": 2}, "paper_simulator")):
        attached.set_limits(limits, scope, reason=f"a look at {scope}")
        desk.alert(symbol="MSFT", quantity=3, comment=f"{limits} {scope}")
    attached.wait()

    assert list(attached.frame("tickets")["status"]) == ["denied", "filled", "denied"]
    assert set(attached.frame("tickets")["reason"].dropna()) == {"QUANTITY_EXCEEDS_MAX"}
    assert "a look at paper_simulator" in attached.frame("notices")["text"].iloc[-1]


def test_reducing_stops_what_opens_and_lets_out_what_closes(desk, attached):
    desk.trade(1)
    attached.reduce(reason="a look")
    desk.alert(symbol="MSFT")
    desk.alert(action="exit", quantity=None, comment="out")
    attached.wait()

    tickets = attached.frame("tickets")
    assert list(tickets["status"].iloc[-2:]) == ["denied", "filled"]


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda desk: desk.settle_order("none", "adopt"), "none"),
        (lambda desk: desk.settle_order("none", "forget"), "nothing at this address"),
        (lambda desk: desk.set_limits({"luck": 7}), "luck"),
        (lambda desk: desk.set_limits({"quantity": 7}, "nowhere"), "no such account group"),
        (lambda desk: desk.halt("nowhere"), "no such account group"),
        (lambda desk: desk.halt("*/nobody"), "no such strategy"),
        (lambda desk: desk.set_mode("walker", "fast"), "mode has to be one of"),
        (lambda desk: desk.frame("everything"), "There is no table 'everything'"),
        (lambda desk: tt.attach(desk.url, since=10**6), "since has to be from 0 to"),
    ],
)
def test_what_can_not_be_done_is_said(desk, attached, act, told):
    desk.trade(1)
    with pytest.raises(RequestError, match=told):
        act(attached)


# Who is let in


def test_a_wrong_token_is_said_plainly(desk):
    with pytest.raises(RequestError, match="does not know this token"):
        tt.attach(desk.url, token="not this one")


def test_without_a_token_one_may_look_and_not_touch(desk, tmp_path):
    with tt.attach(desk.url, journal=tmp_path / "other.db") as attached:
        assert attached.frame("alerts").empty
        with pytest.raises(RequestError, match="wants its API token"):
            attached.halt()


def test_the_token_beside_the_journal_is_found(journal):
    with served(journal, api_token=None) as desk, tt.attach(desk.url, journal=journal) as attached:
        assert attached.halt() > 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1"])
def test_where_no_desk_answers_that_is_said(url):
    with pytest.raises(RequestError, match=r"No desk answers at http://127\.0\.0\.1:1 "):
        tt.attach(url)


def test_it_works_where_a_loop_runs_and_where_none_does(desk):
    async def cell():
        with tt.attach(desk.url) as attached:
            return attached.state

    assert asyncio.run(cell()) == "live"


# Across restarts


def test_it_goes_on_after_a_restart(journal):
    seen, back = [], threading.Event()
    with served(journal) as first:
        attached = tt.attach(first.url)
        attached.tickets.each(lambda ticket: seen.append(ticket.seq))
        attached.notices.each(lambda notice: back.set())
        first.trade(3)
        assert attached.wait()
    with served(journal, port=first.port) as second:
        second.trade(3, first=3)
        assert attached.wait(timeout=LIMIT_S)
        same_as_the_journal(attached, journal)

        assert (attached.state, attached.reconnects) == ("live", 1)
        assert seen == list(attached.frame("tickets")["seq"])
        assert len(seen) == 6
        attached.close()


def until(attached, state):
    with attached._line._news:
        assert attached._line._news.wait_for(lambda: attached.state == state, LIMIT_S), attached


def test_another_desk_at_the_same_address_is_not_taken_for_it(tmp_path):
    with served(tmp_path / "one.db") as first:
        attached = tt.attach(first.url)
        first.trade(1)
        attached.frame("fills")
    with served(tmp_path / "two.db", port=first.port):
        until(attached, "lost")
        with pytest.raises(RequestError, match="Another desk"):
            attached.frame("fills")
        assert "Another desk" in repr(attached)
        attached.close()


def test_while_its_desk_is_away_it_takes_no_other_for_it(journal, tmp_path, monkeypatch):
    with served(tmp_path / "another.db") as another:
        monkeypatch.setenv("PORT", f"{another.port}")
        monkeypatch.setenv("TTFLOW_JOURNAL", f"{journal}")
        with served(journal) as first, announced(journal, first.url):
            attached = tt.attach()
            assert attached.url == first.url
        until(attached, "reconnecting")
        assert attached._line.find().base == first.url
        with served(journal) as again, announced(journal, again.url):
            until(attached, "live")
            assert attached.url == again.url
        attached.close()


# The end


def test_what_was_learned_stays_when_it_is_closed(desk):
    with tt.attach(desk.url) as attached:
        desk.trade(2)
        attached.wait()
        attached.frame("fills")

    assert len(attached.frame("fills")) == 2
    assert attached.state == "closed"
    with pytest.raises(RequestError, match="closed"):
        attached.frame("orders")
    attached.close()


def test_one_that_nobody_holds_is_let_go(desk):
    attached = tt.attach(desk.url)
    thread = attached._line._thread
    del attached
    gc.collect()
    thread.join(LIMIT_S)

    assert not thread.is_alive()


def test_it_shows_itself_and_escapes_what_it_shows(desk, attached):
    desk.trade(1)
    attached.wait()
    assert f"<Attached to {desk.url}: live, input " in repr(attached)
    assert "1 fills" in attached._repr_html_()
    attached._line.say("reconnecting", "<b>gone</b>")
    assert "&lt;b&gt;gone" in attached._repr_html_()
