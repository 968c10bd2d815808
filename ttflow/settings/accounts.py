"""Accounts: no two places in the settings may trade one and the same account.

The rule of this room: each group holds its broker's positions to its own ledgers, so two of them at one
account take each other's trades for a person's, and undo them. Paper groups have books of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ttflow.settings.fields import wrong
from ttflow.settings.sections import ADDRESSES, Group

ONLY = "main"
"""What stands for the only account of a sign-in, at the brokers that ttflow comes with."""


def check_accounts(groups: Mapping[str, Group]) -> None:
    """Refuse two live groups that name one account at one broker, and `main` beside any other name there.

    A sign-in has one environment, and `main` is its only account: beside another name it is either the same
    account or none. Two names of one account, its name and its number, only the broker can tell apart.
    """
    known: dict[tuple[str, str], dict[str, str]] = {}
    for name, group in groups.items():
        if not group.live or group.broker == "simulator":
            continue
        there = known.setdefault((group.broker, _environment(name, group)), {})
        for number, account in enumerate(group.accounts):
            at = ("groups", name, "accounts", number, "name")
            if account.name in there:
                other = there[account.name]
                problem = f"{account.name} is an account of the group {other} at the same broker already"
                raise wrong(problem, "let one group trade it, with the strategies of both", at=at)
            there[account.name] = name
            if group.broker in ADDRESSES and ONLY in there and len(there) > 1:
                held = next(of for of in there if of != account.name)
                problem = f"{ONLY} is the only account of a sign-in, and here stand {held} and {account.name}"
                raise wrong(problem, "give each account the name that its broker has for it", at=at)


def _environment(name: str, group: Group) -> str:
    """What tells one sign-in of a broker from another: the host, else the environment."""
    if group.base_url or group.broker in ADDRESSES:
        return urlsplit(group.reached(name)).netloc.lower()
    return group.where(name)


__all__ = ["check_accounts"]
