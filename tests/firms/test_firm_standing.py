"""Where an account stands: every rule at its bound, just inside and just outside; the laws."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from accounts import chicago, new_york, rules, walked
from hypothesis import given
from hypothesis import strategies as st

from ttflow.firms import Standing, State
from ttflow.words import decode, encode, evolve, to_dict

DAY = "2026-11-24"
TEN = chicago(f"{DAY} 10:00")


def morning(equity="50000", **changes):
    """A Topstep combine of 50K that began the day with `equity`: floor 48000, daily loss limit 49000."""
    return walked(Standing.begin(rules(**changes)), (f"{DAY} 08:30", equity))


# ── Limits in money ──


@pytest.mark.parametrize(
    ("equity", "state"),
    [
        # 1000 may be lost in a day: 20 % of it is 200, 10 % is 100.
        ("49200.01", State.ACTIVE),
        ("49200.00", State.REDUCING),
        ("49100.01", State.REDUCING),
        ("49100.00", State.FLATTEN),
        ("49000.01", State.FLATTEN),
        ("49000.00", State.LOCKED),
        ("48999.99", State.LOCKED),
        ("48000.01", State.LOCKED),
        ("48000.00", State.BREACHED),
        ("47999.99", State.BREACHED),
    ],
)
def test_the_daily_loss_reduces_flattens_and_locks_at_its_bounds(equity, state):
    assert morning().verdict(Decimal(equity), TEN).state is state


@pytest.mark.parametrize(
    ("equity", "state"),
    [
        # The floor is 2000 below the peak: 20 % of the room is 400, 10 % is 200.
        ("48400.01", State.ACTIVE),
        ("48400.00", State.REDUCING),
        ("48200.01", State.REDUCING),
        ("48200.00", State.FLATTEN),
        ("48000.01", State.FLATTEN),
        ("48000.00", State.BREACHED),
        ("47999.99", State.BREACHED),
    ],
)
def test_the_floor_reduces_flattens_and_breaks_at_its_bounds(equity, state):
    assert morning(daily_loss=Decimal(0)).verdict(Decimal(equity), TEN).state is state


def test_an_account_flattened_or_reducing_becomes_active_again_when_there_is_room():
    near = walked(morning(), (f"{DAY} 10:00", "49100"))

    assert near.verdict(Decimal("49300"), TEN).state is State.ACTIVE


@pytest.mark.parametrize("action", ["lock", "pause"])
def test_a_daily_loss_locks_until_the_next_session_whatever_comes_back(action):
    lost = walked(morning(daily_loss_action=action), (f"{DAY} 10:00", "49000"), (f"{DAY} 10:01", "49900"))

    verdict = lost.verdict(Decimal(49900), chicago(f"{DAY} 16:59:59.999999"))
    assert verdict.state is State.LOCKED
    assert "lost 1000 or more of the 50000 that the day began with" in verdict.sentence
    assert "nothing is opened before 2026-11-24 17:00 America/Chicago" in verdict.sentence
    assert lost.room(Decimal(49900)) == 0
    # The new day begins with 49900, so that it may go down to 48900.
    assert lost.verdict(Decimal(49900), chicago(f"{DAY} 17:00")).state is State.ACTIVE
    assert lost.after(None, chicago(f"{DAY} 17:00")).day_limit == 48900


def test_a_daily_loss_that_fails_the_account_ends_it_for_good():
    lost = walked(morning(daily_loss_action="fail"), (f"{DAY} 10:00", "49000"), ("2026-11-25 10:00", "50000"))

    assert lost.breached
    assert lost.verdict(Decimal(50000), chicago("2026-11-25 10:00")).state is State.BREACHED
    assert not walked(morning(daily_loss_action="fail"), (f"{DAY} 10:00", "49000.01")).breached


def test_a_breach_stays_and_the_clock_changes_nothing_any_more():
    lost = walked(morning(), (f"{DAY} 10:00", "48000"), ("2026-11-25 10:00", "60000"))

    assert lost.verdict(Decimal(60000), chicago("2026-11-25 10:00")).state is State.BREACHED
    assert lost.verdict(None, chicago("2026-11-25 10:00")).state is State.BREACHED
    assert lost.room(Decimal(60000)) == 0
    assert lost.due(chicago("2026-11-25 10:00")) is None


@pytest.mark.parametrize(
    ("equity", "room"),
    [
        ("50000", "1000"),  # down to 49000, the day's limit; the floor is 2000 away
        ("49000.01", "0.01"),
        ("49000", "0"),
        ("50600", "1600"),
    ],
)
def test_the_room_is_the_money_until_the_nearest_limit(equity, room):
    seen = walked(morning(), (f"{DAY} 10:00", equity))

    assert seen.room(Decimal(equity)) == Decimal(room)


def test_the_room_is_the_floors_where_that_is_nearer():
    # Begun with 48500, the day could lose 1000, but the floor of 48000 comes after 500.
    low = walked(Standing.begin(rules()), (f"{DAY} 08:30", "48500"))

    assert low.room(Decimal(48500)) == 500
    assert "500 of 2000 left to the floor of 48000" in low.verdict(Decimal(48500), TEN).sentence


@pytest.mark.parametrize(
    ("equity", "nearest"),
    [
        ("49500", "500 of 1000 left to the daily loss limit of 49000"),
        ("49150", "150 of 1000 left to the daily loss limit of 49000"),
        ("49050", "50 of 1000 left to the daily loss limit of 49000"),
        # A little more than the whole room of both; the floor's is 2000.5 of 2000.
        ("50000.50", "2000.5 of 2000 left to the floor of 48000"),
    ],
)
def test_the_sentence_tells_the_limit_that_is_nearest_for_its_size(equity, nearest):
    assert morning().verdict(Decimal(equity), TEN).sentence == f"Topstep combine 50K: {nearest}"


# ── Warnings ──


@pytest.mark.parametrize(
    ("equity", "percents"),
    [
        # Half of the day's 1000 is reached at 49500; half of the floor's 2000 at 49000, where the day ends.
        ("49500.01", []),
        ("49500.00", ["50 % or less of the room to the daily loss limit"]),
        ("49250.01", ["50 % or less of the room to the daily loss limit"]),
        ("49250.00", ["25 % or less of the room to the daily loss limit"]),
        (
            "49000.00",
            ["50 % or less of the room to the floor", "25 % or less of the room to the daily loss limit"],
        ),
    ],
)
def test_a_warning_is_given_at_each_distance_and_is_the_same_text_while_it_holds(equity, percents):
    expected = tuple(f"Topstep combine 50K: {text} is left" for text in percents)

    warned = morning(warn_at=(Decimal(50), Decimal(25)))
    assert warned.verdict(Decimal(equity), TEN).warnings == expected


def test_without_distances_nobody_is_warned():
    assert morning(warn_at=()).verdict(Decimal(48500), TEN).warnings == ()


# ── The clock ──


@pytest.mark.parametrize(
    ("at", "state"),
    [
        ("15:07:59.999999", State.ACTIVE),
        ("15:08:00", State.FLATTEN),
        ("15:08:00.000001", State.FLATTEN),
        ("15:10:00", State.FLATTEN),
        ("16:59:59.999999", State.FLATTEN),
        ("17:00:00", State.ACTIVE),
    ],
)
def test_positions_are_closed_from_two_minutes_before_the_flat_by_time_until_the_next_session(at, state):
    assert morning().verdict(Decimal(50000), chicago(f"{DAY} {at}")).state is state


@pytest.mark.parametrize(
    ("at", "state"),
    [
        ("14:59:59.999999", State.ACTIVE),
        ("15:00:00", State.REDUCING),
        ("15:07:59.999999", State.REDUCING),
        ("15:08:00", State.FLATTEN),
    ],
)
def test_nothing_is_opened_from_the_last_entry_on(at, state):
    assert morning(last_entry="15:00").verdict(Decimal(50000), chicago(f"{DAY} {at}")).state is state


def test_the_last_entry_is_told_with_the_next_start():
    told = morning(last_entry="15:00").verdict(Decimal(50000), chicago(f"{DAY} 15:00")).sentence

    assert told == (
        "Topstep combine 50K: no entry from 2026-11-24 15:00 America/Chicago on, "
        "nothing is opened before 2026-11-24 17:00 America/Chicago"
    )


@pytest.mark.parametrize(
    ("at", "due"),
    [
        ("2026-11-24 14:59:59.999999", "2026-11-24 15:00"),
        ("2026-11-24 15:00", "2026-11-24 15:08"),
        ("2026-11-24 15:08", "2026-11-24 17:00"),
        # The next day is Thanksgiving's eve, then Thanksgiving, flat by 11:45; the entry ten minutes before.
        ("2026-11-24 17:00", "2026-11-25 15:00"),
        ("2026-11-25 17:00", "2026-11-26 11:35"),
        ("2026-11-26 11:35", "2026-11-26 11:43"),
        ("2026-11-26 11:43", "2026-11-26 17:00"),
        ("2026-12-04 15:08", "2026-12-06 17:00"),
    ],
)
def test_what_the_clock_changes_next_is_the_last_entry_the_flattening_or_the_next_session(at, due):
    assert morning(last_entry="15:00").due(chicago(at)) == chicago(due)


@given(st.integers(0, 14 * 86_400))
def test_between_two_due_times_the_clock_alone_changes_no_verdict(later):
    standing = morning(last_entry="15:00")
    at = TEN + timedelta(seconds=later)
    due = standing.due(at)

    before = standing.verdict(Decimal(50000), due - timedelta(microseconds=1)).state
    assert standing.verdict(Decimal(50000), at).state is before
    assert standing.verdict(Decimal(50000), due).state is not before


# ── Doubt ──


def test_without_its_equity_an_account_reduces_at_most():
    verdict = morning().verdict(None, TEN)

    assert verdict.state is State.REDUCING
    assert (
        verdict.sentence == "Topstep combine 50K: its equity is not known, and nothing is opened without it"
    )


def test_without_its_equity_the_clock_and_the_day_still_hold():
    lost = walked(morning(), (f"{DAY} 10:00", "49000"))

    assert morning().verdict(None, chicago(f"{DAY} 15:08")).state is State.FLATTEN
    assert lost.verdict(None, TEN).state is State.LOCKED
    assert lost.verdict(None, chicago(f"{DAY} 17:00")).state is State.REDUCING


def test_a_new_account_without_an_equity_is_held_to_the_clock():
    fresh = Standing.begin(rules())

    assert fresh.verdict(None, TEN).state is State.REDUCING
    assert fresh.verdict(None, chicago(f"{DAY} 15:09")).state is State.FLATTEN


def test_an_account_older_than_the_desk_begins_its_first_day_with_what_is_seen_first():
    # 1500 below its start, it has lost nothing today that anybody knows of.
    assert walked(Standing.begin(rules()), (f"{DAY} 10:00", "48500")).day_limit == 47500


@pytest.mark.parametrize(
    ("last", "first", "starts"),
    [("50000", "49400", "50000"), ("50000", "50300", "50300"), ("50000", "50000", "50000")],
)
def test_what_happened_unseen_between_two_days_is_counted_against_the_account(last, first, starts):
    standing = walked(morning(last), ("2026-11-24 18:00", first))

    assert standing.day_start == Decimal(starts)
    assert standing.peak == max(Decimal(50000), Decimal(starts))


def test_an_input_from_before_the_last_one_counts_as_of_now():
    new_day = walked(morning(), (f"{DAY} 17:00", "50100"))
    late = new_day.after(Decimal(49950), TEN)

    assert (late.day, late.at) == (new_day.day, new_day.at)
    assert late.day_lowest == 49950


def test_days_that_nobody_watched_change_nothing_but_the_day():
    later = walked(morning(), ("2026-12-02 10:00", "50000"))

    assert evolve(later, day=None, day_first=None, at=None) == evolve(
        morning(), day=None, day_first=None, at=None
    )
    assert str(later.day) == "2026-12-02"


# ── The same account, other rules ──


def test_changed_rules_keep_the_peak_and_the_day():
    high = walked(morning(), (f"{DAY} 17:00", "51000"))
    changed = high.under(rules(drawdown=Decimal(1500)))

    assert (changed.peak, changed.floor, changed.day_start) == (51000, 49500, 51000)
    assert high.under(rules(peak_balance=Decimal(51500))).peak == 51500
    assert high.under(rules(peak_balance=Decimal(50500))).peak == 51000
    assert high.under(high.rules) == high


def test_another_size_or_start_is_another_account():
    lost = walked(morning(), (f"{DAY} 10:00", "47000"))

    for other in (rules(size="100K"), rules(start_balance=Decimal(50001)), rules(program="express_funded")):
        assert lost.under(other) == Standing.begin(other)
    assert lost.under(rules(daily_loss=Decimal(500))).breached


def test_a_peak_from_before_the_desk_raises_the_first_floor():
    assert Standing.begin(rules(peak_balance=Decimal(51250))).floor == 49250
    assert Standing.begin(rules(peak_balance=Decimal(49000))).floor == 48000


# ── Contracts ──


@pytest.mark.parametrize(
    ("firm", "program", "size", "symbol", "most"),
    [
        ("topstep", "combine", "50K", "ES1!", "5"),
        ("topstep", "combine", "50K", "MES1!", "50"),
        ("topstep", "combine", "50K", "CL", "3"),
        ("topstep", "combine", "50K", "CLZ2026", "3"),
        ("topstep", "combine", "50K", "MCL", "50"),
        ("topstep", "combine", "100K", "GC", "6"),
        ("topstep", "combine", "150K", "NYMEX:RB1!", "9"),
        ("topstep", "combine", "150K", "SI", "0"),
        ("topstep", "express_funded", "150K", "NQ", "15"),
        ("apex", "evaluation_eod", "25K", "NQ", "4"),
        ("apex", "evaluation_intraday", "150K", "MNQ", "120"),
        ("apex", "performance_intraday", "100K", "ES", "6"),
        ("apex", "legacy", "300K", "ES", "35"),
        ("tradeday", "eod", "50K", "ES", None),
    ],
)
def test_the_most_that_may_be_held_counts_micros_as_parts_and_knows_the_caps(
    firm, program, size, symbol, most
):
    standing = Standing.begin(rules(firm, program, size))

    assert standing.largest(symbol) == (most and Decimal(most))


@pytest.mark.parametrize(
    ("positions", "minis"),
    [
        ({}, "0"),
        ({"ES1!": "2"}, "2"),
        ({"ES1!": "2", "MES1!": "-5"}, "2.5"),
        ({"MES1!": "10"}, "1"),
        ({"NQZ2026": "-3", "ES": "1"}, "4"),
    ],
)
def test_positions_are_counted_in_minis_long_and_short_alike(positions, minis):
    held = {symbol: Decimal(quantity) for symbol, quantity in positions.items()}

    assert Standing.begin(rules()).contracts(held) == Decimal(minis)


# ── Written and read back ──


def test_a_standing_comes_back_from_json_equal():
    for standing in (Standing.begin(rules("apex", "legacy", "25K")), morning()):
        assert decode(Standing, json.loads(encode(standing))) == standing
        assert decode(Standing, to_dict(standing)).after(Decimal(49000), TEN) == standing.after(
            Decimal(49000), TEN
        )


# ── Laws ──

EQUITY = st.decimals(46_000, 56_000, places=2)
PAUSE = st.sampled_from([0, 0, 1, 60, 3600, 5 * 3600, 30 * 3600, 80 * 3600])
WALK = st.lists(st.tuples(PAUSE, EQUITY), min_size=1, max_size=25)
PROGRAMS = st.sampled_from(
    [
        ("topstep", "combine", "50K"),
        ("topstep", "express_funded", "50K"),
        ("apex", "evaluation_eod", "50K"),
        ("apex", "evaluation_intraday", "50K"),
        ("apex", "performance_intraday", "50K"),
        ("tradeday", "intraday", "50K"),
        ("tradeday", "static", "50K"),
    ]
)


def steps(standing, walk):
    """Every standing of a walk, with the equity that led to it."""
    at = new_york("2026-10-29 10:00")
    for pause, equity in walk:
        at += timedelta(seconds=pause)
        # Accounts that start with nothing walk around nothing.
        equity += standing.start_balance - 50_000
        standing = standing.after(equity, at)
        yield standing, equity


@given(PROGRAMS, WALK)
def test_the_floor_never_falls_and_never_passes_its_lock(program, walk):
    before = Standing.begin(rules(*program))
    for standing, _ in steps(before, walk):
        assert standing.floor >= before.floor
        assert standing.peak >= before.peak
        assert standing.rules.lock is None or standing.floor <= standing.start_balance + standing.rules.lock
        assert standing.locked or not before.locked
        before = standing


@given(PROGRAMS, WALK)
def test_before_a_breach_there_is_room_and_after_it_none(program, walk):
    for standing, equity in steps(Standing.begin(rules(*program)), walk):
        if not standing.breached:
            assert equity > standing.floor
            assert (standing.room(equity) > 0) is not standing.day_over
        else:
            assert standing.room(equity) == 0


@given(PROGRAMS, WALK)
def test_an_account_with_no_more_than_a_tenth_of_the_room_is_never_active_nor_reducing(program, walk):
    for standing, equity in steps(Standing.begin(rules(*program)), walk):
        state = standing.verdict(equity, standing.at).state
        if (equity - standing.floor) * 10 <= standing.rules.drawdown:
            assert state in {State.FLATTEN, State.LOCKED, State.BREACHED}
        if state is State.ACTIVE:
            assert standing.room(equity) * 5 > min(
                limit for limit in (standing.rules.drawdown, standing.rules.daily_loss) if limit
            )


@given(PROGRAMS, WALK, st.randoms(use_true_random=False))
def test_the_order_of_equities_at_one_moment_changes_neither_peak_nor_floor_nor_day(program, walk, random):
    groups = []
    for pause, equity in walk:
        if pause or not groups:
            groups.append([])
        groups[-1].append((pause, equity))
    shuffled = []
    for group in groups:
        equities = [equity for _, equity in group]
        random.shuffle(equities)
        shuffled += zip([pause for pause, _ in group], equities, strict=True)
    one = [standing for standing, _ in steps(Standing.begin(rules(*program)), walk)][-1]
    other = [standing for standing, _ in steps(Standing.begin(rules(*program)), shuffled)][-1]

    told = ("peak", "floor", "day", "day_start", "day_lowest", "day_over", "closing")
    assert [getattr(one, name) for name in told] == [getattr(other, name) for name in told]


@given(PROGRAMS, WALK)
def test_seeing_the_same_equity_again_changes_nothing(program, walk):
    for standing, equity in steps(Standing.begin(rules(*program)), walk):
        assert standing.after(equity, standing.at) == standing or standing.closing != equity
        assert standing.after(None, standing.at) == standing
