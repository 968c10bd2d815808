"""The commands that serve a desk: `serve` and `demo`. Both end in order on Ctrl-C and SIGTERM, with 0."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ttflow.cli.base import config_option, flow_option, journal_option, settings_for

if TYPE_CHECKING:
    import asyncio

    from ttflow.desk import Desk, FlowFunction
    from ttflow.server import Server
    from ttflow.settings import Settings


@click.command()
@click.option("--host", metavar="HOST", help="Where to listen; 127.0.0.1 unless set.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="8000 unless set; 0 is any free.")
@journal_option
@config_option
@flow_option
def serve(
    host: str | None, port: int | None, journal: Path | None, config: Path | None, flow: str | None
) -> None:
    """Start the desk: webhook, dashboard and API.

    It runs until Ctrl-C. Without settings it trades on paper and listens on this machine only.

    \b
    Examples:
      ttflow serve
      TRADINGVIEW_WEBHOOK_SECRET=… ttflow serve --port 8080 --journal ~/desk.db
      ttflow serve --flow mydesk:flow
    """
    import asyncio

    from ttflow.cli.flows import load_flow
    from ttflow.logs import set_up

    settings = settings_for(host=host, port=port, journal=journal, config=config)
    function = load_flow(flow)
    with set_up(settings):
        asyncio.run(_serve(settings, function))


async def _serve(settings: Settings, flow: FlowFunction | None) -> None:
    from ttflow import server
    from ttflow.client import announced
    from ttflow.desk import Desk

    stopped = stop_signal()
    allow_connections()
    async with Desk(settings, flow=flow) as desk:
        desk.on_fatal = lambda error: None if stopped.done() else stopped.set_exception(error)
        serving = await server.serve(desk)
        fit_interpreter()
        try:
            with announced(settings.journal, serving.address):
                _greet(desk, serving)
                await stopped
                click.echo("Stopping.", err=True)
        finally:
            await serving.close()


MOST_FILES = 65_536
"""As many files as a desk may have open: each connection is one."""


def allow_connections() -> None:
    """Let the process open as many files as it may: 1,024, as systems have it, a few idle senders use up."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def fit_interpreter() -> None:
    """Set the interpreter up for a desk's threads and its memory.

    The journal's thread gets Python's lock within 0.2 ms instead of 5 ms, where the loop is busy (measured:
    1.7 times the alerts a second). The collector looks rarely, and never at what was there at the start: a
    desk makes next to no cycles, and it took a third of a decision's time.
    """
    import gc
    import sys

    sys.setswitchinterval(0.0002)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def stop_signal() -> asyncio.Future[None]:
    """A future that is done when the process is told to stop; a second signal then ends it at once.

    A terminal that is closed says so too (SIGHUP), but not to what was started with nohup.
    """
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()
    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)

    def stop() -> None:
        for name in heard:
            loop.remove_signal_handler(name)
        if not stopped.done():
            stopped.set_result(None)

    for name in heard:
        loop.add_signal_handler(name, stop)
    return stopped


def _greet(desk: Desk, serving: Server) -> None:
    from ttflow import __version__
    from ttflow.cli.groups import halts_in_force, where_groups_trade
    from ttflow.cli.webhook import webhook_url
    from ttflow.terminal import bold, entry, say

    settings, warns = desk.settings, click.style("Warning: ", fg="yellow")
    say(bold(f"ttflow {__version__} serves at {serving.address}"))
    say(f"  dashboard  {serving.sign_in_url}")
    say("             signs this browser in; good for 12 hours")
    say(f"  webhook    {webhook_url(settings, serving.address)}")
    say(f"  journal    {settings.journal.absolute()}")
    for place, names in where_groups_trade(settings, frozenset(desk.brokers)).items():
        entry(f"  {place:<9}  ", names, err=True)
    if not settings.secrets:
        text = "no webhook secret is set: every program on this machine can send alerts, and all is paper; "
        entry(warns, f"{text}set TRADINGVIEW_WEBHOOK_SECRET", err=True)
    for warning in (*settings.warnings(), *halts_in_force(desk.engine.state.halts.values())):
        entry(warns, warning, err=True)
    say("Ctrl-C stops it.")


@click.command()
@click.option("--once", is_flag=True, help="End when the sample has run, with 1 if the counts don't add up.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="The next free one from 8000.")
def demo(once: bool, port: int | None) -> None:
    """Show a desk at work on sample alerts.

    Starts a real desk with a temporary journal and a secret of its own, posts 104 sample alerts to its
    webhook and tells what becomes of each; then serves until Ctrl-C. It reads no settings and leaves nothing
    behind.

    \b
    Examples:
      ttflow demo
      ttflow demo --once
    """
    import asyncio

    from ttflow.demo import run

    if not asyncio.run(run(once=once, port=port)):
        raise click.exceptions.Exit(1)


COMMANDS = (serve, demo)
