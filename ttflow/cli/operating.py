"""Commands for whoever runs a desk: `doctor`, and those that change something: `halt`, `resume`, `mode`.

A change goes through the running desk's API. Where none runs, the command starts a desk without a server,
takes the journal's lock with it, changes what was asked, and stops it again (`ttflow.cli.alone`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ttflow.cli.base import config_option, journal_option, json_option, settings_for, url_option

if TYPE_CHECKING:
    from ttflow.client import Client
    from ttflow.desk import Desk

BY_HAND = "by hand"
MODES = ("live", "paper", "halted", "auto")

Act = Callable[["Desk"], Awaitable[int]]


def reason_option(command: Any) -> Any:
    """Add `--reason`."""
    told = "Why, in one line; it is kept in the journal."
    return click.option("--reason", default=BY_HAND, metavar="TEXT", help=told)(command)


def _changing(command: Any) -> Any:
    for option in (json_option, config_option, journal_option, url_option, reason_option):
        command = option(command)
    return command


def _scoped(command: Any) -> Any:
    option = click.option("--strategy", metavar="NAME", help="Only this strategy.")
    return click.argument("group", required=False)(option(_changing(command)))


@click.command()
@_scoped
def halt(**given: Any) -> None:
    """Stop opening positions; exits still go out.

    Everywhere, or in one account GROUP; opening orders are withdrawn, protection stays.

    \b
    Examples:
      ttflow halt
      ttflow halt topstep --reason "news at 14:30"
    """
    _switch("halt", "Halted {}: nothing opens any more, exits still go out.", **given)


@click.command()
@_scoped
def resume(**given: Any) -> None:
    """Let positions be opened again.

    Everywhere, or in one account GROUP.

    \b
    Examples:
      ttflow resume
      ttflow resume topstep
    """
    _switch("resume", "Resumed {}: positions may be opened again.", **given)


@click.command()
@_scoped
def reduce(**given: Any) -> None:
    """Open nothing, and leave working orders be.

    Everywhere, or in one account GROUP; resume ends it.

    \b
    Examples:
      ttflow reduce
      ttflow reduce topstep --reason "enough for today"
    """
    _switch("reduce", "Reducing {}: nothing opens any more, working orders stay.", **given)


@click.command()
@click.argument("verb", metavar="[adopt|absent]", type=click.Choice(("adopt", "absent")))
@click.argument("order_id")
@_changing
def orders(verb: str, order_id: str, reason: str, **options: Any) -> None:
    """Say what became of an order in doubt.

    Adopt: the broker has it; it counts as filled by what the broker holds more than the desk knows of, else
    as working. Absent: it never arrived.

    \b
    Examples:
      ttflow orders adopt tt-0123456789abcdef01234567
      ttflow orders absent tt-0123456789abcdef01234567
    """
    from urllib.parse import quote

    path = f"/api/orders/{quote(order_id, safe='')}/{verb}"
    told = f"{order_id} is {'adopted' if verb == 'adopt' else 'absent: it never arrived'}."
    _change(path, {"reason": reason}, lambda desk: desk.settle_order(order_id, verb), told, **options)


@click.command()
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--group", metavar="NAME", help="Only this account group.")
@click.option("--reset", is_flag=True, help="Bring back the limits of the settings.")
@_changing
def limits(given: tuple[str, ...], group: str | None, reset: bool, reason: str, **options: Any) -> None:
    """Put other limits in force, at once.

    The keys are those of [limits]; they stand in place of the settings' own, across restarts, until others
    are set or --reset brings the settings' back.

    \b
    Examples:
      ttflow limits quantity=2 day_loss=500
      ttflow limits --group topstep orders_per_day=10
      ttflow limits --reset
    """
    from urllib.parse import quote

    from ttflow.book.rows import EVERYWHERE

    if bool(given) == reset:
        raise click.UsageError("Give limits as KEY=VALUE, or --reset.")
    if group == "":
        raise click.UsageError("--group is empty; name one, or leave it out for all.")
    told = None if reset else dict(_pair(one) for one in given)
    path = f"/api/groups/{quote(group, safe='')}/limits" if group else "/api/limits"
    where = f"in {group}" if group else "everywhere"
    said = f"The limits {where} are {'those of the settings' if reset else ', '.join(given)} now."
    body = {"limits": told, "reason": reason}
    _change(path, body, lambda desk: desk.set_limits(told, group or EVERYWHERE, reason), said, **options)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise click.UsageError(f"{text!r} is no limit; write KEY=VALUE, such as quantity=2.")
    return key.strip(), value.strip()


@click.command()
@_scoped
def flatten(**given: Any) -> None:
    """Halt, and close what is held.

    Everywhere, in one account GROUP, or for one strategy; it is tried again until all is flat. Where no desk
    runs, the command signs in itself, and ends when all is flat; after a minute it fails and says what is
    left.

    \b
    Examples:
      ttflow flatten
      ttflow flatten topstep --strategy ma_cross
    """
    _switch("flatten", "Flattening {}: nothing opens any more, and what is held is closed.", **given)


def _switch(
    command: str, told: str, group: str | None, strategy: str | None, reason: str, **options: Any
) -> None:
    from urllib.parse import quote

    from ttflow.book.rows import EVERYWHERE

    for name, text in (("GROUP", group), ("--strategy", strategy)):
        if text == "":  # a variable that was not set must not mean everything
            raise click.UsageError(f"{name} is empty; name one, or leave it out for all.")
    scope = group or EVERYWHERE
    path = f"/api/{command}" if scope == EVERYWHERE else f"/api/groups/{quote(scope, safe='')}/{command}"
    body = {"reason": reason, **({"strategy": strategy} if strategy else {})}

    def act(desk: Desk) -> Awaitable[int]:
        found: Awaitable[int] = getattr(desk, command)(f"{scope}/{strategy}" if strategy else scope, reason)
        return found

    where = "everywhere" if scope == EVERYWHERE else f"in {scope}"
    _change(path, body, act, told.format(f"{strategy} {where}" if strategy else where), **options)


@click.command()
@click.argument("strategy")
@click.argument("mode", metavar="[live|paper|halted|auto]", type=click.Choice(MODES))
@_changing
def mode(strategy: str, mode: str, reason: str, **options: Any) -> None:
    """Set how a strategy trades.

    Live, on paper, not at all, or as the desk decides (auto).

    \b
    Examples:
      ttflow mode ma_cross paper
      ttflow mode ma_cross auto --reason "it earns again"
    """
    from urllib.parse import quote

    path = f"/api/strategies/{quote(strategy, safe='')}/mode"
    told = f"{strategy} is {mode} now."
    body = {"mode": mode, "reason": reason}
    _change(path, body, lambda desk: desk.set_mode(strategy, mode, reason), told, **options)


def _change(
    path: str,
    body: Mapping[str, Any],
    act: Act,
    told: str,
    *,
    url: str | None,
    journal: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Have the running desk do it, else do it with the journal's lock; print what was done."""
    import asyncio

    from ttflow.cli.alone import carry_out
    from ttflow.client import client_for, running
    from ttflow.errors import RequestError
    from ttflow.terminal import json_line

    settings = settings_for(journal=journal, config=config)
    found = running(settings.journal)
    if url is None and found is None:
        if not settings.journal.exists():
            raise RequestError(
                f"There is no journal {settings.journal}, and no desk runs with it; "
                "start one with ttflow serve, or name its --journal."
            )
        seq = asyncio.run(carry_out(settings, act))
    else:
        client = client_for(settings, url)
        if url is None and found is not None and found.url is None:
            check_whose(client, settings.journal, found.pid)
        seq = _ask(client, path, body)
    if as_json:
        json_line({"status": "ok", "seq": seq})
    else:
        click.echo(f"{told} (input {seq})")


def check_whose(client: Client, journal: Path, pid: int) -> None:
    """Refuse to change another desk, where the one that has the journal doesn't say where it is."""
    from ttflow.errors import RequestError
    from ttflow.journal import Reader

    told = f"Process {pid} has the journal {journal} and tells no address"
    try:
        answered = client.get("/api/desk")
    except RequestError as error:
        raise RequestError(f"{told}; wait until it has ended, or give its --url. {error}") from error
    with Reader.open(journal) as reader:
        if not answered or answered.get("journal_id") != reader.journal_id:
            raise RequestError(
                f"{told}, and {client.base} is another desk's; wait until it has ended, or give its --url."
            )


def _ask(client: Client, path: str, body: Mapping[str, Any]) -> int:
    """Post a command; where there is no such group or strategy, say which there are."""
    from ttflow.client import Unknown
    from ttflow.errors import RequestError

    try:
        seq: int = client.post(path, body)["seq"]
    except Unknown as error:
        of_strategy = "strategy" in str(error)
        kind, column = ("strategies", "strategy") if of_strategy else ("groups", "account_group")
        names = [str(row[column]) for row in client.get(f"/api/{kind}")[kind]]
        raise RequestError(f"{error} There are: {', '.join(names) or 'none'}.") from error
    return seq


@click.command()
@click.option("--show-secret", is_flag=True, help="Print the webhook's address with its secret.")
@click.option("--notify", is_flag=True, help="Send a test message to every channel of [notify].")
@click.option("--broker", metavar="NAME", help="Only sign in at the broker NAME, or at a group's.")
@journal_option
@config_option
@json_option
def doctor(
    show_secret: bool,
    notify: bool,
    broker: str | None,
    journal: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """See whether the desk can start, and what to paste.

    Checks the settings and where they come from, the port, the journal, the token, the brokers and the
    channels of notices. Exit code 0 when the desk can start, 1 when it can't, or when a channel did not
    take its test message.

    With --broker it signs in there, lists the accounts with what they hold, sends nothing, and ends with
    code 1 when the broker doesn't let it in. It is a session of its own, beside that of a desk that runs.

    \b
    Examples:
      ttflow doctor
      ttflow doctor --show-secret
      ttflow doctor --notify
      ttflow doctor --broker tradovate
    """
    from ttflow.cli import health, reaching

    if broker is not None:
        if not reaching.reach(broker, {"journal": journal, "config": config}, as_json):
            raise click.exceptions.Exit(1)
        return
    if not health.examine({"journal": journal, "config": config}, show_secret, as_json, notify=notify):
        raise click.exceptions.Exit(1)


COMMANDS: tuple[Any, ...] = (doctor, halt, reduce, resume, flatten, mode, orders, limits)
