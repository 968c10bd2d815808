"""Kill the desk in every way we know, start it again on the same journal, and hold it to the laws.

The same harness must find the faults that are planted on purpose: a check that nobody saw fail is none.
"""

from __future__ import annotations

import asyncio

import pytest
from crash.harness import AtTradovate, Harness, plan

ANY_TIME = [("", 0.15)] * 2
STALLS = [("stall:3", None), ("stall:5", None), ("stall:8", None), ("stall:4", None)]


async def killed(journal, seed, deaths, at=Harness, **more):
    """Kill a desk once for each of `deaths`, let it settle, and say what was found broken."""
    async with at.running(journal, seed, **more) as harness:
        for crash, kill_after_s in deaths:
            await harness.cycle(crash, kill_after_s=kill_after_s)
        await harness.settle()
        return harness, await harness.judge()


def hunted(folder, found, deaths, **more):
    """Kill desks with a fault planted until the harness says what it finds; where a kill falls is luck.

    Returns nothing when the fault was found, else all that was said instead.
    """
    told = []
    for seed in range(1, 6):
        _, broken = asyncio.run(killed(folder / f"{seed}.db", seed, deaths, **more))
        if any(sought in said for said in broken for sought in found):
            return []
        told += broken or ["no law is broken"]
    return told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_anywhere_it_keeps_every_law(tmp_path, seed):
    deaths = list(plan(rounds=3, seed=seed))

    harness, broken = asyncio.run(killed(tmp_path / "ttflow.db", seed, deaths))

    assert broken == []
    assert harness.cycles == len(deaths) >= 30
    assert harness.by_itself >= len(deaths) / 2, f"too few crash points were reached: {harness.crashed}"
    assert sum(bool(sent.acknowledged) for sent in harness.sent) > 2 * harness.cycles


@pytest.mark.slow
def test_killed_anywhere_while_it_trades_at_tradovate_it_keeps_every_law(tmp_path):
    deaths = list(plan(rounds=1, seed=5))

    harness, broken = asyncio.run(killed(tmp_path / "ttflow.db", 5, deaths, at=AtTradovate))

    assert broken == []
    assert harness.by_itself >= len(deaths) / 2, f"too few crash points were reached: {harness.crashed}"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["send_again", "random_ids"])
def test_at_tradovate_too_the_harness_finds_a_fault_planted_on_purpose(tmp_path, mutant):
    more = {"at": AtTradovate, "mutant": mutant, "trouble": ("lose_answer", "drop")}

    found = ("arrived 2 times", "decides otherwise")

    assert hunted(tmp_path, found, ANY_TIME, **more) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "deaths", "found"),
    [
        ("acknowledge_early", STALLS, "Acknowledged and lost"),
        ("send_early", STALLS, "arrived 2 times"),
        ("random_ids", ANY_TIME, "A replay decides otherwise"),
        ("send_again", ANY_TIME, "arrived 2 times"),
        ("keep_repeats", ANY_TIME, "Kept "),
        ("forget_unknown", ANY_TIME, "stands at the broker as"),
    ],
)
def test_the_harness_finds_a_fault_planted_on_purpose(tmp_path, mutant, deaths, found):
    trouble = () if mutant == "send_early" else ("lose", "drop", "error")

    assert hunted(tmp_path, (found,), deaths, mutant=mutant, trouble=trouble) == []
