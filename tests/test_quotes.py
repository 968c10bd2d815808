"""Quotes of what is to be opened: which symbols a broker is asked for, and whose quote counts as fresh."""

from datetime import timedelta

from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status


def desk(**limits):
    """A walk with one live group at a broker outside, whose entries need a quote of the last five seconds."""
    group = {"broker": "tradovate", "live": True, "strategies": ("walker",), "limits": limits}
    told = {"secrets": ("a-webhook-secret",), "groups": {"desk": group}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",))


def entry(walk, symbol="ES1!", **more):
    given = {"action": "buy", "quantity": 1, "price": 5000, "account_group": "desk"}
    return walk.alert(symbol=symbol, **given, **more)[0]


def watched(walk):
    return set(walk.desk.engine.watched_at("desk"))


def test_a_quote_of_the_contract_is_one_of_the_continuous_symbol_that_trades_it():
    walk = desk(quote_s=5)
    assert entry(walk).reason == Reason.STALE_QUOTE

    walk.price("ESH2026", 5001)

    assert entry(walk).status is Status.ORDERED


def test_a_quote_of_another_month_is_none():
    walk = desk(quote_s=5)
    entry(walk)

    walk.price("ESM2026", 5001)

    assert entry(walk).reason == Reason.STALE_QUOTE


def test_what_alerts_named_is_watched_where_entries_need_a_quote():
    walk = desk(quote_s=5)
    assert watched(walk) == set()

    entry(walk)
    entry(walk, symbol="CL1!")

    assert watched(walk) == {"ESH2026", "CLJ2026"}


def test_what_nobody_has_named_for_a_day_is_watched_no_longer():
    walk = desk(quote_s=5)
    entry(walk)

    walk.tick(after=timedelta(days=1, seconds=1).total_seconds())

    assert watched(walk) == set()


def test_where_no_entry_needs_a_quote_only_what_is_held_is_watched():
    walk = desk()
    ticket = entry(walk)
    assert ticket.status is Status.ORDERED
    assert watched(walk) == {"ESH2026"}

    walk.report(walk.orders()[-1], "refused")

    assert watched(walk) == set()


def test_what_a_broker_can_not_trade_is_not_asked_of_it():
    walk = desk(quote_s=5)

    entry(walk, symbol="BTCUSDT.P")

    assert watched(walk) == set()


def test_of_very_many_symbols_the_last_named_are_watched():
    walk = desk(quote_s=5)
    for number in range(300):
        entry(walk, symbol=f"A{number}!")
    entry(walk)

    assert watched(walk) == {"ESH2026"}
    assert len(walk.desk.engine.named) == 200
