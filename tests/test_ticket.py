"""Ticket: what becomes of one alert in one account, and the part of it that nobody can deny."""

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.order import Leg
from ttflow.testing import NINE, alert, ticket
from ttflow.ticket import MEANINGS, OUTCOMES, TRANSITIONS, Note, Reason, Status, Ticket
from ttflow.words import EPOCH, ONE, Side, decode, encode, evolve, to_dict

ENTRY = ticket()
EXIT = ticket(action="exit", quantity=None)
statuses = st.sampled_from(list(Status))


def test_an_entry_is_denied_with_a_reason_and_the_sentence():
    denied = ENTRY.deny("TOO_WILD", "It is too wild.", "calm")

    assert (denied.status, denied.reason) == (Status.DENIED, "TOO_WILD")
    assert denied.trail == (Note("calm", "It is too wild."),)
    assert denied.ended


def test_an_exit_is_only_noted():
    noted = EXIT.deny("TOO_WILD", "It is too wild.", "calm")

    assert evolve(noted, trail=()) == EXIT
    assert noted.trail == (
        Note("calm", "It is too wild. This would deny an entry (TOO_WILD); an exit goes on."),
    )


def test_a_ticket_never_changes_itself():
    ENTRY.note("x")
    ENTRY.tagged(a=1)
    ENTRY.sized(ONE, "one")
    ENTRY.deny("X", "x")

    assert ticket() == ENTRY
    with pytest.raises(dataclasses.FrozenInstanceError):
        ENTRY.status = Status.DENIED


def test_an_exit_is_not_sized():
    assert EXIT.sized(ONE, "one") is EXIT
    assert ENTRY.sized(ONE, "one").quantity == 1
    assert ENTRY.sized(ONE, "one").trail == (Note("", "one"),)


def test_tags_add_up():
    assert ENTRY.tagged(a=1, b=1).tagged(b=2).tags == {"a": 1, "b": 2}


def test_the_outcomes_are_final_and_every_status_reaches_one():
    assert {status for status in Status if not TRANSITIONS[status]} == OUTCOMES
    assert set(TRANSITIONS) == set(Status)
    assert all(TRANSITIONS[status] >= OUTCOMES for status in set(Status) - OUTCOMES)


@given(statuses, statuses)
def test_a_ticket_goes_only_where_the_table_says(before, after):
    standing = evolve(ENTRY, status=before)

    if after is before:
        assert standing.to(after) == standing
    elif after in TRANSITIONS[before]:
        assert standing.to(after).status is after
    else:
        with pytest.raises(ValueError, match=f"from {before} to {after}"):
            standing.to(after)


def test_what_has_ended_is_not_denied_again():
    with pytest.raises(ValueError, match="from filled to denied"):
        ENTRY.end(Status.FILLED, None).deny("LATE", "Too late.")


def test_an_end_without_a_text_leaves_no_note():
    assert ENTRY.end(Status.DONE, None).trail == ()


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_says_what_it_means_in_a_sentence(reason):
    assert reason.meaning[0].isupper() or reason.meaning.startswith("ttflow")
    assert reason.meaning.endswith(".")


def test_no_meaning_without_a_reason():
    assert set(MEANINGS) == set(Reason)


@pytest.mark.parametrize(
    ("action", "leg", "side"),
    [
        ("buy", Leg.OPEN, Side.BUY),
        ("sell", Leg.OPEN, Side.SELL),
        ("exit", Leg.CLOSE, Side.BUY),
        ("reverse", Leg.OPEN, Side.BUY),
    ],
)
def test_an_alert_is_lifted_outside_a_desk(action, leg, side):
    lifted = Ticket.of(alert(action=action, quantity=3, id="mine"), seq=5, now=NINE)

    assert (lifted.leg, lifted.side, lifted.asked) == (leg, side, Decimal(3))
    assert (lifted.key, lifted.alert_id) == ((5, "paper_simulator", ""), "mine")
    assert lifted.now == lifted.received_at == NINE


def test_without_a_time_it_is_the_alerts_own_or_none():
    assert Ticket.of(alert(timenow="2026-03-02T09:00:00Z")).now == NINE
    assert Ticket.of(alert()).now == EPOCH


def test_its_row_holds_the_decision_and_not_what_travelled_along():
    row = to_dict(ENTRY.deny("NO", "No.", "me").tagged(a=1))

    assert list(row)[:9] == [
        "seq",
        "alert_id",
        "account_group",
        "account",
        "strategy",
        "symbol",
        "status",
        "reason",
        "order_id",
    ]
    assert [list(note) for note in row["trail"]] == [["me", "No."]]
    assert not {"alert", "now", "leg", "tags", "statistics", "quantity"} & set(row)


def test_its_row_and_its_alert_make_it_again():
    denied = ENTRY.deny("NO", "No.", "me")
    again = decode(Ticket, {**to_dict(denied), "alert": to_dict(denied.alert)})

    assert encode(again) == encode(denied)
