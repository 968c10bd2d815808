"""Which firms let a program trade, and the sentence that a user writes where they don't."""

import pytest

from ttflow.firms import Policy, automation, may_automate, opt_in_sentence
from ttflow.settings import Group, load
from ttflow.settings.firms import FirmRules

APEX = "I know that Apex forbids automated trading, and I automate at my own risk."
TRADEDAY = "I know that TradeDay forbids automated trading, and I automate at my own risk."
TOPSTEP = (
    "I automate at Topstep under its conditions: my own device, watched by me while it trades, "
    "and no VPS, VPN or remote server."
)
LIVE_FUNDED = "I know that Topstep forbids automated trading in live_funded, and I automate at my own risk."


def group(**said):
    return Group(broker="tradovate", **said)


@pytest.mark.parametrize(
    ("firm", "program", "policy", "sentence"),
    [
        ("apex", None, Policy.FORBIDDEN, APEX),
        ("apex", "performance_eod", Policy.FORBIDDEN, APEX),
        ("tradeday", "static", Policy.FORBIDDEN, TRADEDAY),
        ("topstep", None, Policy.CONDITIONAL, TOPSTEP),
        ("topstep", "combine", Policy.CONDITIONAL, TOPSTEP),
        ("topstep", "express_funded", Policy.CONDITIONAL, TOPSTEP),
        ("topstep", "live_funded", Policy.FORBIDDEN, LIVE_FUNDED),
    ],
)
def test_a_group_is_alert_only_until_its_opt_in_holds_the_sentence_of_its_firm(
    firm, program, policy, sentence
):
    silent, written = (
        group(firm=firm, program=program),
        group(firm=firm, program=program, automation_opt_in=sentence),
    )

    assert automation(silent) is policy
    assert opt_in_sentence(firm, program) == sentence
    allowed, told = may_automate(silent, firm)
    assert not allowed
    assert f'write groups.{firm}.automation_opt_in = "{sentence}"' in told
    assert may_automate(written, firm)[0]


@pytest.mark.parametrize(
    ("opt_in", "allowed"),
    [
        (APEX, True),
        (f"  On 2026-11-02: {APEX.upper()} Signed, me.", True),
        (APEX.replace(",", "").replace(" ", "\n "), True),
        ("My firm allowed automation in writing.", False),
        (APEX.replace("forbids", "allows"), False),
        (APEX.replace("Apex", "TradeDay"), False),
        (APEX.removesuffix("risk."), False),
        (APEX.replace("risk", "risks"), False),
        (f"Un{APEX}", False),
        (None, False),
    ],
)
def test_the_sentence_is_found_word_for_word_whatever_its_blanks_and_capitals(opt_in, allowed):
    assert may_automate(group(firm="apex", automation_opt_in=opt_in), "apex")[0] is allowed


def test_one_firms_sentence_opens_no_other_firm_and_no_stricter_program():
    assert not may_automate(group(firm="tradeday", automation_opt_in=APEX), "x")[0]
    assert not may_automate(group(firm="topstep", program="live_funded", automation_opt_in=TOPSTEP), "x")[0]


def test_without_a_firm_nobody_needs_to_write_anything():
    assert automation(group()) is Policy.ALLOWED
    assert may_automate(group(), "main") == (True, "automated trading is allowed")
    assert may_automate(group(firm=""), "apex")[0]


def test_the_usual_groups_are_at_the_firms_of_their_names():
    groups = load({}, environ={}).groups

    policies = {name: automation(one) for name, one in groups.items()}
    assert {name for name, policy in policies.items() if policy is Policy.FORBIDDEN} == {"apex", "tradeday"}
    assert {name for name, policy in policies.items() if policy is Policy.CONDITIONAL} == {"topstep"}


def test_the_users_table_tells_the_policy_of_a_firm_and_silence_is_no_permission():
    firms = {
        "mine": FirmRules(title="My Own"),
        "yours": FirmRules(automation="allowed"),
        "apex": FirmRules(automation="conditional", conditions="a letter from them"),
    }

    assert automation(group(firm="mine"), firms) is Policy.FORBIDDEN
    assert "I know that My Own forbids" in may_automate(group(firm="mine"), "x", firms)[1]
    assert may_automate(group(firm="yours"), "x", firms)[0]
    assert opt_in_sentence("yours", None, firms) is None
    assert (
        opt_in_sentence("apex", None, firms) == "I automate at Apex under its conditions: a letter from them."
    )


def test_a_groups_name_with_blanks_is_quoted_in_what_to_write():
    assert 'write groups."my apex".automation_opt_in = ' in may_automate(group(firm="apex"), "my apex")[1]
