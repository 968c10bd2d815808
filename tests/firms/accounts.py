"""Accounts at prop firms for the tests, and moments on the firms' clocks."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from ttflow.firms import Rules, Standing, rules_of
from ttflow.settings import Group
from ttflow.words import evolve


def rules(firm: str = "topstep", program: str = "combine", size: str = "50K", **changes: object) -> Rules:
    """The shipped rules of a program, some of them changed."""
    group = Group(broker="tradovate", firm=firm, program=program, size=size)
    found = rules_of(group, "main", {})
    assert found is not None
    return evolve(found, **changes)


def chicago(text: str) -> datetime:
    """A moment on Chicago's clocks, as UTC."""
    return _moment(text, "America/Chicago")


def new_york(text: str) -> datetime:
    """A moment on New York's clocks, as UTC."""
    return _moment(text, "America/New_York")


def _moment(text: str, tz: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).astimezone(UTC)


def walked(standing: Standing, *steps: tuple[str, str]) -> Standing:
    """The standing after equities on Chicago's clocks, each as `("2026-11-23 09:00", "50100")`."""
    for at, equity in steps:
        standing = standing.after(Decimal(equity), chicago(at))
    return standing
