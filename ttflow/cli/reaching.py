"""What `ttflow doctor --broker NAME` looks at: whether a broker lets us in, and what it says is held there.

The one rule: nothing is sent that a broker could take for an order, and no credential is ever shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ttflow.brokers.base import Broker, Factory, SignInError, Snapshot, factory_of
from ttflow.cli.health import Finding, show
from ttflow.redaction import Redaction, configured_secrets
from ttflow.settings import Settings, load
from ttflow.words import plain

LONGEST_S = 60.0
"""How long a broker may take to let us in and to say what is held, in seconds."""


def reach(name: str, overrides: Mapping[str, Any], as_json: bool) -> bool:
    """Sign in at the broker of a group, or of every group of a broker, and print what is held there.

    Returns whether all of them let us in. Raises UsageError for a name that is neither, SettingsError.
    """
    settings = load(overrides)
    groups = _groups_of(name, settings)
    clean, fine = Redaction(configured_secrets(settings)), True
    for group in groups:
        for finding in _findings(settings, group):
            fine &= finding.state != "fail"
            show(finding._replace(text=clean(finding.text)), as_json)
    return fine


def _groups_of(name: str, settings: Settings) -> list[str]:
    """The groups that a name means: itself, or those at the broker that it names."""
    if name in settings.groups:
        return [name]
    found = [group for group, given in settings.groups.items() if given.broker == name]
    if not found:
        groups = ", ".join(sorted(settings.groups))
        brokers = ", ".join(sorted({given.broker for given in settings.groups.values()}))
        told = f"{name} is neither a group ({groups}) nor the broker of one ({brokers})."
        raise click.UsageError(told)
    return found


def _findings(settings: Settings, group: str) -> Iterator[Finding]:
    given = settings.groups[group]
    if given.broker == "simulator":
        yield Finding(group, "ok", "the simulator is ttflow itself: there is nothing to sign in to")
        return
    missing = settings.credentials.missing(given.broker)
    factory = factory_of(given.broker)
    if missing:
        yield Finding(group, "fail", f"{given.broker}: not set: {', '.join(missing)}")
    elif factory is None:
        yield Finding(group, "fail", f"{given.broker}: this version has no connector for it")
    else:
        yield from _asked(settings, group, factory)


def _asked(settings: Settings, group: str, factory: Factory) -> Iterator[Finding]:
    name = settings.groups[group].broker
    try:
        snapshots = asyncio.run(_look(factory(settings, group)))
    except SignInError as error:
        yield Finding(group, "fail", f"{name} doesn't let us in: {error}")
    except Exception as error:
        told = str(error) or type(error).__name__
        yield Finding(group, "fail", f"{name} can't be reached: {told}")
    else:
        live = "live" if settings.groups[group].live else "not live: no order leaves"
        yield Finding(group, "ok", f"signed in to {name}; the group is {live}")
        for snapshot in snapshots:
            yield Finding("", "info", _held(snapshot))


async def _look(broker: Broker) -> tuple[Snapshot, ...]:
    """Sign in, look, and leave."""
    try:
        async with asyncio.timeout(LONGEST_S):
            await broker.open(lambda told: None)
            return await broker.snapshot()
    finally:
        await broker.close()


def _held(snapshot: Snapshot) -> str:
    held = [f"{plain(quantity)} {symbol}" for symbol, quantity in sorted(snapshot.positions.items())]
    orders = len(snapshot.working)
    parts = [f"account {snapshot.account}", "holds " + (", ".join(held) or "nothing")]
    parts.append("one order works" if orders == 1 else f"{orders} orders work")
    parts += [f"equity {plain(snapshot.equity)}"] if snapshot.equity is not None else []
    return "; ".join(parts)


__all__ = ["reach"]
