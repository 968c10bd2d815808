"""The command `ttflow`: one group, its commands in rooms by what they are about.

Data goes to stdout, messages to stderr. Exit codes: 0 done, 1 refused or failed, 2 wrong usage. Nothing but
click is imported until a command runs, so that help is there at once.
"""

from __future__ import annotations

import os

import click

from ttflow import __version__
from ttflow.cli import alerts, fakes, importing, operating, reading, serving, statistics
from ttflow.cli.base import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ttflow")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Turn TradingView alerts into trading decisions that are kept, explained and replayable.

    \b
    Examples:
      ttflow demo                 see it work, with sample alerts on paper
      ttflow doctor               see whether your desk can start, and what to paste
      ttflow serve                start your desk

    `ttflow COMMAND -h` explains a command. Settings come from the command line, the environment, .env and
    ttflow.toml, in this order. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


for command in (
    *serving.COMMANDS,
    *alerts.COMMANDS,
    *reading.COMMANDS,
    *statistics.COMMANDS,
    *importing.COMMANDS,
    *operating.COMMANDS,
    *fakes.COMMANDS,
):
    main.add_command(command)

__all__ = ["main"]
