"""Worked examples: each program over several days, with the arithmetic written out."""

from decimal import Decimal

import pytest
from accounts import chicago, rules, walked

from ttflow.firms import Standing, State, rules_of
from ttflow.settings import Group


def told(standing):
    """Peak, floor, and whether the floor has stopped."""
    return int(standing.peak), int(standing.floor), standing.locked


def test_topstep_combine_trails_the_end_of_the_day_until_the_start_over_the_change_of_the_clocks():
    account = Standing.begin(rules("topstep", "combine", "50K"))
    assert told(account) == (50_000, 48_000, False)  # 50000 - 2000

    # Thursday 29 October 2026: up to 51800 within the day, but it ends with 50900.
    account = walked(
        account,
        ("2026-10-29 08:30", "50000"), ("2026-10-29 11:00", "51800"), ("2026-10-29 15:05", "50900"),
    )  # fmt: skip
    assert told(account) == (50_000, 48_000, False)
    # The day ends when the next begins, at 17:00: 50900 - 2000 = 48900.
    assert told(account.after(None, chicago("2026-10-29 16:59:59"))) == (50_000, 48_000, False)
    assert told(account.after(None, chicago("2026-10-29 17:00"))) == (50_900, 48_900, False)

    # Friday ends lower, with 50400: the floor stays. Its daily limit was 50900 - 1000 = 49900.
    account = walked(account, ("2026-10-30 09:00", "50900"), ("2026-10-30 14:00", "50400"))
    assert (account.day_start, account.day_limit) == (50_900, 49_900)
    # The clocks go back on Sunday; at 16:59 it is still Friday's day, at 17:00 (23:00 UTC) Monday's.
    account = account.after(None, chicago("2026-11-01 16:59"))
    assert (str(account.day), account.day_limit) == ("2026-10-30", 49_900)
    account = account.after(None, chicago("2026-11-01 17:00"))
    assert (str(account.day), account.day_limit) == ("2026-11-02", 49_400)  # 50400 - 1000
    assert told(account) == (50_900, 48_900, False)

    # Monday 15:08 is 21:08 UTC now; a week ago it was 20:08.
    assert account.due(chicago("2026-11-02 12:00")).isoformat() == "2026-11-02T21:08:00+00:00"
    assert account.verdict(Decimal(50_400), chicago("2026-11-02 15:07")).state is State.ACTIVE
    assert account.verdict(Decimal(50_400), chicago("2026-11-02 15:08")).state is State.FLATTEN

    # Monday ends with 52000.01: 50000.01 would be past the lock, and the floor stops at 50000 for good.
    account = walked(account, ("2026-11-02 15:05", "52000.01"), ("2026-11-02 17:00", "52000.01"))
    assert told(account) == (52_000, 50_000, True)
    account = walked(account, ("2026-11-03 15:05", "56000"), ("2026-11-03 17:00", "56000"))
    assert told(account) == (56_000, 50_000, True)
    assert walked(account, ("2026-11-04 10:00", "50000.01")).breached is False
    assert walked(account, ("2026-11-04 10:00", "50000")).breached is True


def test_topstep_closes_earlier_around_thanksgiving_and_a_daily_loss_waits_for_the_next_session():
    account = walked(Standing.begin(rules("topstep", "combine", "100K")), ("2026-11-25 17:00", "100000"))
    assert told(account) == (100_000, 97_000, False)  # 100000 - 3000

    # Thanksgiving: the exchange closes at 12:00, flat 15 minutes before it, flattened from 11:43 on.
    assert account.verdict(Decimal(100_000), chicago("2026-11-26 11:42:59")).state is State.ACTIVE
    assert account.verdict(Decimal(100_000), chicago("2026-11-26 11:43")).state is State.FLATTEN
    # 100000 - 98000 = 2000: the daily loss. Locked until the Friday's session begins that evening.
    account = walked(account, ("2026-11-26 10:00", "98000"))
    assert account.verdict(Decimal(98_000), chicago("2026-11-26 16:59")).state is State.LOCKED
    account = walked(account, ("2026-11-26 17:00", "98000"))
    # The day may lose 2000, but the floor at 97000 is only 1000 away: more than 20 % of 3000.
    assert account.verdict(Decimal(98_000), chicago("2026-11-26 18:00")).state is State.ACTIVE
    assert account.room(Decimal(98_000)) == 1_000
    # Friday the exchange closes at 12:15: flat by 12:00.
    assert account.due(chicago("2026-11-27 09:00")) == chicago("2026-11-27 11:58")


def test_topstep_express_funded_starts_at_nothing_and_locks_there():
    account = Standing.begin(rules("topstep", "express_funded", "150K"))
    assert told(account) == (0, -4_500, False)  # 0 - 4500

    account = walked(account, ("2026-11-23 09:00", "0"), ("2026-11-23 15:00", "1200"))
    account = walked(account, ("2026-11-23 17:00", "1200"))
    assert told(account) == (1_200, -3_300, False)  # 1200 - 4500
    account = walked(account, ("2026-11-24 15:00", "4500"), ("2026-11-24 17:00", "4500"))
    assert told(account) == (4_500, 0, True)  # 4500 - 4500

    # After a payout that leaves 500, the floor is at 0: so the user says with peak_balance = 4500.
    paid = Standing.begin(rules("topstep", "express_funded", "150K", peak_balance=Decimal(4_500)))
    assert told(paid) == (4_500, 0, True)
    assert (
        walked(paid, ("2026-11-25 09:00", "500")).verdict(Decimal(500), chicago("2026-11-25 09:00")).state
        is State.REDUCING
    )  # 500 of 4500 is 11 %


def test_topstep_live_funded_starts_where_its_owner_says_and_trails_from_there():
    group = Group(
        broker="projectx",
        firm="topstep",
        program="live_funded",
        size="50K",
        accounts=[{"name": "main", "start_balance": 10_000}],
    )
    account = Standing.begin(rules_of(group, "main", {}))
    assert told(account) == (10_000, 8_000, False)  # 10000 - 2000

    account = walked(account, ("2026-11-23 09:00", "10000"), ("2026-11-23 15:00", "11500"))
    account = walked(account, ("2026-11-23 17:00", "11500"))
    assert told(account) == (11_500, 9_500, False)  # 11500 - 2000
    account = walked(account, ("2026-11-24 17:00", "12600"))
    assert told(account) == (12_600, 10_000, True)  # 12600 - 2000 is above the start, where it stops
    # The daily loss of 1000 is automatic there: at 11600 the day is over.
    over = walked(account, ("2026-11-25 10:00", "11600"))
    assert over.verdict(Decimal(11_600), chicago("2026-11-25 10:00")).state is State.LOCKED
    assert over.verdict(Decimal(11_600), chicago("2026-11-25 17:00")).state is State.ACTIVE


def test_apex_evaluation_by_the_end_of_the_day_never_locks_and_pauses_after_a_daily_loss():
    account = walked(Standing.begin(rules("apex", "evaluation_eod", "50K")), ("2026-03-05 17:00", "50000"))
    assert told(account) == (50_000, 48_000, False)
    account = walked(account, ("2026-03-06 10:00", "54500"), ("2026-03-06 15:50", "54000"))
    # Friday 6 March's flat-by time 16:59 in New York is 21:59 UTC, Monday's 20:59 UTC.
    assert account.due(chicago("2026-03-06 12:00")).isoformat() == "2026-03-06T21:57:00+00:00"
    account = walked(account, ("2026-03-08 17:00", "54000"))
    assert account.due(chicago("2026-03-09 12:00")).isoformat() == "2026-03-09T20:57:00+00:00"
    assert told(account) == (54_000, 52_000, False)  # 54000 - 2000: beyond the start, and on it goes

    # The day may lose 1000: at 53000 it pauses until 18:00 in New York, which is 17:00 in Chicago.
    paused = walked(account, ("2026-03-09 10:00", "53000"))
    assert paused.verdict(Decimal(53_000), chicago("2026-03-09 16:59")).state is State.LOCKED
    assert paused.verdict(Decimal(53_000), chicago("2026-03-09 17:00")).state is State.ACTIVE


def test_apex_evaluation_within_the_day_follows_open_profit():
    account = walked(
        Standing.begin(rules("apex", "evaluation_intraday", "25K")), ("2026-11-23 09:00", "25000")
    )
    assert told(account) == (25_000, 24_000, False)  # 25000 - 1000

    # An open profit of 700 lifts the floor at once: 25700 - 1000. It comes back, the floor doesn't.
    account = walked(account, ("2026-11-23 10:00", "25700"), ("2026-11-23 10:05", "25000"))
    assert told(account) == (25_700, 24_700, False)
    assert account.day_limit is None
    # 300 of 1000 left is active, 200 reduces, 100 flattens, 0 is lost.
    at = chicago("2026-11-23 10:06")
    states = [account.verdict(Decimal(equity), at).state for equity in (25_000, 24_900, 24_800, 24_700)]
    assert states == [State.ACTIVE, State.REDUCING, State.FLATTEN, State.BREACHED]


def test_apex_performance_within_the_day_locks_a_hundred_above_the_start():
    account = walked(
        Standing.begin(rules("apex", "performance_intraday", "50K")), ("2026-11-23 09:00", "50000")
    )
    account = walked(account, ("2026-11-23 09:30", "52099.99"))
    assert account.floor == Decimal("50099.99")  # 52099.99 - 2000
    assert not account.locked
    account = walked(account, ("2026-11-23 09:31", "52100"))
    assert told(account) == (52_100, 50_100, True)  # 50000 + 100
    assert told(walked(account, ("2026-11-23 09:32", "53500"))) == (53_500, 50_100, True)


def test_apex_performance_by_the_end_of_the_day_locks_the_same_but_overnight():
    account = walked(Standing.begin(rules("apex", "performance_eod", "50K")), ("2026-11-23 09:00", "52500"))
    account = walked(account, ("2026-11-23 15:00", "52600"))
    # First seen with 52500, that is taken for the end of the day before: 50500 would be past the lock.
    assert told(account) == (52_500, 50_100, True)


def test_apex_legacy_keeps_the_strictest_reading():
    account = walked(Standing.begin(rules("apex", "legacy", "300K")), ("2026-11-23 09:00", "311000"))
    assert told(account) == (311_000, 303_500, False)  # 311000 - 7500


@pytest.mark.parametrize(
    ("program", "after_profit", "after_the_day"),
    [
        # From 100000: up to 101500 within the day, which ends with 100800, then on to 104000.
        ("intraday", (101_500, 98_500, False), (104_000, 100_000, True)),
        ("eod", (100_000, 97_000, False), (104_000, 100_000, True)),
    ],
)
def test_tradeday_trails_by_its_program_and_freezes_at_the_start(program, after_profit, after_the_day):
    account = walked(Standing.begin(rules("tradeday", program, "100K")), ("2026-11-23 09:00", "100000"))
    account = walked(account, ("2026-11-23 10:00", "101500"), ("2026-11-23 15:00", "100800"))
    assert told(account) == after_profit
    # There is no daily loss limit: 2300 down in a day is allowed, as long as the floor holds.
    assert account.day_limit is None
    account = walked(account, ("2026-11-24 15:40", "104000"), ("2026-11-24 17:00", "104000"))
    assert told(account) == after_the_day
    # Flat ten minutes before the close, also where that comes at 12:15.
    assert account.due(chicago("2026-11-25 09:00")) == chicago("2026-11-25 15:48")
    assert account.due(chicago("2026-11-27 09:00")) == chicago("2026-11-27 12:03")


def test_tradeday_static_never_moves():
    account = Standing.begin(rules("tradeday", "static", "150K"))
    for day, equity in (("2026-11-23", "158000"), ("2026-11-24", "149000"), ("2026-11-25", "145500.01")):
        account = walked(account, (f"{day} 09:00", equity))
        assert (account.floor, account.locked, account.breached) == (145_500, True, False)  # 150000 - 4500

    assert walked(account, ("2026-11-25 10:00", "145500")).breached
