"""What `ttflow doctor` looks at: one finding for each thing, and what to paste at the end."""

from __future__ import annotations

import os
import platform
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

from ttflow.cli.webhook import webhook_url
from ttflow.client import Running, running
from ttflow.errors import JournalError, RequestError, SettingsError
from ttflow.settings import Settings, load
from ttflow.terminal import bold, dim, entry, json_line

SAFE_SQLITE = (3, 51, 3)
_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red"), "info": ("–", None)}


State = Literal["ok", "warn", "fail", "info"]


class Finding(NamedTuple):
    """One thing that was looked at. `fail` keeps the desk from starting; `info` is no judgement."""

    check: str
    state: State
    text: str


def examine(overrides: Mapping[str, Any], show_secret: bool, as_json: bool, *, notify: bool = False) -> bool:
    """Look at everything, print it, and return whether the desk can start.

    `notify` sends a test message to every channel; one that doesn't take it makes the result false, too.
    """
    fine = taken = True
    settings = None
    for finding in _machine():
        show(finding, as_json)
    try:
        settings = load(overrides)
    except SettingsError as error:
        show(Finding("settings", "fail", str(error)), as_json)
        return False
    desk = running(settings.journal)
    for finding in _all(settings, overrides, desk):
        fine &= finding.state != "fail"
        show(finding, as_json)
    for finding in _tests(settings) if notify else ():
        taken &= finding.state == "ok"
        show(finding, as_json)
    _what_to_paste(settings, desk, show_secret, as_json)
    if not as_json:
        runs = "It runs." if desk else "It can start: ttflow serve"
        verdict = runs if fine else "It can't start; see FAIL above."
        click.echo(f"\n{click.style(verdict, fg='green' if fine else 'red', bold=True)}")
    return fine and taken


def show(finding: Finding, as_json: bool) -> None:
    """Print a finding: a line for people, or one JSON object."""
    if as_json:
        json_line(finding._asdict())
        return
    mark, colour = _MARKS[finding.state]
    entry(f"{click.style(mark.ljust(4), fg=colour)}  {finding.check:<9} ", finding.text)


def _machine() -> Iterator[Finding]:
    from ttflow import __version__
    from ttflow.journal.connect import sqlite3

    yield Finding("ttflow", "ok", f"{__version__} on Python {platform.python_version()}, {sys.platform}")
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= SAFE_SQLITE:
        yield Finding("sqlite", "ok", version)
    else:
        text = (
            f"{version} can damage a journal that two programs write; install pysqlite3 for 3.51.3 or newer"
        )
        yield Finding("sqlite", "warn", text)


def _all(settings: Settings, overrides: Mapping[str, Any], desk: Running | None) -> Iterator[Finding]:
    yield from _settings(settings, overrides)
    yield from _secret(settings)
    yield _port(settings, desk)
    yield _journal(settings.journal, desk)
    yield from _halts(settings.journal)
    yield _token(settings)
    yield _logs(settings.log_dir)
    yield from _groups(settings)
    yield from _notices(settings)


def _settings(settings: Settings, overrides: Mapping[str, Any]) -> Iterator[Finding]:
    from ttflow.settings.sources import gather

    found = gather({}, overrides, os.environ, Path.cwd())
    file = str(settings.config) if settings.config else "no ttflow.toml here; the defaults hold"
    yield Finding("settings", "ok", file)
    for name in ("host", "port", "journal", "log_dir", "log_level", "public_url", "allow_from", "debug"):
        source = found.origin((name,)).source
        if source != "defaults":
            value = settings.model_dump(mode="json")[name]
            yield Finding("", "info", f"{name} = {value} (from {source})")


def _secret(settings: Settings) -> Iterator[Finding]:
    if settings.secrets:
        several = f"{len(settings.secrets)} secrets, any is right" if len(settings.secrets) > 1 else "set"
        yield Finding("secret", "ok", several)
    else:
        text = "no webhook secret: this machine only, and paper only; set TRADINGVIEW_WEBHOOK_SECRET"
        yield Finding("secret", "warn", text)
    for warning in settings.warnings():
        yield Finding("secret", "warn", warning)


def _port(settings: Settings, desk: Running | None) -> Finding:
    if desk and desk.url:
        return Finding("port", "ok", f"a desk serves at {desk.url} (process {desk.pid})")
    place = f"{settings.host}:{settings.port}"
    try:
        _bind_once(settings.host, settings.port)
    except OSError as error:
        text = (
            f"{place} can't be had ({error.strerror or error}); stop what has it, or set another HOST or PORT"
        )
        return Finding("port", "fail", text)
    return Finding("port", "ok", f"{place} is free")


def _bind_once(host: str, port: int) -> None:
    """Take the address and let it go again; raises OSError where the server couldn't have it."""
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken.bind(address)


def _journal(path: Path, desk: Running | None) -> Finding:
    from ttflow.journal import Reader
    from ttflow.journal.connect import check_place

    try:
        if not path.exists():
            check_place(path)
            if not os.access(path.parent, os.W_OK):
                return Finding("journal", "fail", f"the folder of {path} can't be written; make it writable")
            return Finding("journal", "ok", f"{path} will be made")
        with Reader.open(path) as reader:
            undecided = len(reader.undecided())
            text = f"{path}, {reader.last_seq} inputs" + (f", {undecided} not decided" if undecided else "")
    except JournalError as error:
        return Finding("journal", "fail", str(error))
    if desk is None and not os.access(path, os.W_OK):
        return Finding("journal", "fail", f"{path} can't be written; make it writable")
    return Finding("journal", "ok", text + (f", in use by process {desk.pid}" if desk else ""))


def _halts(path: Path) -> Iterator[Finding]:
    from ttflow.book.rows import Halt
    from ttflow.cli.groups import halts_in_force
    from ttflow.journal import Reader
    from ttflow.words import decode

    try:
        if path.exists():
            with Reader.open(path) as reader:
                rows = [decode(Halt, row) for row in reader.rows("halts")]
            yield from (Finding("halt", "warn", text) for text in halts_in_force(rows))
    except JournalError:
        return  # told already


def _token(settings: Settings) -> Finding:
    from ttflow.access import read_token, token_path

    place = token_path(settings.journal)
    if settings.api_token is not None:
        return Finding("token", "ok", "set (TTFLOW_API_TOKEN)")
    try:
        if read_token(settings.journal) is None:
            return Finding("token", "ok", f"{place} will be made")
    except RequestError as error:
        return Finding("token", "fail", str(error))
    if stat.S_IMODE(place.stat().st_mode) & 0o077:
        return Finding("token", "warn", f"others can read {place}; the next start takes that away")
    return Finding("token", "ok", f"{place}, for its owner only")


def _logs(folder: Path) -> Finding:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        return Finding("logs", "ok", f"{folder}" if folder.exists() else f"{folder} will be made")
    return Finding("logs", "fail", f"{folder} can't be written; make it writable, or set TTFLOW_LOG_DIR")


def _groups(settings: Settings) -> Iterator[Finding]:
    from ttflow.brokers.base import connectable

    known = connectable()
    for broker in dict.fromkeys(group.broker for group in settings.groups.values()):
        groups = {name: group for name, group in settings.groups.items() if group.broker == broker}
        names = ", ".join(f"{name} (live)" if group.live else name for name, group in groups.items())
        missing = settings.credentials.missing(broker)
        lacks = [] if broker in known else ["this version has no connector for it"]
        lacks += [f"not set: {', '.join(missing)}"] if missing else []
        if broker == "simulator":
            yield Finding("broker", "ok", f"simulator: {names} trade on paper")
        elif lacks:
            state: State = "warn" if any(group.live for group in groups.values()) else "info"
            yield Finding("broker", state, f"{broker}: alerts for {names} are denied; {'; '.join(lacks)}")
        else:
            yield Finding("broker", "ok", f"{broker}: {names}; those that are not live trade on paper")


def _notices(settings: Settings) -> Iterator[Finding]:
    """The channels by name; their addresses are secrets."""
    from ttflow.notify import check

    given = settings.notify
    for name, channel in given.channels.items():
        kinds = f", only {', '.join(channel.kinds)}" if channel.kinds else ""
        try:
            check(name, channel)
        except SettingsError as error:
            yield Finding("notify", "fail", str(error))
        else:
            yield Finding("notify", "ok", f"{name}: {_FROM[channel.severity]}{kinds}")
    if not given.channels:
        yield Finding(
            "notify", "info", "no channel: notices are in the journal only, and ttflow tail shows them"
        )
    if given.ping_url:
        text = f"an address outside is asked every {given.ping_every_s:g} s while the desk is well"
        yield Finding("ping", "ok", text)


_FROM = {"info": "every notice", "warning": "warnings and critical notices", "critical": "critical notices"}


def _tests(settings: Settings) -> Iterator[Finding]:
    """Send a test message to every channel."""
    import asyncio
    from datetime import UTC, datetime

    from ttflow.notify import Undelivered, send_test

    for name, channel in settings.notify.channels.items():
        try:
            asyncio.run(send_test(name, channel, datetime.now(UTC)))
        except SettingsError:
            continue  # told above
        except Undelivered as error:
            yield Finding("test", "warn", f"{name} did not take the test message: {error}")
        else:
            yield Finding("test", "ok", f"{name} took the test message; look whether it came")


def _what_to_paste(settings: Settings, desk: Running | None, show_secret: bool, as_json: bool) -> None:
    from ttflow.access import address_of
    from ttflow.template import RECOMMENDED

    address = desk.url if desk and desk.url else address_of(settings.host, settings.port)
    url = webhook_url(settings, address, show_secret=show_secret)
    if as_json:
        json_line({"webhook_url": url, "message": RECOMMENDED})
        return
    click.echo(f"\n{bold('Webhook URL')}")
    click.echo(f"  {url}")
    if settings.secrets and not show_secret:
        click.echo(dim("  --show-secret shows the secret in the place of ***"))
    if settings.public_url is None:
        text = (
            "TradingView reaches ports 80 and 443 of a public address only: put a proxy or a tunnel before "
        )
        entry("  ", f"{text}the desk, and set TTFLOW_PUBLIC_URL to its address.")
    click.echo(f"\n{bold('Alert message')}")
    click.echo(RECOMMENDED.rstrip())
