"""`ttflow doctor --broker NAME`: it signs in, says what is held, sends nothing, and shows no credential."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest
from click.testing import CliRunner

from outside.scene import PRICE, SYMBOL, TRADOVATE, VENUES
from ttflow.cli import main
from ttflow.fakes.server import serve
from ttflow.settings.sections import BROKERS
from ttflow.settings.sources import ENVIRONMENT
from ttflow.words import OrderType, Side

HIDDEN = "not-to-be-shown"
NAMES = {
    "tradovate": ("USERNAME", "PASSWORD", "SEC", "DEVICE_ID"),
    "tastytrade": ("CLIENT_SECRET", "REFRESH_TOKEN"),
    "projectx": ("USERNAME", "API_KEY"),
}


def credentials(venue):
    """Everything that a venue's sign-in needs, by the environment's names."""
    given = {f"{venue.section}_{name}".upper(): HIDDEN for name in NAMES[venue.name]}
    return {**given, "TRADOVATE_CID": "777777"} if venue is TRADOVATE else given


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    """Serve a fake that holds two contracts, and ask the doctor about it; the fake comes back, too."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def ask(venue, *more, env=None, about=None):
        async def main_():
            served = await serve(venue.make())
            holding(served.fake)
            at = [name for name, broker in BROKERS.items() if broker == venue.name]  # else the real one
            where = f'broker = "{venue.name}"\nbase_url = "{served.address}"\n'
            (tmp_path / "ttflow.toml").write_text("".join(f"[groups.{g}]\n{where}" for g in ("desk", *at)))
            given = credentials(venue) if env is None else env
            arguments = ["doctor", "--broker", about or venue.name, *more]
            run = CliRunner().invoke
            result = await asyncio.to_thread(run, main, arguments, env=given)
            await served.close()
            return result, served.fake

        return asyncio.run(main_())

    return ask


def holding(fake):
    """Let the account hold two contracts that somebody bought."""
    extra = {"name": "/ESZ6", "instrument_type": "Future", "action": "Buy", "effect": None}
    exchange = fake.exchange
    exchange.price(SYMBOL, Decimal(PRICE))
    if hasattr(fake, "names"):
        fake.names["ESZ2026"] = ("/ESZ6", "Future")
    order = exchange.place(
        account=fake.account,
        symbol="ESZ6" if fake.name == "tradovate" else "ESZ2026",
        side=Side.BUY,
        quantity=Decimal(2),
        type=OrderType.MARKET,
        extra={**extra, "time_in_force": "Day", "source": "a person"},
    )
    exchange.work(order)


@pytest.mark.parametrize("venue", VENUES, ids=str)
@pytest.mark.parametrize("about", ["the broker", "desk"])
def test_it_signs_in_says_what_is_held_and_sends_nothing(doctor, venue, about):
    result, fake = doctor(venue, about=venue.name if about == "the broker" else about)

    assert result.exit_code == 0, result.output
    assert f"signed in to {venue.name}; the group is not live" in result.stdout
    assert "account main; holds 2 ESZ2026; 0 orders work" in result.stdout
    assert len(fake.exchange.orders) == 1
    assert not [call for call in fake.requests if "place" in call or call.startswith("POST /accounts")]


@pytest.mark.parametrize("venue", VENUES, ids=str)
def test_what_is_missing_is_named_before_anything_is_asked(doctor, venue):
    given = credentials(venue)
    lacks = sorted(given)[0]
    del given[lacks]
    result, fake = doctor(venue, env=given)

    assert result.exit_code == 1
    assert f"not set: {lacks}" in result.stdout
    assert not fake.requests
    assert HIDDEN not in result.output


@pytest.mark.parametrize("venue", VENUES, ids=str)
def test_credentials_that_are_refused_are_told_and_never_shown(doctor, venue):
    secrets = ("PASSWORD", "TOKEN", "KEY")
    wrong = {name: "wrong" if name.endswith(secrets) else text for name, text in credentials(venue).items()}
    result, _ = doctor(venue, "--json", env=wrong, about="desk")
    (told,) = map(json.loads, result.stdout.splitlines())

    assert result.exit_code == 1
    assert (told["check"], told["state"]) == ("desk", "fail")
    assert "doesn't let us in" in told["text"]
    assert HIDDEN not in result.output


def test_a_name_that_is_neither_group_nor_broker_is_wrong_usage(doctor):
    result, _ = doctor(TRADOVATE, about="hercules")

    assert result.exit_code == 2
    assert "neither a group (" in result.output


def test_the_simulator_needs_no_sign_in(doctor, tmp_path):
    result, _ = doctor(TRADOVATE, about="paper_simulator")

    assert (result.exit_code, "nothing to sign in to" in result.output) == (0, True)
