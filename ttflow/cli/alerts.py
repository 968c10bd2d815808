"""Commands about alerts on their way in: `send` and `check`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ttflow.cli.base import config_option, journal_option, json_option, read_input, settings_for

if TYPE_CHECKING:
    from ttflow.client import Answer, Client
    from ttflow.template import Report

WAIT_S = 5.0
"""How long `send` waits for an alert's outcome."""


@click.command()
@click.argument("file")
@click.option("--url", metavar="URL", help="The desk's address, or its webhook's.")
@click.option("--secret", metavar="SECRET", help="The webhook's secret, to sign with; as set, if not given.")
@click.option("--retry", is_flag=True, help="Wait and send again what is refused for now (429, 503).")
@journal_option
@config_option
@json_option
def send(
    file: str,
    url: str | None,
    secret: str | None,
    retry: bool,
    journal: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Send alerts, and print what became of each.

    FILE holds one alert as JSON, or many, one a line; - is stdin. {{timenow}} becomes the present. Requests
    are signed with the webhook's secret. Exit code 1 when one of them was refused.

    \b
    Examples:
      ttflow send alert.json
      echo '{"symbol":"AAPL","action":"buy","quantity":1}' | ttflow send -
      ttflow send day.jsonl --retry --json
    """
    from ttflow.client import client_for

    bodies = list(_stamped(_alerts_in(read_input(file))))
    if not bodies:
        raise click.ClickException(f"{'stdin' if file == '-' else file} is empty; write an alert into it.")
    settings = settings_for(journal=journal, config=config)
    if secret is None and settings.secrets:
        secret = settings.secrets[0].get_secret_value()
    client = client_for(settings, url)
    refused = 0
    for body in bodies:
        answer = _post(client, body, secret, retry)
        refused += not answer.kept
        _tell(client, body, answer, as_json)
    if refused and len(bodies) > 1 and not as_json:
        click.echo(f"{refused} of {len(bodies)} alerts were refused.", err=True)
    if refused:
        raise click.exceptions.Exit(1)


def _alerts_in(data: bytes) -> list[bytes]:
    """The alerts in a file: one a line where every line is an object of its own, else the whole."""
    lines = [line.strip() for line in data.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    if len(lines) > 1 and all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return lines
    return [data] if data.strip() else []


def _stamped(bodies: list[bytes]) -> Iterator[bytes]:
    """Put the present into each body; one that stands there twice is a resend, and keeps its bytes."""
    from datetime import UTC, datetime

    from ttflow.sample import TIMENOW

    sent: dict[bytes, bytes] = {}
    for body in bodies:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield sent.setdefault(body, body.replace(TIMENOW.encode(), now.encode()))


def _post(client: Client, body: bytes, secret: str | None, retry: bool) -> Answer:
    answer = client.alert(body, secret)
    while retry and answer.status in (429, 503):
        wait_s = answer.retry_s or 1
        click.echo(f"{answer.problem}: sending again in {wait_s:g} s", err=True)
        time.sleep(wait_s)
        answer = client.alert(body, secret)
    return answer


def _tell(client: Client, body: bytes, answer: Answer, as_json: bool) -> None:
    from ttflow.errors import RequestError
    from ttflow.terminal import json_line, say

    if not answer.kept:
        if as_json:
            json_line({"http_status": answer.status, **answer.body})
        else:
            say(f"Refused with {answer.status}: {answer.problem}.".replace("..", "."))
        return
    try:
        story = client.story(answer.body["alert_id"], WAIT_S)
    except RequestError as error:
        # The alert is kept; a server that shows its outcome to others only is no failure.
        story = None
        say(f"What became of it can't be seen: {error}")
    if as_json:
        json_line({"http_status": answer.status, **answer.body, "tickets": story and story["tickets"]})
    else:
        _tell_outcome(answer, story)


def _tell_outcome(answer: Answer, story: dict[str, Any] | None) -> None:
    from ttflow.terminal import asked, bold, clean, dim, outcome, place, status

    alert_id = answer.body["alert_id"]
    if answer.body.get("duplicate"):
        click.echo(f"{bold(alert_id)}  {dim('a repeat; what became of the first:')}")
    if story is None:
        click.echo(f"{bold(alert_id)}  kept; {clean(str(answer.body['message']))}")
        return
    alert = story["alert"]
    for ticket in story["tickets"]:
        head = f"{bold(alert_id)}  {clean(alert['strategy'] or '?')}  {asked(alert)}"
        told = f"{place(ticket)}  {status(ticket['status'])}  {outcome(ticket)}"
        click.echo(f"{head}  {told}")


@click.command()
@click.argument("file")
@json_option
def check(file: str, as_json: bool) -> None:
    """Check an alert message before you paste it.

    Puts samples in the place of TradingView's {{placeholders}}, reads the result as the webhook would, and
    says what it would do, what is wrong and what is risky. FILE - is stdin. Exit code 1 when something is
    wrong.

    \b
    Examples:
      ttflow check message.json
      pbpaste | ttflow check -
    """
    from ttflow import template

    try:
        text = read_input(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8 text; save it as UTF-8.") from None
    report = template.check(text)
    if as_json:
        told = {"ok": report.ok, "clean": report.clean, **report.__dict__}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        _print_report(report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _print_report(report: Report) -> None:
    from ttflow.terminal import entry

    for line in report.would:
        entry("", line)
    for kind, lines, colour in (
        ("error", report.errors, "red"),
        ("warning", report.warnings, "yellow"),
        ("note", report.notes, "bright_black"),
    ):
        for line in lines:
            entry(f"{click.style(f'{kind}:', fg=colour)} ", line)
    click.echo(f"TradingView sends it as {report.content_type}.")
    if report.errors:
        verdict = click.style("It would be refused, or do harm.", fg="red", bold=True)
    elif report.warnings:
        verdict = click.style("It would be accepted; mind the warnings.", fg="yellow", bold=True)
    else:
        verdict = click.style("It is fine.", fg="green", bold=True)
    click.echo(verdict)


COMMANDS = (send, check)
