"""An adapter that somebody else wrote, installed beside ttflow, is found by its name in the settings."""

import asyncio
import json

import pytest

from ttflow.brokers.base import connectable, factory_of
from ttflow.desk import Desk
from ttflow.settings import Settings
from ttflow.ticket import OUTCOMES

ADAPTER = """
from ttflow.testing import ScriptedBroker

def connect(settings, group):
    assert settings.groups[group].broker == "acme"
    return ScriptedBroker("accept", price=lambda order: 101)
"""


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """A package of Acme's, as pip installs it."""
    (tmp_path / "acme_broker.py").write_text(ADAPTER)
    told = tmp_path / "acme_broker-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broker\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[ttflow.brokers]\nacme = acme_broker:connect\n")
    monkeypatch.syspath_prepend(tmp_path)


def settings(tmp_path, broker):
    group = {"broker": broker, "live": True, "strategies": ("walker",), "sides": "both"}
    told = {"secrets": ("a-webhook-secret",), "journal": tmp_path / "ttflow.db", "groups": {"desk": group}}
    return Settings.model_validate(told)


async def bought(tmp_path, broker):
    """What becomes of an entry in a group at `broker`."""
    alert = {"strategy": "walker", "symbol": "AAPL", "action": "buy", "quantity": 1, "price": 100}
    over = asyncio.Event()
    async with asyncio.timeout(20), Desk(settings(tmp_path, broker)) as desk:

        def look(seq, changes):
            rows = [change["row"] for change in json.loads(changes) if change["table"] == "tickets"]
            if any(row["status"] in OUTCOMES for row in rows):
                over.set()

        desk.listen(look)
        await desk.send({**alert, "account_group": "desk"})
        await over.wait()
        (row,) = desk.reader.rows("tickets")
        return row["status"], row["reason"]


@pytest.mark.usefixtures("acme")
def test_a_registered_adapter_takes_the_orders_of_its_group(tmp_path):
    assert "acme" in connectable()

    assert asyncio.run(bought(tmp_path, "acme")) == ("filled", None)


@pytest.mark.usefixtures("acme")
def test_a_broker_that_nobody_registered_is_none(tmp_path):
    assert factory_of("nobody") is None

    status, reason = asyncio.run(bought(tmp_path, "nobody"))

    assert (status, reason) == ("denied", "No broker connector configured")
