"""Prop firms: what binds an account at one, where its floor stands, and whether a program may trade there.

The rule of this room: rules are data, of `firms.toml` and of the settings; everything here is computed from
them and from what it is given, and nothing asks a clock.
"""

from ttflow.firms.automation import Policy, automation, may_automate, opt_in_sentence
from ttflow.firms.days import Hours, hours, next_start, trading_day
from ttflow.firms.entries import Calendar, news_bars, trades_bar
from ttflow.firms.rules import Rules, rules_of
from ttflow.firms.standing import FLATTEN_AT, REDUCE_AT, Standing, State, Verdict

__all__ = [
    "FLATTEN_AT",
    "REDUCE_AT",
    "Calendar",
    "Hours",
    "Policy",
    "Rules",
    "Standing",
    "State",
    "Verdict",
    "automation",
    "hours",
    "may_automate",
    "news_bars",
    "next_start",
    "opt_in_sentence",
    "rules_of",
    "trades_bar",
    "trading_day",
]
