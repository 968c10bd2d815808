"""Comparisons: where two flows decided otherwise on the same alerts, ticket by ticket and in total."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttflow as tt
from ttflow import operators as ops
from ttflow import sample
from ttflow.errors import RequestError
from ttflow.rerun import compare, replay
from ttflow.settings import Settings
from ttflow.testing import Clock, ScriptedBroker, body


def small(alerts, desk):
    return alerts.pipe(ops.where(lambda ticket: ticket.asked <= 1), ops.size())


def doubled(alerts, desk):
    return alerts.pipe(ops.size("fixed", 2))


ALERTS = [
    body(action="buy", quantity=1, price=100, comment="1"),
    body(action="exit", quantity=None, price=104, comment="2"),
    body(action="buy", quantity=3, price=100, comment="3"),
    body(action="exit", quantity=None, price=90, comment="4"),
]


def test_tickets_that_were_decided_otherwise_are_told_with_both_reasons():
    compared = compare(replay(ALERTS), replay(ALERTS, small), names=("all", "small"))

    assert compared.same == 2
    first, second = compared.differences.to_dict("records")
    assert (first["seq"], first["status_all"], first["status_small"]) == (3, "filled", "denied")
    assert (first["reason_small"], first["sent_all"], first["sent_small"]) == ("FILTERED", 3, 0)
    assert first["why_small"]
    assert (second["seq"], second["reason_small"]) == (4, "NO_POSITION")


def test_another_quantity_is_another_decision_though_both_were_filled():
    compared = compare(replay(ALERTS), replay(ALERTS, doubled))

    assert set(compared.differences["status_a"]) == set(compared.differences["status_b"]) == {"filled"}
    assert compared.differences["sent_b"].tolist() == [2, -2, 2, -2]


def test_totals_stand_side_by_side_with_their_change():
    totals = compare(replay(ALERTS), replay(ALERTS, small), names=("all", "small")).totals

    assert totals.loc["net_profit"].tolist() == [-26, 4, 30]
    assert totals.loc["filled"].tolist() == [4, 2, -2]
    assert totals.loc["denied"].tolist() == [0, 1, 1]
    assert totals.loc["max_drawdown"].tolist() == [-30, 0, 30]
    assert "expired" not in totals.index  # nobody has any


bodies = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["buy", "sell", "exit", "reverse", "cancel"]),
        "symbol": st.sampled_from(["AAPL", "ESZ2026"]),
        "quantity": st.sampled_from([1, 2, "0.5"]),
        "price": st.sampled_from([None, 99, 101]),
        "order_type": st.sampled_from(["market", "limit"]),
        "cancel_after": st.sampled_from([None, 1]),
        "limit_price": st.just(100),
    }
).map(lambda fields: body(**fields))


@given(alerts=st.lists(bodies, max_size=8))
@settings(max_examples=15, deadline=None)
def test_every_ticket_is_either_decided_alike_or_shown(alerts):
    one, other = replay(alerts), replay(alerts, small)

    compared, itself = compare(one, other), compare(one, one)

    assert (
        compared.same + len(compared.differences) == len(one.table("tickets")) == len(other.table("tickets"))
    )
    assert (itself.same, len(itself.differences)) == (len(one.table("tickets")), 0)
    assert (itself.totals["change"].dropna() == 0).all()


def test_alerts_meet_also_where_one_flow_led_to_more_inputs():
    """An order that rests leads to a tick, so that the same alert has another seq in the other replay."""
    resting = body(
        action="buy", quantity=1, order_type="limit", limit_price=90, price=100, cancel_after=5,
        timenow="2026-03-02T09:00:00Z",
    )  # fmt: skip
    later = body(action="buy", quantity=1, price=100, timenow="2026-03-02T09:10:00Z", symbol="MSFT")

    def no_aapl(alerts, desk):
        return alerts.pipe(ops.where(lambda ticket: ticket.symbol != "AAPL"), ops.size())

    one, other = replay([resting, later]), replay([resting, later], no_aapl)
    compared = compare(one, other)

    assert (one.inputs, other.inputs) == (3, 2)
    assert (compared.same, compared.differences["symbol"].tolist()) == (1, ["AAPL"])


def test_runs_of_other_alerts_are_not_compared():
    with pytest.raises(RequestError, match="not the same alerts: input 1 has the action buy"):
        compare(replay(ALERTS), replay(ALERTS[1:]))


def test_what_one_side_alone_has_is_shown():
    compared = compare(replay(ALERTS), replay(ALERTS[:3]))

    assert compared.same == 3
    assert compared.differences["status_b"].isna().tolist() == [True]


def test_both_sides_need_a_name_of_their_own():
    with pytest.raises(RequestError, match="give two names"):
        compare(replay([]), replay([]), names=("x", "x"))


def test_nothing_differs_from_nothing():
    compared = compare(replay([]), replay([]))

    assert (compared.same, len(compared.differences)) == (0, 0)
    assert {"seq", "status_a", "reason_b"} <= set(compared.differences.columns)
    assert "0 of 0 tickets" in repr(compared)
    assert compared._repr_html_()


def test_a_journal_is_compared_as_it_was_decided_and_a_shadow_counts_as_its_account(tmp_path):
    """On paper in a live group a strategy trades in the account's shadow; simulated, in the account."""
    journal = tmp_path / "ttflow.db"
    groups = {"live": {"broker": "scripted", "live": True, "sides": "both"}}
    settings_ = Settings.model_validate(
        {"journal": journal, "secrets": ("a-webhook-secret",), "groups": groups}
    )

    async def live():
        brokers, clock = {"scripted": ScriptedBroker()}, Clock()
        async with tt.Desk(settings_, brokers=brokers, clock=clock) as desk:
            for number, action in enumerate(("buy", "exit")):
                clock.advance(1)
                await desk.send(body(action=action, quantity=1, account_group="live", comment=str(number)))

    asyncio.run(live())
    alike = compare(journal, replay(journal, brokers="simulated"))
    otherwise = compare(journal, replay(journal, small, brokers="simulated"), names=("was", "would"))

    assert (alike.same, len(alike.differences)) == (2, 0)
    assert otherwise.same == 2
    assert otherwise.hows == ("as recorded", "every account simulated")


def test_what_alerts_say_is_escaped_in_a_notebook():
    alerts = [body(strategy="<script>x</script>", quantity=3)]

    html = compare(replay(alerts), replay(alerts, small), names=("<b>", "c"))._repr_html_()

    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>" not in html


def test_a_page_shows_a_few_differences_and_says_how_many_more_there_are():
    compared = compare(replay(sample.alerts()), replay(sample.alerts(), doubled))

    count = len(compared.differences)
    assert count > 10
    assert f"{count - 10} more are in" in compared._repr_html_()
    assert f"{count} of 103 tickets were decided otherwise." in repr(compared)
