"""The command that serves a broker's fake, so that the whole chain can be tried without an account."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING

import click

from ttflow.cli.base import json_option
from ttflow.errors import RequestError

if TYPE_CHECKING:
    from ttflow.fakes.server import Fake

PORTS = {"tradovate": 8101, "tastytrade": 8102, "projectx": 8103}


@click.command()
@click.argument("broker", type=click.Choice(sorted(PORTS)))
@click.option("--port", type=click.IntRange(0, 65535), help="By default 8101 and up; 0 takes a free one.")
@json_option
def fake(broker: str, port: int | None, as_json: bool) -> None:
    """Serve a fake of BROKER on this machine until Ctrl-C.

    It speaks the broker's own protocol, takes any credentials but `wrong`, and holds one account. Give its
    address to a group as `base_url`. POST /_price tells what a symbol trades at, POST /_fault lets something
    go wrong (GET lists the kinds), GET /_state shows what it holds.

    \b
    Examples:
      ttflow fake tradovate
      ttflow fake tastytrade --port 9000
    """
    import asyncio

    made: Fake = import_module(f"ttflow.fakes.{broker}").make()
    asyncio.run(_serve(made, PORTS[broker] if port is None else port, as_json))


async def _serve(made: Fake, port: int, as_json: bool) -> None:
    from ttflow.cli.serving import stop_signal
    from ttflow.fakes.server import serve

    stopped = stop_signal()
    try:
        served = await serve(made, port)
    except OSError as error:
        why = f"{error.strerror or error}; stop the program that has it, or give another --port"
        raise RequestError(f"Can't serve a fake on port {port}: {why}.") from error
    if as_json:
        told = {"broker": made.name, "address": served.address, "account": made.account}
        click.echo(json.dumps(told))
    else:
        click.echo(served.address)
        click.echo(f"A fake of {made.name} with the account {made.account}; Ctrl-C stops it.", err=True)
    try:
        await stopped
    finally:
        await served.close()


COMMANDS = (fake,)
