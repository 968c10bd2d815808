"""What all commands share: errors as one line, common options, the settings they name."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from ttflow.errors import TtflowError

if TYPE_CHECKING:
    from ttflow.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Commands(click.Group):
    """A group that tells what goes wrong in one line, and lists its commands in the order of their use."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it raises becomes one line on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except TtflowError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            _leave_quietly()
        except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            if _debugging():
                raise
            told = f"{_told(error)} (DEBUG=true shows where)"
            raise click.ClickException(told) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        return list(self.commands)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _debugging() -> bool:
    return os.environ.get("DEBUG", "").strip().lower() in ("1", "true", "yes", "on")


def _leave_quietly() -> NoReturn:
    """Whoever read stdout has had enough, as `head` does; that is no failure."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(0)


def journal_option(command: F) -> F:
    """Add `--journal`."""
    told = "The journal's file; ttflow.db unless set."
    return click.option("--journal", type=click.Path(path_type=Path), metavar="PATH", help=told)(command)


def config_option(command: F) -> F:
    """Add `--config`."""
    told = "The settings' file; ttflow.toml where there is one."
    return click.option("--config", type=click.Path(path_type=Path), metavar="PATH", help=told)(command)


def url_option(command: F) -> F:
    """Add `--url`."""
    told = "The desk's address, such as http://127.0.0.1:8000; by default the one that has the journal."
    return click.option("--url", metavar="URL", help=told)(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")(command)


def flow_option(command: F) -> F:
    """Add `--flow`."""
    told = "Your own flow instead of the built-in one; the module may be in this directory."
    return click.option("--flow", metavar="MODULE:FUNCTION", callback=_flow_named, help=told)(command)


def _flow_named(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse what names no function; whether it is there is seen when it is imported."""
    module, _, function = (value or "").partition(":")
    if value is not None and not (module and function):
        raise click.BadParameter(f"{value!r} names no function; write MODULE:FUNCTION, such as mydesk:flow.")
    return value


def zone_option(told: str) -> Callable[[F], F]:
    """Add `--tz`, an IANA name of a time zone, with `told` as its help."""
    return click.option(
        "--tz", default="UTC", show_default=True, metavar="ZONE", callback=_zone_named, help=told
    )


def _zone_named(context: click.Context, option: click.Parameter, value: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        text = f"there is no time zone {value!r}; give one such as America/New_York."
        raise click.BadParameter(text) from None
    return value


def settings_for(**overrides: Any) -> Settings:
    """Read the settings with the command line's on top; raises SettingsError."""
    from ttflow.settings import load

    return load(overrides)


def journal_of(journal: Path | None, config: Path | None = None) -> Path:
    """The journal that a reading command means: as given, else as set.

    To read a journal that is named no settings are needed, so a wrong one doesn't stand in the way.
    """
    return journal if journal is not None else settings_for(config=config).journal


def read_input(file: str) -> bytes:
    """Read a file, or stdin for `-`; raises ClickException, one line."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file} can't be read: {error.strerror}.") from error
