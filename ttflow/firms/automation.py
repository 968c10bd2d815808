"""Whether a firm lets a program trade: what its policy is, and the sentence that a user must write first.

The rule of this room: what a firm doesn't allow stays alert-only until the user has written, word for word,
that this is known. Paper trading in the simulator needs no word from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from ttflow.settings.firms import FirmRules, Firms, merged
from ttflow.settings.refusals import dotted
from ttflow.settings.sections import Group

_NONE: Mapping[str, FirmRules] = MappingProxyType({})


class Policy(StrEnum):
    """What a firm says to orders that a program sends."""

    ALLOWED = "allowed"
    CONDITIONAL = "conditional"
    FORBIDDEN = "forbidden"


def automation(group: Group, firms: Firms = _NONE) -> Policy:
    """The policy that a group is under: allowed without a firm, forbidden where its firm doesn't say.

    `firms` are the tables of the settings (`settings.firms`).
    """
    return _policy(group.firm, group.program, firms)


def opt_in_sentence(firm: str, program: str | None = None, firms: Firms = _NONE) -> str | None:
    """The sentence that `automation_opt_in` must hold for a firm, and for a program of it that has its own.

    None where automation is allowed.
    """
    policy, told = _policy(firm, program, firms), merged(firms, firm, program)
    title = told.title or firm
    if policy is Policy.ALLOWED:
        return None
    if policy is Policy.CONDITIONAL:
        return f"I automate at {title} under its conditions: {told.conditions or 'those that it sets'}."
    # A program that is stricter than its firm needs a sentence that nobody wrote for another program.
    where = "" if _policy(firm, None, firms) is policy else f" in {program}"
    return f"I know that {title} forbids automated trading{where}, and I automate at my own risk."


def may_automate(group: Group, name: str, firms: Firms = _NONE) -> tuple[bool, str]:
    """Whether orders of a live group called `name` may leave, and the sentence that says why.

    Where they may not, its alerts are recorded and notified, and the sentence tells what to write, and where.
    An opt-in holds the sentence wanted, whatever its capitals, blanks and punctuation, and what else it says.
    """
    wanted = opt_in_sentence(group.firm, group.program, firms) if group.firm else None
    if group.firm is None or wanted is None:
        return True, "automated trading is allowed"
    title = merged(firms, group.firm).title or group.firm
    forbids = automation(group, firms) is Policy.FORBIDDEN
    policy = f"{title} {'forbids automated trading' if forbids else 'allows automated trading on conditions'}"
    if f" {_plain(wanted)} " in f" {_plain(group.automation_opt_in or '')} ":
        return True, f"{policy}; the opt-in for it is written"
    key = dotted(("groups", name, "automation_opt_in"))
    return False, f'{policy}, so no order leaves. To automate all the same, write {key} = "{wanted}"'


def _policy(firm: str | None, program: str | None, firms: Firms) -> Policy:
    if firm is None:
        return Policy.ALLOWED
    return Policy(merged(firms, firm, program).automation or Policy.FORBIDDEN)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
