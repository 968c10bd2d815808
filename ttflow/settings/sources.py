"""Where settings come from: command line, environment, `.env`, `ttflow.toml`.

The rule of this room: a value keeps its origin until it has been checked, so that the line that refuses
it can name the key as its author wrote it, and where.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from ttflow.errors import SettingsError
from ttflow.settings.refusals import Loc, Origin, did_you_mean, dotted

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "TRADINGVIEW_WEBHOOK_SECRET": ("secrets",),
    "HOST": ("host",),
    "PORT": ("port",),
    "DEBUG": ("debug",),
    "LOG_LEVEL": ("log_level",),
    "TTFLOW_JOURNAL": ("journal",),
    "TTFLOW_CONFIG": ("config",),
    "TTFLOW_RATE_LIMIT": ("rate_limit",),
    "TTFLOW_LOG_DIR": ("log_dir",),
    "TTFLOW_PUBLIC_URL": ("public_url",),
    "TTFLOW_ALLOW_FROM": ("allow_from",),
    "TTFLOW_TRUSTED_PROXIES": ("trusted_proxies",),
    "TTFLOW_API_TOKEN": ("api_token",),
    "TTFLOW_PING_URL": ("notify", "ping_url"),
    "TASTYTRADE_CLIENT_ID": ("credentials", "tastytrade", "client_id"),
    "TASTYTRADE_CLIENT_SECRET": ("credentials", "tastytrade", "client_secret"),
    "TASTYTRADE_REFRESH_TOKEN": ("credentials", "tastytrade", "refresh_token"),
    "TRADOVATE_USERNAME": ("credentials", "tradovate", "username"),
    "TRADOVATE_PASSWORD": ("credentials", "tradovate", "password"),
    "TRADOVATE_CID": ("credentials", "tradovate", "cid"),
    "TRADOVATE_SEC": ("credentials", "tradovate", "sec"),
    "TRADOVATE_DEVICE_ID": ("credentials", "tradovate", "device_id"),
    "TOPSTEPX_USERNAME": ("credentials", "topstepx", "username"),
    "TOPSTEPX_API_KEY": ("credentials", "topstepx", "api_key"),
}
"""Every name read from the environment and from `.env`, and the setting that it is."""

_CHANNEL = "TTFLOW_NOTIFY_"
"""What stands before a channel's name: `TTFLOW_NOTIFY_PHONE` is `notify.channels.phone.url`."""

_ELSEWHERE = "env:"
"""What stands before the name of the variable that holds an address of `notify`."""

# Nobody else uses these families, so an unknown name in one is a slip; a slip in the secret's name would
# start a desk without authentication.
_OURS = ("TTFLOW_", "TRADINGVIEW_WEBHOOK_")

# An empty one of these is a choice, which stands over the sources below it; all others are just absent.
_EMPTY_MEANS_DEFAULT = frozenset({"TTFLOW_RATE_LIMIT"})


@dataclass
class Gathered:
    """The settings as one tree of plain values, and where each of its nodes came from."""

    values: dict[str, Any]
    origins: dict[Loc, Origin] = field(default_factory=dict)

    def lay(self, values: Mapping[str, Any], origin: Callable[[Loc], Origin]) -> None:
        """Put values over those that are there: tables are joined, everything else is replaced."""
        _lay(values, self.values, lambda path: self.origins.__setitem__(path, origin(path)), ())

    def origin(self, loc: Loc) -> Origin:
        """Where the value at `loc` came from; for one that is missing, where its table did."""
        for length in range(len(loc), 0, -1):
            if found := self.origins.get(loc[:length]):
                of_table = found.key == dotted(loc[:length]) and self._holds_more(loc[:length])
                return Origin(dotted(loc), found.source) if of_table else found
        return Origin(dotted(loc), "defaults")

    def _holds_more(self, loc: Loc) -> bool:
        """Whether a table or a list was written there; one number may stand for a table."""
        value: Any = self.values
        for part in loc:
            value = value.get(part) if isinstance(value, Mapping) else None
        return isinstance(value, Mapping | list | tuple)


def _lay(
    upper: Mapping[str, Any], lower: dict[str, Any], mark: Callable[[Loc], None], above: tuple[str, ...]
) -> None:
    for key, value in upper.items():
        path = (*above, key)
        mark(path)
        if isinstance(value, Mapping):
            below = lower.get(key)
            lower[key] = dict(below) if isinstance(below, Mapping) else {}
            _lay(value, lower[key], mark, path)
        else:
            lower[key] = value


def gather(
    defaults: Mapping[str, Any], overrides: Mapping[str, Any], environ: Mapping[str, str], cwd: Path
) -> Gathered:
    """Read every source and lay them over each other; an override that is None was not given.

    Raises SettingsError for a file that can't be read and for an unknown name in a family of ours.
    """
    lines = _dotenv(cwd / ".env")
    given = {key: value for key, value in overrides.items() if value is not None}
    named = Gathered({})
    named.lay(*_from_names({name: value for name, (value, _) in lines.items()}, _dotenv_source(lines)))
    named.lay(*_from_names(environ, lambda name: "environment"))
    named.lay(given, lambda path: Origin(dotted(path), "command line"))

    all_of_them = Gathered(dict(defaults))
    path, values, origin = _config(named, cwd)
    all_of_them.lay(values, origin)
    all_of_them.lay(named.values, lambda path: named.origins[path])
    if path is not None:
        all_of_them.values["config"] = path
    _look_elsewhere(all_of_them, environ, lines)
    return all_of_them


def _look_elsewhere(
    found: Gathered, environ: Mapping[str, str], lines: Mapping[str, tuple[str, int]]
) -> None:
    """Put the value of the variable where an address of `notify` says `env:NAME`."""
    for table, key, loc in _addresses(found.values.get("notify")):
        value = table.get(key)
        if not isinstance(value, str) or not value.startswith(_ELSEWHERE):
            continue
        name, origin = value.removeprefix(_ELSEWHERE), found.origin(loc)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            remedy = "write env: and the name of a variable, such as env:PHONE_URL"
            raise SettingsError(origin.key, origin.source, "names no variable", remedy)
        given, source = environ.get(name, "").strip(), "environment"
        if not given and name in lines:
            given, source = lines[name][0].strip(), _dotenv_source(lines)(name)
        if not given:
            problem = f"{name} is set neither in the environment nor in .env"
            raise SettingsError(origin.key, origin.source, problem, f"set {name}, or write the address here")
        table[key] = given
        found.origins[loc] = Origin(name, source)


def _addresses(notify: Any) -> Iterator[tuple[dict[str, Any], str, Loc]]:
    """Where an address of `notify` may stand: its table, its key, and its place."""
    if not isinstance(notify, dict):
        return
    yield notify, "ping_url", ("notify", "ping_url")
    channels = notify.get("channels")
    for name, channel in channels.items() if isinstance(channels, dict) else ():
        if isinstance(channel, dict):
            yield channel, "url", ("notify", "channels", name, "url")


def _from_names(
    names: Mapping[str, str], source: Callable[[str], str]
) -> tuple[dict[str, Any], Callable[[Loc], Origin]]:
    """Turn environment names into a tree of settings."""
    tree: dict[str, Any] = {}
    origins: dict[Loc, Origin] = {}
    for name, value in names.items():
        _refuse_unknown(name, source)
        path = _setting(name)
        if path is None or (not value.strip() and name not in _EMPTY_MEANS_DEFAULT):
            continue
        table = tree
        for length, part in enumerate(path[:-1], start=1):
            table = table.setdefault(part, {})
            origins[path[:length]] = Origin(dotted(path[:length]), source(name))
        table[path[-1]] = _typed(name, value)
        origins[path] = Origin(name, source(name))
    return tree, origins.__getitem__


def _setting(name: str) -> tuple[str, ...] | None:
    """The setting that a name of the environment is; None for the names of others."""
    channel = name[len(_CHANNEL) :].lower() if name.startswith(_CHANNEL) else ""
    return ("notify", "channels", channel, "url") if channel else ENVIRONMENT.get(name)


def _refuse_unknown(name: str, source: Callable[[str], str]) -> None:
    if _setting(name) is None and (name.upper().startswith(_OURS) or _is_slip(name)):
        problem = "unknown name" if _setting(name.upper()) is None else "names are in capitals"
        raise SettingsError(name, source(name), problem, did_you_mean(name.upper(), ENVIRONMENT))


def _is_slip(name: str) -> bool:
    """Whether a name differs by a letter from one of ours that is long enough to be nobody else's."""
    return bool(get_close_matches(name, ENVIRONMENT, n=1, cutoff=0.95))


_FLAGS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _typed(name: str, value: str) -> Any:
    """Read a text as what the setting wants; what can't be read stays a text, for the check to refuse."""
    if name == "PORT" and re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return int(value)
    return _FLAGS.get(value.strip().lower(), value) if name == "DEBUG" else value


def _read(path: Path, key: str, source: str) -> str:
    shown = _shown(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(key, source, "is not UTF-8 text", "save it as UTF-8") from None
    except FileNotFoundError:
        raise SettingsError(key, source, f"there is no file {shown}", "name one that is there") from None
    except IsADirectoryError:
        raise SettingsError(key, source, f"{shown} is a directory", "name a file, or move it away") from None
    except (OSError, ValueError) as error:
        problem = f"{shown} can't be read ({getattr(error, 'strerror', None) or error})"
        raise SettingsError(key, source, problem, "name a file that this user may read") from None


def _shown(path: Path) -> str:
    """Write a path so that it stays on its line."""
    return str(path) if str(path).isprintable() else repr(str(path))


def _dotenv(path: Path) -> dict[str, tuple[str, int]]:
    """Read `.env` as python-dotenv does, each value with its line; the last of several wins.

    `${NAME}` stays as it is: a password that holds one means it.
    """
    if not path.exists():
        return {}
    lines = {}
    for binding in parse_stream(StringIO(_read(path, ".env", ".env"))):
        # python-dotenv counts the blank lines before a statement as part of it.
        before = re.match(r"\s*", binding.original.string)
        line = binding.original.line + (before[0].count("\n") if before else 0)
        if binding.error:
            remedy = "write NAME=value, a value with blanks in quotes"
            raise SettingsError(".env", f".env line {line}", "can't be read", remedy)
        if binding.key is not None and binding.value is not None:
            lines[binding.key] = (binding.value, line)
    return lines


def _dotenv_source(lines: Mapping[str, tuple[str, int]]) -> Callable[[str], str]:
    return lambda name: f".env line {lines[name][1]}"


def _config(named: Gathered, cwd: Path) -> tuple[Path | None, dict[str, Any], Callable[[Loc], Origin]]:
    """Read the settings file: the one that is named, else `ttflow.toml` where it exists."""
    chosen = named.values.get("config")
    key, source = ("ttflow.toml", "ttflow.toml") if chosen is None else named.origin(("config",))
    if not isinstance(chosen, str | Path | None):
        raise SettingsError(key, source, "is not a path", "name the settings file")
    path = Path(os.path.expanduser("ttflow.toml" if chosen is None else chosen))
    if chosen is None and not (cwd / path).exists():
        return None, {}, lambda loc: Origin(dotted(loc), "defaults")
    text = _read(cwd / path, key, source)
    shown = _shown(path)
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(shown, source, f"is not TOML: {error}", "correct it there") from None
    _refuse_names(values, shown, text)
    return path, values, lambda loc: Origin(dotted(loc), located(shown, text, loc))


def _refuse_names(values: Mapping[str, Any], path: str, text: str) -> None:
    """Refuse what the file can't hold: its own place, and names that belong into the environment."""
    for key in values:
        where = located(path, text, (key,))
        if key == "config":
            raise SettingsError(key, where, "the file can't name itself", "use --config or TTFLOW_CONFIG")
        if key in ENVIRONMENT:
            raise SettingsError(key, where, "unknown key", f"did you mean {dotted(ENVIRONMENT[key])}?")


def located(path: str, text: str, loc: Loc) -> str:
    """Name the file and the line on which a key stands, or that of the table which holds it."""
    lines = dict(_lines(text))
    for length in range(len(loc), 0, -1):
        if number := lines.get(loc[:length]):
            return f"{path} line {number}"
    return path


def _lines(text: str) -> Iterator[tuple[Loc, int]]:
    """Find where keys and tables stand; a key within a table on one line is not found."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?([^\[\]]+)\]", line):
            table = _parts(header[1])
            yield table, number
        elif setting := re.match(r"\s*([\w.\"' -]+?)\s*=", line):
            yield (*table, *_parts(setting[1])), number


def _parts(key: str) -> tuple[str, ...]:
    """Split a TOML key at its dots; a quoted part that holds a dot is beyond it, and is not found."""
    return tuple(part.strip().strip("\"'") for part in key.split("."))
