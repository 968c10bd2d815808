"""Live views: small states whatever comes in, what is left out is said, texts are texts, and nobody waits."""

from __future__ import annotations

import asyncio
import json
import threading
from decimal import Decimal
from html import unescape
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_desk import LIMIT_S, served

import ttflow as tt
from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.notebook import live, sources
from ttflow.notebook.boards import POINTS, STAGES, TAPE_ROWS, Books, Curve, Equity, Latency, Tape
from ttflow.notebook.live import Panel, Pulse
from ttflow.notebook.sources import Beside, Near, source_of
from ttflow.notebook.still import html

HOSTILE = "<script>alert('x')</script>&\"'"
VIEWS = ("tape", "strategies", "equity", "graph", "latency")


def ticket(seq, **more):
    usual = {"seq": seq, "account_group": "paper", "account": "one", "strategy": "s", "symbol": "ES1!"}
    trail = [["order", "Buy 1."], ["fill", f"Filled {seq}."]]
    return {"table": "tickets", "row": {**usual, "status": "filled", "reason": None, "trail": trail, **more}}


def alert(seq, **more):
    asked = {"action": "buy", "quantity": "1", "received_at": f"2026-01-05T00:00:{seq % 60:02}Z"}
    return {"table": "alerts", "row": {"seq": seq, "alert_id": f"a{seq}", **asked, **more}}


class Nobody:
    """A source in which nothing is recorded."""

    state = "live"

    def recent(self, table, most):
        return []


# Boards


@given(st.lists(st.integers(1, 60), max_size=150), st.sets(st.integers(0, 149)))
def test_a_tape_shows_the_newest_and_counts_what_it_skipped(seqs, drawn):
    """Every ticket that came was shown in some state, or is in it now, or was counted as skipped."""
    tape, shown = Tape(), set()
    for place, seq in enumerate(seqs):
        known = {row["seq"] for row in tape._rows.values()}
        if seq in known or all(seq > one for one in known):
            tape.take([alert(seq), ticket(seq)], 0.0)
        if place in drawn:
            shown |= {row["seq"] for row in tape.state(Nobody())["rows"]}
    state = tape.state(Nobody())
    shown |= {row["seq"] for row in state["rows"]}

    assert len(state["rows"]) <= TAPE_ROWS
    assert [row["seq"] for row in state["rows"]] == sorted((r["seq"] for r in state["rows"]), reverse=True)
    assert state["tickets"] == len(shown) + state["skipped"]


def test_a_tape_keeps_what_was_asked_when_the_outcome_comes_later():
    tape = Tape()
    tape.take([alert(1), ticket(1, status="ordered")], 0.0)
    tape._asked.clear()
    tape.take([ticket(1, status="denied", reason="THROTTLED", trail=[["throttle", "Too soon."]])], 0.0)
    (row,) = tape.state(Nobody())["rows"]

    assert (row["asked"], row["at"]) == ("buy 1 ES1!", "2026-01-05T00:00:01Z")
    assert (row["status"], row["reason"], row["said"]) == ("denied", "THROTTLED", "Too soon.")


def test_a_burst_of_tickets_leaves_a_small_state():
    tape = Tape()
    long = "x" * 5000
    for seq in range(3000):
        tape.take([alert(seq), ticket(seq, strategy=long, trail=[["", long]])], 0.0)
    state = tape.state(Nobody())

    assert (state["tickets"], state["skipped"]) == (3000, 3000 - TAPE_ROWS)
    assert len(json.dumps(state)) < 16_000


@given(st.lists(st.decimals(-100, 100, places=2), max_size=1000))
def test_a_curve_is_its_sums_and_keeps_its_extremes(results):
    curve, total, peak, deepest = Curve(), Decimal(0), Decimal(0), Decimal(0)
    for at, result in enumerate(results):
        curve.add(at, float(result))
        total += result
        peak = max(peak, total)
        deepest = min(deepest, total - peak)
    told = curve.told()

    assert told["trades"] == len(results)
    assert len(told["at"]) <= POINTS + 2
    assert told["at"] == sorted(told["at"])
    assert told["net"] == pytest.approx(float(total), abs=0.01)
    assert told["deepest"] == pytest.approx(float(deepest), abs=0.01)
    if results:
        assert max(told["equity"]) == round(max(curve.equity), 2)
        assert min(told["equity"]) == round(min(curve.equity), 2)


def test_latency_tells_each_stage_by_its_own_times():
    board = Latency()
    board.take(
        [
            alert(1, received_at="2026-01-05T00:00:01.500Z"),
            {
                "table": "orders",
                "row": {
                    "order_id": "o1",
                    "alert_id": "a1",
                    "submitted_at": "2026-01-05T00:00:01.750Z",
                    "fired_at": "2026-01-05T00:00:01Z",
                },
            },
            {"table": "fills", "row": {"order_id": "o1", "filled_at": "2026-01-05T00:00:02.750Z"}},
        ],
        1767571203.5,
    )
    stages = {one["name"]: one for one in board.state(Nobody())["stages"]}

    assert [stages[name]["middle_s"] for name in STAGES.values()] == pytest.approx([0.5, 0.25, 1.0, 2.0])
    assert all(one["count"] == 1 for one in stages.values())


# Of a desk, from outside and from inside


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_a_desk_from_outside(tmp_path, view):
    pytest.importorskip("anywidget", reason="the package anywidget is not installed")
    with served(tmp_path / "ttflow.db") as desk, tt.attach(desk.url) as attached:
        desk.trade(3)
        attached.wait()
        shown = getattr(tt.notebook, view)(attached)
        desk.trade(4, first=3)
        attached.wait()
        page = shown.panel._repr_html_()
        shown.close()

    assert shown.kind == view
    assert {
        "tape": "Sell 1 AAPL at 105",
        "strategies": "walker",
        "equity": "after 3 trades",
        "graph": "sizing",
        "latency": "kept to seen here",
    }[view] in unescape(page)


def test_a_view_agrees_from_outside_and_from_inside(tmp_path):
    async def main():
        async with Desk(tt.Settings(journal=tmp_path / "ttflow.db", rate_limit="0")) as desk:
            panels = {view: Panel(source_of(desk), board()) for view, board in BOARDS.items()}
            for number in range(6):
                action = "sell" if number % 2 else "buy"
                given = {"symbol": "AAPL", "action": action, "quantity": 1, "price": 100 + number}
                await desk.send({**given, "strategy": HOSTILE})
            fresh = {view: Panel(source_of(desk), board()) for view, board in BOARDS.items()}
            grown = {view: await asyncio.to_thread(panel.refresh) for view, panel in panels.items()}
            return grown, {view: panel.refresh() for view, panel in fresh.items()}

    grown, fresh = asyncio.run(main())

    assert (grown["tape"].pop("tickets"), fresh["tape"].pop("tickets")) == (6, 0)
    assert grown == fresh
    assert len(fresh["tape"]["rows"]) == 6
    assert fresh["equity"]["curves"]["paper"]["net"] == 3


BOARDS = {"tape": Tape, "equity": Equity, "graph": live.Flowing, "strategies": live.Strategies}


def by_one(alerts, desk):
    return alerts.pipe(tt.operators.size("fixed", 1))


def test_both_books_stand_side_by_side_and_grow(tmp_path):
    async def main():
        async with Desk(tt.Settings(journal=tmp_path / "ttflow.db", rate_limit="0")) as desk:
            fork = desk.fork(by_one, name=HOSTILE)
            panel = Panel(Beside(desk, fork), Books())
            empty = panel.refresh()
            for number in range(12):
                action = "sell" if number % 2 else "buy"
                given = {"symbol": "AAPL", "action": action, "quantity": 2, "price": 100 + number}
                await desk.send({**given, "strategy": HOSTILE})
            await fork.caught_up()
            grown, compared = await asyncio.to_thread(panel.refresh), fork.compare()
            page = panel._repr_html_()
            fork.stop()
            return empty, grown, compared, page, panel.refresh()["link"], panel._backlog

    empty, grown, compared, page, link, backlog = asyncio.run(main())
    totals = {name: values for name, *values in grown["totals"]}

    assert (empty["different"], empty["same"]) == (0, 0)
    assert grown["names"] == ["live", HOSTILE]
    assert (grown["different"], grown["same"]) == (len(compared.differences), compared.same) == (12, 0)
    assert totals["fills"] == [12, 12]
    assert totals["net_profit"] == [12, 6] == list(compared.totals.loc["net_profit"])[:2]
    assert [row["seq"] for row in grown["newest"]] == list(compared.differences["seq"])[:1:-1]
    assert grown["newest"][0]["told"] == ["filled -2", "filled -1"]
    json.dumps(grown, allow_nan=False)
    assert "<script" not in page
    assert "12 of 12 tickets were decided otherwise" in page
    assert link == "stopped"
    assert all(changes == [] for _, changes in backlog._items)  # what was decided is asked for, not kept


def test_what_takes_long_to_draw_rests_long(monkeypatch):
    news, now, waited = threading.Event(), [0.0], []
    monkeypatch.setattr(live, "monotonic", lambda: now[0])

    def draw():
        now[0] += 2.0
        news.set()

    pulse = Pulse(news, 0.5, draw)
    news.set()
    over = pulse._over
    monkeypatch.setattr(
        over, "wait", lambda rest: bool(waited.append(rest)) or len(waited) > 2, raising=False
    )
    pulse.run()

    assert waited == [0.5, 2.0 * live.REST, 2.0 * live.REST]


def test_more_than_a_view_can_hold_begins_it_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "HELD", 4)
    with served(tmp_path / "ttflow.db") as desk, tt.attach(desk.url) as attached:
        panel = Panel(source_of(attached), Equity())
        desk.trade(20)
        attached.wait()

        assert panel._backlog.overflowed
        assert panel.refresh()["curves"]["paper"]["trades"] == 10


def test_a_desk_in_this_process_that_is_held_up_is_not_waited_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ANSWER_S", 0.01)

    async def main():
        async with Desk(tt.Settings(journal=tmp_path / "ttflow.db")) as desk:
            near, told = Near(desk), []

            def ask():
                with pytest.raises(RequestError, match="while a cell is at work"):
                    near.view("graph")
                told.append(True)

            asking = threading.Thread(target=ask)
            asking.start()
            asking.join(LIMIT_S)  # the loop stands still meanwhile
            return told

    assert asyncio.run(main()) == [True]


def test_a_desk_in_this_process_is_not_looked_at_from_elsewhere():
    with pytest.raises(RequestError, match="from its own loop"):
        source_of(Desk(tt.Settings()))


def test_a_view_of_a_desk_that_is_gone_keeps_what_it_had_and_says_so(tmp_path):
    with served(tmp_path / "ttflow.db") as desk:
        attached = tt.attach(desk.url)
        panel = Panel(source_of(attached), live.Strategies())
        desk.trade(1)
        attached.wait()
        before = panel.refresh()
    after = panel.refresh()
    attached.close()

    assert after["rows"] == before["rows"]
    assert "No desk answers" in after["why"]


# Drawing


def test_a_pulse_draws_only_while_somebody_looks(monkeypatch):
    news, drawn = threading.Event(), threading.Semaphore(0)
    pulse = Pulse(news, 0.001, drawn.release)
    pulse.start()
    news.set()
    assert drawn.acquire(timeout=LIMIT_S)

    monkeypatch.setattr(live, "FORGOTTEN_S", -1.0)
    monkeypatch.setattr(live, "LOOKS_S", 0.001)
    while drawn.acquire(timeout=0.05):
        pass
    news.set()
    assert not drawn.acquire(timeout=0.05)

    monkeypatch.setattr(live, "FORGOTTEN_S", 1000.0)
    assert drawn.acquire(timeout=LIMIT_S)
    pulse.stop()
    pulse.join(LIMIT_S)
    assert not pulse.is_alive()


def test_a_view_that_can_not_be_drawn_once_goes_on(caplog):
    news, drawn = threading.Event(), threading.Semaphore(0)

    def draw():
        drawn.release()
        news.set()
        raise ValueError("no")

    pulse = Pulse(news, 0.001, draw)
    pulse.start()
    news.set()
    assert drawn.acquire(timeout=LIMIT_S)
    assert drawn.acquire(timeout=LIMIT_S)
    pulse.stop()
    pulse.join(LIMIT_S)
    assert "could not be drawn" in caplog.text


# What the page gets


def states():
    """One state of every view, with hostile texts wherever a text may stand."""
    row = {
        "seq": 1,
        "strategy": HOSTILE,
        "place": HOSTILE,
        "asked": HOSTILE,
        "reason": HOSTILE,
        "said": HOSTILE,
    }
    node = dict.fromkeys(("seen", "out", "denied", "failed", "dropped"), 1)
    curve = {"at": [1.0], "equity": [1.0], "down": [0.0], "trades": 1, "net": 1.0, "deepest": 0.0}
    figures = {"trades": 1, "wins": 1, "net_profit": 1.0, "in_force": "live", "mode": "auto", "stopped": ""}
    return {
        "tape": {"rows": [{**row, "status": "filled", "at": None}], "tickets": 9, "skipped": 3},
        "strategies": {"rows": [{**figures, "strategy": HOSTILE, "progress": HOSTILE}], "more": 2},
        "equity": {"strategy": HOSTILE, "curves": {"live": curve}},
        "graph": {"nodes": [{**node, "name": HOSTILE, "detail": HOSTILE, "parents": [], "each_s": None}]},
        "latency": {"stages": [{"name": HOSTILE, "count": 0}]},
    }


@pytest.mark.parametrize("view", VIEWS)
def test_texts_are_escaped_where_no_script_runs(view):
    page = html(view, {**states()[view], "link": HOSTILE, "why": HOSTILE})

    assert "<script" not in page
    assert HOSTILE in unescape(page)


def test_what_was_thinned_out_is_said():
    assert "3 of 9 tickets went by too fast to be shown" in html("tape", states()["tape"])
    assert "2 more are not shown" in html("strategies", states()["strategies"])


def test_the_script_can_only_write_text_and_asks_nobody():
    script = files("ttflow.notebook").joinpath("live.js").read_text(encoding="utf-8")
    style = files("ttflow.notebook").joinpath("live.css").read_text(encoding="utf-8")

    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "fetch(",
        "import ",
    ):
        assert word not in script
    assert "//" not in style
    assert "url(" not in style
    assert script.count("http") == 1  # the name of SVG's namespace
    assert str(int(1000 * live.LOOKS_S)) in script


def test_without_anywidget_a_view_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "find_spec", lambda name: None)
    with served(tmp_path / "ttflow.db") as desk, tt.attach(desk.url) as attached:
        desk.trade(1)
        attached.wait()
        shown = tt.notebook.tape(attached)

        assert isinstance(shown, Panel)
        assert "Buy 1 AAPL at 100" in shown._repr_html_()
        assert attached._line.listeners == []
