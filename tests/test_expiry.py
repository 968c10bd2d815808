"""Last trades and first notices: the exchanges' own rules, on real dates, holidays included."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.expiry import business_days_before, expiry, good_friday, holidays, is_business_day, is_rule
from ttflow.instrument import futures, instrument
from ttflow.symbols import MONTHS

FUTURES = sorted(futures())


def last_trade(root, contract):
    return expiry(instrument(root).last_trade, 2000 + int(contract[1:]), MONTHS.index(contract[0]) + 1)


def first_notice(root, contract):
    return expiry(instrument(root).first_notice, 2000 + int(contract[1:]), MONTHS.index(contract[0]) + 1)


# As exchanges, brokers and news told, and worked out by hand from the exchange's rule where none did.
ENDED = """
ES H24 2024-03-15; ES M24 2024-06-21; ES U24 2024-09-20; ES Z24 2024-12-20; ES H25 2025-03-21;
ES M25 2025-06-20; ES Z25 2025-12-19; ES M26 2026-06-18; MNQ U26 2026-09-18; YM Z26 2026-12-18;
NKD Z25 2025-12-11; NKD H26 2026-03-12;
CL K20 2020-04-21; CL F24 2023-12-19; CL G26 2026-01-20; CL H26 2026-02-20; CL X25 2025-10-21;
CL F26 2025-12-19; CL F27 2026-12-21; QM F26 2025-12-18; MCL G26 2026-01-16; MCL H26 2026-02-19;
NG G22 2022-01-27; NG F26 2025-12-29; NG G26 2026-01-28; NG Z25 2025-11-25; NG Z26 2026-11-25;
NG Q26 2026-07-29; QG F26 2025-12-26; MNG Z25 2025-11-24; RB F26 2025-12-31; HO G26 2026-01-30;
GC Z25 2025-12-29; GC G26 2026-02-25; SI H26 2026-03-27; HG K26 2026-05-27; PL J26 2026-04-28;
MHG U22 2022-08-29; MHG Z22 2022-11-28; MHG H23 2023-02-24; MHG J23 2023-03-29; MHG Q23 2023-07-27;
ZN H26 2026-03-20; ZB M25 2025-06-18; ZF H26 2026-03-31; ZT Z25 2025-12-31; TN U25 2025-09-19;
6E H26 2026-03-16; 6E M24 2024-06-17; 6J Z25 2025-12-15; 6C H26 2026-03-17; 6C Z25 2025-12-16;
M6E M25 2025-06-16; BTC Z24 2024-12-27; MBT H24 2024-03-28; BTC H25 2025-03-28; ETH Z26 2026-12-24;
ZC H26 2026-03-13; ZC Z25 2025-12-12; ZS X25 2025-11-14; ZW N25 2025-07-14; ZL Z25 2025-12-12;
LE G26 2026-02-27; HE V24 2024-10-14; HE G26 2026-02-13; GF X25 2025-11-20; GF X28 2028-11-16;
GF F26 2026-01-29;
GF K26 2026-05-21; GF J25 2025-04-17
"""
NOTICED = """
GC G26 2026-01-30; GC J26 2026-03-31; GC M26 2026-05-29; GC Q26 2026-07-31; GC V26 2026-09-30;
GC Z26 2026-11-30; SI F26 2025-12-31; SI H26 2026-02-27; SI K26 2026-04-30; HG U26 2026-08-31;
PL F26 2025-12-31; PL N26 2026-06-30; PA M26 2026-05-29; ZC H26 2026-02-27; ZC K26 2026-04-30;
ZO Z26 2026-11-30; LE J13 2013-04-08; LE Z15 2015-12-07
"""


def cases(text):
    return [row.split() for row in text.replace("\n", " ").split(";")]


@pytest.mark.parametrize(("root", "contract", "day"), cases(ENDED))
def test_a_contract_trades_for_the_last_time_on_its_day(root, contract, day):
    assert last_trade(root, contract) == date.fromisoformat(day)


@pytest.mark.parametrize(("root", "contract", "day"), cases(NOTICED))
def test_notice_of_delivery_begins_on_its_day(root, contract, day):
    assert first_notice(root, contract) == date.fromisoformat(day)


@pytest.mark.parametrize(
    ("year", "day"),
    [(2019, "2019-04-19"), (2020, "2020-04-10"), (2021, "2021-04-02"), (2022, "2022-04-15"),
     (2024, "2024-03-29"), (2025, "2025-04-18"), (2026, "2026-04-03"), (2038, "2038-04-23")],
)  # fmt: skip
def test_good_friday_moves_with_the_moon(year, day):
    assert good_friday(year) == date.fromisoformat(day)


def test_the_holidays_of_a_year_are_those_of_the_exchanges():
    assert [f"{day:%m-%d}" for day in sorted(holidays(2026))] == [
        "01-01", "01-19", "02-16", "04-03", "05-25", "06-19", "07-03", "09-07", "11-26", "12-25",
    ]  # fmt: skip
    assert date(2021, 6, 18) not in holidays(2021)
    assert date(2022, 6, 20) in holidays(2022)
    assert date(2021, 12, 31) not in holidays(2021)
    assert {day.year for day in holidays(2022)} == {2022}
    assert date(2022, 1, 1) not in holidays(2022)


@pytest.mark.parametrize(
    ("day", "count", "before"),
    [("2026-11-30", 0, "2026-11-30"), ("2026-11-29", 0, "2026-11-27"), ("2026-11-30", 1, "2026-11-27"),
     ("2026-11-30", 2, "2026-11-25"), ("2026-11-29", 1, "2026-11-27"), ("2026-01-02", 1, "2025-12-31")],
)  # fmt: skip
def test_business_days_are_counted_back_over_weekends_and_holidays(day, count, before):
    assert business_days_before(date.fromisoformat(day), count) == date.fromisoformat(before)


@pytest.mark.parametrize(
    "rule",
    ["", "friday", "6th friday", "0 before day 1", "day 32", "last sunday", "3rd friday of next month",
     "day 0", "3rd Friday", "last business day of prior month ", "20th business day", "last clear friday",
     "5th friday", "day 29", "16th business day"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(rule):
    assert not is_rule(rule)
    with pytest.raises(ValueError, match="is no rule for a date; write one such as '3rd friday'"):
        expiry(rule, 2026, 6)


@given(st.sampled_from(FUTURES), st.integers(2015, 2040), st.integers(1, 12))
def test_every_contract_ends_on_a_business_day_near_its_month_and_in_order(root, year, month):
    known, first = futures()[root], date(year, month, 1)
    ends = expiry(known.last_trade, year, month)
    later = expiry(known.last_trade, year + month // 12, month % 12 + 1)

    assert is_business_day(ends)
    assert first - timedelta(days=50) < ends < first + timedelta(days=31)
    assert ends < later
    if known.first_notice:
        noticed = expiry(known.first_notice, year, month)
        assert is_business_day(noticed)
        assert noticed < ends
