"""Settings: where each comes from, what is refused and how, and what is written of them."""

import copy
import json
import logging
import re
import tomllib
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from ttflow.errors import SettingsError
from ttflow.settings import Group, Rate, RateLimits, Settings, is_loopback, load
from ttflow.settings.refusals import Origin, _models
from ttflow.settings.sources import ENVIRONMENT, Gathered

SECRET = "a-secret-that-must-not-be-told"
SAMPLE = Path(__file__).parent.parent / "ttflow.sample.toml"


@pytest.fixture
def start(tmp_path):
    """Load settings in an empty directory: `start(toml=…, dotenv=…, NAME=value)`."""

    def start(overrides=None, /, *, toml=None, dotenv=None, **environ):
        if toml is not None:
            (tmp_path / "ttflow.toml").write_text(toml, encoding="utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        return load(overrides, environ=environ, cwd=tmp_path)

    return start


@pytest.fixture
def refused(start):
    """Load settings that must be refused, and return the line that says so."""

    def refused(*args, **kwargs):
        with pytest.raises(SettingsError) as caught:
            start(*args, **kwargs)
        line = str(caught.value)
        assert "\n" not in line
        assert SECRET not in line
        assert caught.value.__cause__ is None
        assert SECRET not in repr(caught.value.__context__)
        return line

    return refused


# ── Out of the box ──


def test_without_any_source_the_defaults_are_those_of_the_contract(start):
    settings = start()

    assert (settings.host, settings.port, settings.debug) == ("127.0.0.1", 8000, False)
    assert (settings.secrets, settings.api_token, settings.config) == ((), None, None)
    assert (settings.journal, settings.log_dir) == (Path("ttflow.db"), Path("logs"))
    assert (settings.public_url, settings.allow_from, settings.trusted_proxies) == (None, (), ())
    assert settings.rate_limit == RateLimits(
        per_address=Rate(count=10, seconds=60),
        per_secret=Rate(count=600, seconds=60),
        failures=Rate(count=10, seconds=60),
    )
    assert settings == Settings()


def test_out_of_the_box_there_are_seven_groups_and_none_is_live(start):
    groups = start().groups

    assert {name: group.broker for name, group in groups.items()} == {
        "paper_simulator": "simulator",
        "paper_tastytrade": "tastytrade",
        "paper_tradovate": "tradovate",
        "main": "tastytrade",
        "topstep": "projectx",
        "apex": "tradovate",
        "tradeday": "tradovate",
    }
    assert not any(group.live for group in groups.values())


def test_a_group_starts_with_one_account_and_a_hundred_thousand_dollars(start):
    groups = start().groups

    assert [account.name for account in groups["paper_simulator"].accounts] == ["paper"]
    assert [account.name for account in groups["main"].accounts] == ["main"]
    assert groups["main"].accounts[0].multiplier == 1
    assert (groups["main"].cash, groups["main"].currency, groups["main"].sides) == (100_000, "USD", None)


def test_settings_cannot_be_changed(start):
    settings = start()

    with pytest.raises(ValidationError):
        settings.port = 1
    with pytest.raises(TypeError):
        settings.groups["main"] = Group(broker="simulator")
    with pytest.raises(ValidationError):
        settings.groups["main"].live = True


def test_the_process_environment_and_directory_are_read_when_none_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "8123")
    (tmp_path / ".env").write_text("LOG_LEVEL=ERROR\n")

    settings = load()

    assert (settings.port, settings.log_level) == (8123, "ERROR")


# ── Every name of the environment ──

NAMES = [
    ("HOST", "::1", "host", "::1"),
    ("PORT", "0", "port", 0),
    ("PORT", " 65535 ", "port", 65535),
    ("DEBUG", "true", "debug", True),
    ("DEBUG", "1", "debug", True),
    ("DEBUG", "Off", "debug", False),
    ("LOG_LEVEL", "warning", "log_level", "WARNING"),
    ("TTFLOW_JOURNAL", "/var/lib/ttflow/desk.db", "journal", Path("/var/lib/ttflow/desk.db")),
    ("TTFLOW_LOG_DIR", "out", "log_dir", Path("out")),
    ("TTFLOW_PUBLIC_URL", "https://x.example/", "public_url", "https://x.example"),
    ("TTFLOW_RATE_LIMIT", "", "rate_limit", RateLimits()),
    ("TTFLOW_RATE_LIMIT", "0", "rate_limit", RateLimits(per_address=None, per_secret=None, failures=None)),
    ("TTFLOW_ALLOW_FROM", "10.0.0.0/8, ::1", "allow_from", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ("TTFLOW_TRUSTED_PROXIES", "127.0.0.1", "trusted_proxies", (ip_network("127.0.0.1"),)),
    ("TTFLOW_API_TOKEN", "t0ken", "api_token", SecretStr("t0ken")),
    ("TTFLOW_PING_URL", "https://x.example/ping", "notify.ping_url", SecretStr("https://x.example/ping")),
    ("TRADINGVIEW_WEBHOOK_SECRET", "one", "secrets", (SecretStr("one"),)),
    ("TRADINGVIEW_WEBHOOK_SECRET", " one ,, two,one", "secrets", (SecretStr("one"), SecretStr("two"))),
    ("TRADINGVIEW_WEBHOOK_SECRET", " , ", "secrets", ()),
    ("TASTYTRADE_CLIENT_ID", "c", "credentials.tastytrade.client_id", SecretStr("c")),
    ("TASTYTRADE_CLIENT_SECRET", "c", "credentials.tastytrade.client_secret", SecretStr("c")),
    ("TASTYTRADE_REFRESH_TOKEN", "c", "credentials.tastytrade.refresh_token", SecretStr("c")),
    ("TRADOVATE_USERNAME", "c", "credentials.tradovate.username", SecretStr("c")),
    ("TRADOVATE_PASSWORD", "c", "credentials.tradovate.password", SecretStr("c")),
    ("TRADOVATE_CID", "1234", "credentials.tradovate.cid", SecretStr("1234")),
    ("TRADOVATE_SEC", "c", "credentials.tradovate.sec", SecretStr("c")),
    ("TRADOVATE_DEVICE_ID", "c", "credentials.tradovate.device_id", SecretStr("c")),
    ("TOPSTEPX_USERNAME", "c", "credentials.topstepx.username", SecretStr("c")),
    ("TOPSTEPX_API_KEY", "c", "credentials.topstepx.api_key", SecretStr("c")),
]


def value_at(settings, path):
    for part in path.split("."):
        settings = getattr(settings, part)
    return settings


@pytest.mark.parametrize("source", ["environment", ".env"])
@pytest.mark.parametrize(("name", "text", "path", "expected"), NAMES)
def test_a_name_is_read_from_the_environment_and_from_dotenv(start, source, name, text, path, expected):
    settings = start(**{name: text}) if source == "environment" else start(dotenv=f'{name}="{text}"\n')

    assert value_at(settings, path) == expected


def test_every_name_of_the_environment_is_tested_above():
    assert {name for name, *_ in NAMES} | {"TTFLOW_CONFIG"} == set(ENVIRONMENT)


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_an_empty_name_counts_as_absent(start, name):
    assert start(**{name: ""}) == start(**{name: "  "}) == Settings()


@pytest.mark.parametrize(
    "name",
    [
        "port",
        "Host",
        "PATH",
        "GHOST",
        "PORTS",
        "LOG_LEVELS",
        "TASTYTRADE_SANDBOX",
        "TRADOVATE_SECRET",
        "TTFLOWER",
    ],
)
def test_names_of_others_are_none_of_our_business(start, name):
    assert start(dotenv=f"{name}=whatever\n", **{name: "whatever"}) == Settings()


# ── Precedence ──


def test_the_command_line_goes_first_then_environment_dotenv_file_and_default(start):
    toml = "port = 1\nlog_level = 'ERROR'\nhost = '::1'\ndebug = true\n"
    layers = {"toml": toml, "dotenv": "PORT=2\nHOST=localhost\n"}

    assert start({"port": 4}, **layers, PORT="3", HOST="127.0.0.2").port == 4
    assert start({"port": None}, **layers, PORT="3", HOST="127.0.0.2").port == 3
    assert start(**layers, HOST="127.0.0.2").host == "127.0.0.2"
    assert start(**layers).port == 2
    assert start(**layers).log_level == "ERROR"
    assert start(**layers).debug
    assert start(**layers).journal == Path("ttflow.db")


def test_an_empty_rate_limit_in_the_environment_brings_the_default_back(start):
    assert start(toml="rate_limit = 0\n", TTFLOW_RATE_LIMIT="").rate_limit == RateLimits()
    assert start(toml="rate_limit = 0\n").rate_limit.failures is None


def test_an_empty_secret_in_the_environment_does_not_take_one_away(start):
    settings = start(dotenv="TRADINGVIEW_WEBHOOK_SECRET=kept-in-a-file\n", TRADINGVIEW_WEBHOOK_SECRET="")

    assert settings.secrets == (SecretStr("kept-in-a-file"),)


def test_the_settings_file_is_named_by_the_command_line_then_the_environment_then_dotenv(start, tmp_path):
    for port, name in enumerate(("a.toml", "b.toml", "c.toml", "ttflow.toml")):
        (tmp_path / name).write_text(f"port = {port}\n")
    dotenv = "TTFLOW_CONFIG=c.toml\n"

    assert start({"config": Path("a.toml")}, dotenv=dotenv, TTFLOW_CONFIG="b.toml").port == 0
    assert start(dotenv=dotenv, TTFLOW_CONFIG="b.toml").port == 1
    assert start(dotenv=dotenv).port == 2
    assert start(dotenv="").port == 3
    assert start(dotenv="").config == Path("ttflow.toml")
    assert start(TTFLOW_CONFIG=str(tmp_path / "b.toml")).config == tmp_path / "b.toml"


def test_the_file_may_hold_every_setting_but_its_own_place(start):
    settings = start(
        toml="""
        secrets = "one,two"
        journal = "~/desk.db"
        rate_limit = "5/second"
        allow_from = ["tradingview", "::1"]
        [credentials.tradovate]
        username = "me"
        """,
        TRADOVATE_CID="7",
    )

    assert len(settings.secrets) == 2
    assert settings.journal == Path("~/desk.db").expanduser()
    assert settings.rate_limit.per_address == settings.rate_limit.per_secret == Rate(count=5, seconds=1)
    assert settings.rate_limit.failures == Rate(count=10, seconds=60)
    assert len(settings.allow_from) == 5
    assert settings.credentials.tradovate.username == SecretStr("me")
    assert settings.credentials.tradovate.cid == SecretStr("7")


def test_overrides_may_be_tables_as_in_the_file(start):
    overrides = {"groups": {"main": {"sides": "long"}}, "flow": {"expire_s": 5}}
    settings = start(overrides, toml="[flow]\nthrottle_s = 3\n")

    assert (settings.groups["main"].sides, settings.groups["main"].broker) == ("long", "tastytrade")
    assert (settings.flow.expire_s, settings.flow.throttle_s) == (5, 3)


def test_a_failed_load_leaves_the_defaults_and_the_overrides_alone(start):
    overrides = {"groups": {"main": {"sides": "long"}}}
    before = copy.deepcopy(overrides)

    start(overrides, toml="[groups.main]\nstrategies = ['a']\n")

    assert overrides == before
    assert start(toml="").groups["main"] == Settings().groups["main"]


# ── .env ──


def test_dotenv_is_read_as_python_dotenv_reads_it(start):
    settings = start(
        dotenv="""\ufeff# a comment
export PORT=9000   # behind a value
TRADINGVIEW_WEBHOOK_SECRET='with # and $HOME and ${HOME}'
TRADOVATE_PASSWORD="a \\"quoted\\" one"
LOG_LEVEL=debug
LOG_LEVEL=error
TTFLOW_JOURNAL
"""
    )

    assert settings.port == 9000
    assert settings.secrets[0].get_secret_value() == "with # and $HOME and ${HOME}"
    assert settings.credentials.tradovate.password == SecretStr('a "quoted" one')
    assert settings.log_level == "ERROR"
    assert settings.journal == Path("ttflow.db")


def test_a_broken_dotenv_is_refused_with_its_line(refused):
    line = refused(dotenv=f"PORT=1\n\nTRADINGVIEW_WEBHOOK_SECRET '{SECRET}\n")

    assert line == ".env (from .env line 3): can't be read; write NAME=value, a value with blanks in quotes"


@pytest.mark.parametrize("name", [".env", "ttflow.toml"])
def test_a_directory_or_bytes_in_place_of_a_file_are_refused(refused, tmp_path, name):
    (tmp_path / name).mkdir()
    line = refused()
    assert line.startswith(f"{name} (from {name}): ")
    assert line.endswith("is a directory; name a file, or move it away")

    (tmp_path / name).rmdir()
    (tmp_path / name).write_bytes(b"\xff\xfe")
    assert refused() == f"{name} (from {name}): is not UTF-8 text; save it as UTF-8"


# ── Refusals ──

NO_NUMBER = "is not a whole number; write digits only, such as 8000"
NO_RATE = "is not a rate; write 10/second, 600/minute or 1000/hour, or 0 for no limit"
NO_TEXT = "is not a text; write it in quotes"
NO_LIST = 'is not a list; write a list, such as ["one", "two"]'
NO_SLASH = "a name can't hold / or ~; they part group, account and paper: GROUP/ACCOUNT~paper"
NO_NETWORK = (
    "holds something that is no address and no network; "
    "write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32, parted by commas"
)
EMPTY = "is empty; give one, or leave the key out"

REFUSED_NAMES = [
    ({"PORT": "x"}, f"PORT (from environment): {NO_NUMBER}"),
    ({"PORT": "70000"}, "PORT (from environment): is too large; give 65535 or less"),
    (
        {"PORT": "99999999999"},
        f"PORT (from environment): {NO_NUMBER}",
    ),
    ({"DEBUG": "app:*"}, "DEBUG (from environment): is neither true nor false; write true or false"),
    (
        {"LOG_LEVEL": "loud"},
        "LOG_LEVEL (from environment): is none of the possible values; "
        "use 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'",
    ),
    (
        {"TTFLOW_RATE_LIMIT": "10/day"},
        f"TTFLOW_RATE_LIMIT (from environment): {NO_RATE}",
    ),
    (
        {"TTFLOW_PUBLIC_URL": "alerts.example.com"},
        "TTFLOW_PUBLIC_URL (from environment): is not an address of the web; "
        "write it as https://host or https://host/path",
    ),
    (
        {"TTFLOW_ALLOW_FROM": "tradingview,somewhere"},
        f"TTFLOW_ALLOW_FROM (from environment): {NO_NETWORK}",
    ),
    (
        {"TTFLOW_TRUSTED_PROXIES": "10.0.0.1/24"},
        "TTFLOW_TRUSTED_PROXIES (from environment): holds an address with a network's mask; "
        "write 10.0.0.0/24, or the address alone",
    ),
    ({"TTFLOW_JOURNL": "x"}, "TTFLOW_JOURNL (from environment): unknown name; did you mean TTFLOW_JOURNAL?"),
    (
        {"ttflow_journal": "x"},
        "ttflow_journal (from environment): names are in capitals; did you mean TTFLOW_JOURNAL?",
    ),
    (
        {"TRADINGVIEW_WEBHOOK_SECRETS": SECRET},
        "TRADINGVIEW_WEBHOOK_SECRETS (from environment): unknown name; "
        "did you mean TRADINGVIEW_WEBHOOK_SECRET?",
    ),
    (
        {"TRADINGVIEW_WEBHOK_SECRET": SECRET},
        "TRADINGVIEW_WEBHOK_SECRET (from environment): unknown name; "
        "did you mean TRADINGVIEW_WEBHOOK_SECRET?",
    ),
    (
        {"TASTYTRADE_CLIENT_SECRETT": "c"},
        "TASTYTRADE_CLIENT_SECRETT (from environment): unknown name; did you mean TASTYTRADE_CLIENT_SECRET?",
    ),
    (
        {"TOPSTEP_USERNAME": "c"},
        "TOPSTEP_USERNAME (from environment): unknown name; did you mean TOPSTEPX_USERNAME?",
    ),
    (
        {"HOST": "0.0.0.0"},
        "HOST (from environment): without a webhook secret the server binds to loopback only; "
        "set TRADINGVIEW_WEBHOOK_SECRET, or bind to 127.0.0.1",
    ),
]


@pytest.mark.parametrize(("environ", "line"), REFUSED_NAMES)
def test_a_wrong_name_or_value_is_refused_with_key_source_and_remedy(refused, environ, line):
    ((name, value),) = environ.items()

    assert refused(**environ) == line
    assert refused(dotenv=f"\n{name}='{value}'\n") == line.replace("environment", ".env line 2")


REFUSED_TOML = [
    ("prot = 1", "prot", "unknown key; did you mean port?"),
    ("config = 'x'", "config", "the file can't name itself; use --config or TTFLOW_CONFIG"),
    ("PORT = 1", "PORT", "unknown key; did you mean port?"),
    ("TRADOVATE_CID = '1'", "TRADOVATE_CID", "unknown key; did you mean credentials.tradovate.cid?"),
    ("port = '8000'", "port", NO_NUMBER),
    ("port = true", "port", NO_NUMBER),
    ("port = -1", "port", "is too small; give 0 or more"),
    ("debug = 1", "debug", "is neither true nor false; write true or false"),
    ("host = ''", "host", EMPTY),
    ("host = 5", "host", NO_TEXT),
    ("journal = 5", "journal", "is not a path; write a path in quotes"),
    ("journal = ''", "journal", "names no file; write a path such as data/ttflow.db"),
    ('journal = "a\\u0000"', "journal", "names no file; write a path such as data/ttflow.db"),
    ("allow_from = [5]", "allow_from", NO_NETWORK),
    ("api_token = ''", "api_token", EMPTY),
    ("secrets = 5", "secrets", NO_LIST),
    ("secrets = [5]", "secrets[0]", NO_TEXT),
    ("allow_from = 5", "allow_from", NO_LIST),
    ("rate_limit = true", "rate_limit", NO_RATE),
    ("rate_limit.per_secret = {count = 0, seconds = 1}", "rate_limit.per_secret.count",
     "is too small; give more than 0"),
    ("public_url = 'https://me:pw@x.example'", "public_url",
     "holds a user name or a password; leave them out, the address is shown"),
    ("public_url = 'https://[x'", "public_url",
     "is not an address of the web; write it as https://host or https://host/path"),
    ("groups = 5", "groups", "is not a table; write its keys under a [heading]"),
    ("[group.main]", "group", "unknown key; did you mean groups?"),
    ("[groups.main]\nlvie = true", "groups.main.lvie", "unknown key; did you mean live?"),
    ("[groups.mian]\nlive = true", "groups.mian.broker", "is missing; add it"),
    ("[groups.main]\nlive = 'yes'", "groups.main.live", "is neither true nor false; write true or false"),
    ("[groups.main]\nlive = true", "groups.main.live",
     "a live group needs a webhook secret; set TRADINGVIEW_WEBHOOK_SECRET, or write live = false"),
    ("[groups.main]\nsides = 'up'", "groups.main.sides",
     "is none of the possible values; use 'long', 'short' or 'both'"),
    ("[groups.main]\nautomation_opt_in = true", "groups.main.automation_opt_in", NO_TEXT),
    ("[groups.main]\ncash = -1", "groups.main.cash", "is too small; give 0 or more"),
    ("[groups.main]\ncash = 1e999999", "groups.main.cash", "is too large; give 1000000000000 or less"),
    ("[groups.main]\ncash = nan", "groups.main.cash", "is not a number; give a number such as 1.5"),
    ("[groups.main]\ncash = true", "groups.main.cash", "is not a number; give a number such as 1.5"),
    ("[groups.main]\ncash = 'much'", "groups.main.cash", "is not a number; give a number such as 1.5"),
    ("[groups.main]\ncurrency = '$'", "groups.main.currency",
     'is not a currency; write its code in capitals, such as "USD"'),
    ("[groups.main]\nslippage = {ticks = 1, fixed = 2}", "groups.main.slippage",
     "has more than one measure; keep one of ticks, fixed and percent"),
    ("[groups.main]\ncommission = {percent = 1e-13}", "groups.main.commission.percent",
     "has too many decimals; give 12 at most"),
    ("[groups.main]\ncommission = {per_trade = 1}", "groups.main.commission.per_trade",
     "unknown key; did you mean per_order?"),
    ("[groups.main]\naccounts = []", "groups.main.accounts", EMPTY),
    ("[[groups.main.accounts]]\nname = 'a'\nmultiplier = 0", "groups.main.accounts[0].multiplier",
     "is too small; give more than 0"),
    ("[[groups.main.accounts]]\nname = 'a'\nmultipler = 1", "groups.main.accounts[0].multipler",
     "unknown key; did you mean multiplier?"),
    ("[[groups.main.accounts]]\nname = 'a'\n[[groups.main.accounts]]\nname = 'a'", "groups.main.accounts",
     "holds the same name twice; give each account its own name"),
    ("[groups.main.accounts]\nname = 'a'", "groups.main.accounts",
     "is not a list of tables; head each with [[groups.main.accounts]]"),
    ("[[groups.main.accounts]]\nname = 'a/b'", "groups.main.accounts[0].name",
     NO_SLASH),
    ("[groups.'a~b']\nbroker = 'simulator'", 'groups."a~b"',
     NO_SLASH),
    ("[groups.'']\nbroker = 'simulator'", 'groups.""',
     "is not a name; give one or more printable characters, without blanks around them"),
    ("[strategies.a]\nleast = 61", "strategies.a.least",
     "is 61, more results than the window holds; give least at most the window, 60, or a longer window"),
    ("[strategies.'*']\nwindow = 9\nleast = 9\n[strategies.a]\nleast_paper = 9", 'strategies."*".least_paper',
     "is 20, more results than the window holds; give least_paper at most the window, 9, or a longer window"),
    ("[strategies.a]\npromote_above = 0.5", "strategies.a.promote_above",
     "is below demote_below, so the strategy would go to and fro; give demote_below, 0.85, or more"),
    ("[strategies.a]\ndemote_at = 1", "strategies.a.demote_at", "is too large; give 0.999 or less"),
    ("[strategies.a]\nwindow = 201", "strategies.a.window", "is too large; give 200 or less"),
    ("[limits]\nquantity = 'a'", "limits.quantity", "is not a number; give a number such as 1.5"),
    ("[limits.quantity]\nES = 'a'", "limits.quantity.ES", "is not a number; give a number such as 1.5"),
    ("[limits]\npositions = 1", "limits.positions", "unknown key; did you mean position?"),
    ("[notify]\npings = 'x'", "notify.pings", "unknown key; did you mean ping_url?"),
    ("[flow]\nexpire = 1", "flow.expire", "unknown key; did you mean expire_s?"),
    ("[flow]\nexpire_s = nan", "flow.expire_s", "is not a number; give a number such as 1.5"),
    ("[flow]\nexpire_s = inf", "flow.expire_s", "is not a number; give a number such as 1.5"),
    ("[flow]\nexpire_s = 1e10", "flow.expire_s", "is too large; give 1000000000 or less"),
    ("[flow]\nsymbols = 1", "flow.symbols", NO_LIST),
    ("[flow]\nsession = {start='09:30', end='16:00'}", "flow.session.tz", "is missing; add it"),
    ("[flow]\nsession = {start='9:30', end='16:00', tz='UTC'}", "flow.session.start",
     'is not a time of day; write hours and minutes, such as "09:30"'),
    ("[flow]\nsession = {start='09:30', end='16:00', tz='Mars'}", "flow.session.tz",
     'is not a time zone; write its IANA name, such as "America/New_York"'),
    ("[flow]\nsession = {start='09:30', end='16:00', tz='UTC', days='mon-'}", "flow.session.days",
     "is not a list of days; write mon-fri or mon,wed,fri"),
    ("[flow.session]\nbegin = '09:30'", "flow.session.begin", "unknown key; known are days, end, start, tz"),
    ("[credentials.tradovate]\npasword = '" + SECRET + "'", "credentials.tradovate.pasword",
     "unknown key; did you mean password?"),
    ("[credentials.tradovate]\npassword = ['" + SECRET + "']", "credentials.tradovate.password",
     NO_TEXT),
    ("[credentials.ibkr]\npassword = '" + SECRET + "'", "credentials.ibkr",
     "unknown key; known are tastytrade, topstepx, tradovate"),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "key", "words"), REFUSED_TOML, ids=[key for _, key, _ in REFUSED_TOML])
def test_a_wrong_setting_in_the_file_is_refused_with_key_source_and_remedy(refused, toml, key, words):
    line = refused(toml=f"# the desk\n{toml}\n")

    assert re.sub(r" line \d+", "", line) == f"{key} (from ttflow.toml): {words}"


@pytest.mark.parametrize(
    ("toml", "number"),
    [
        ("port = 1\nprot = 2\n", 2),
        ("[groups.main]\n\n  live = true\n", 3),
        ("[groups.main]\nsides='both'\n[ groups . 'apex' ]\nlive=1\n", 4),
        ("groups.apex.live = 1\n", 1),
        ("[flow]\nsession = { start = 1 }\n", 2),
        ("[[groups.main.accounts]]\nname=''\n", 1),
        ("[groups.new]\nsides = 'both'\n", 1),
    ],
)
def test_a_refusal_names_the_line_of_the_file(refused, toml, number):
    assert f"(from ttflow.toml line {number})" in refused(toml=toml)


def test_a_wrong_setting_of_the_command_line_is_refused_as_such(refused):
    assert refused({"port": 70000}) == "port (from command line): is too large; give 65535 or less"
    assert refused({"prot": 1}) == "prot (from command line): unknown key; did you mean port?"
    assert refused({"host": "0.0.0.0"}, HOST="::1").startswith("host (from command line): without a")
    assert refused({"groups": {"main": {"live": "yes"}}}).startswith("groups.main.live (from command line)")


def test_a_broken_file_is_refused_with_its_line(refused):
    line = refused(toml=f"port = 1\nsecrets = {SECRET}\n")

    said = "is not TOML: Invalid value (at line 2, column 11); correct it there"
    assert line == f"ttflow.toml (from ttflow.toml): {said}"


def test_a_missing_file_is_refused_only_when_it_was_named(refused, start, tmp_path):
    start()

    said = f"there is no file {tmp_path / 'gone.toml'}; name one that is there"
    assert refused(TTFLOW_CONFIG="gone.toml") == f"TTFLOW_CONFIG (from environment): {said}"
    assert refused({"config": "gone.toml"}).startswith("config (from command line): there is no file")
    assert refused({"config": 5}) == "config (from command line): is not a path; name the settings file"
    assert r"gone\ntoo'; name one that is there" in refused(TTFLOW_CONFIG="~nobody/gone\ntoo")
    assert "can't be read (embedded null byte)" in refused(TTFLOW_CONFIG="\0")


def test_a_file_that_may_not_be_read_is_refused(refused, tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "ttflow.toml").touch()
    monkeypatch.setattr(Path, "read_text", denied)

    assert refused().endswith("can't be read (Permission denied); name a file that this user may read")


def test_what_no_source_said_comes_from_the_defaults():
    assert Gathered({}).origin(("flow", "expire_s")) == Origin("flow.expire_s", "defaults")


# ── Law 5 ──


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "*"])
def test_without_a_secret_the_server_binds_to_loopback_only(refused, start, host):
    assert "set TRADINGVIEW_WEBHOOK_SECRET" in refused(HOST=host)
    assert start(HOST=host, TRADINGVIEW_WEBHOOK_SECRET=SECRET).host == host


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("LOCALHOST", True), ("0.0.0.0", False), ("::", False), ("", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_can_reach(host, is_ours):
    assert is_loopback(host) is is_ours


def test_a_live_group_needs_a_secret_however_the_settings_are_made(start):
    live = {"main": Group(broker="tastytrade", live=True)}

    with pytest.raises(ValidationError, match="a live group needs a webhook secret"):
        Settings(groups=live)
    assert Settings(groups=live, secrets=(SECRET,)).groups["main"].live


def test_a_short_secret_is_warned_of_and_not_told(start):
    short, long = "passwrd", "password"

    assert start(TRADINGVIEW_WEBHOOK_SECRET=long).warnings() == ()
    (warning,) = start(TRADINGVIEW_WEBHOOK_SECRET=f"{long},{short}").warnings()
    assert "fewer than 8 characters" in warning
    assert short not in warning


# ── Groups ──


def test_a_group_of_the_file_keeps_what_it_does_not_say(start):
    toml = "[groups.main]\nlive = true\n[groups.mine]\nbroker = 'simulator'\n"
    settings = start(toml=toml, TRADINGVIEW_WEBHOOK_SECRET=SECRET)

    assert settings.groups["main"] == Settings().groups["main"].model_copy(update={"live": True})
    assert settings.groups["mine"].accounts[0].name == "paper"
    assert len(settings.groups) == 8


def test_a_group_takes_exact_numbers_from_the_file(start):
    group = start(
        toml="""
        [groups.mine]
        broker = "someones_own"
        cash = 25_000.10
        commission = { per_contract = 0.1, percent = "0.05" }
        slippage.ticks = 1
        [[groups.mine.accounts]]
        name = "a"
        multiplier = 0.1
        [[groups.mine.accounts]]
        name = "b"
        """
    ).groups["mine"]

    assert group.cash == Decimal("25000.10")
    assert group.commission.per_contract == Decimal("0.1")
    assert (group.commission.per_order, group.commission.percent) == (None, Decimal("0.05"))
    assert (group.slippage.ticks, group.slippage.fixed) == (1, None)
    assert {account.name: account.multiplier for account in group.accounts} == {"a": Decimal("0.1"), "b": 1}


@pytest.mark.parametrize(
    ("broker", "missing"),
    [
        ("simulator", ()),
        ("someones_own", ()),
        ("tastytrade", ("TASTYTRADE_CLIENT_SECRET", "TASTYTRADE_REFRESH_TOKEN")),
        ("tradovate", ("TRADOVATE_USERNAME", "TRADOVATE_PASSWORD", "TRADOVATE_CID", "TRADOVATE_SEC",
                       "TRADOVATE_DEVICE_ID")),
        ("projectx", ("TOPSTEPX_USERNAME", "TOPSTEPX_API_KEY")),
    ],
)  # fmt: skip
def test_missing_credentials_are_named_as_the_environment_wants_them(start, broker, missing):
    assert start().credentials.missing(broker) == missing
    assert start(**dict.fromkeys(missing, "x")).credentials.missing(broker) == ()
    assert set(missing) <= set(ENVIRONMENT)


# ── The built-in flow ──


def test_the_flow_expires_after_a_minute_and_is_otherwise_open(start):
    flow = start().flow

    assert (flow.expire_s, flow.throttle_s, flow.symbols, flow.session) == (60, 0, (), None)


def test_a_session_takes_clocks_as_text_or_as_tomls_own(start):
    table = "session = {start=18:00:00, end='17:00', tz='America/New_York'}"
    session = start(toml=f"[flow]\nsymbols = ['es', 'cme:nq1!']\n{table}\n").flow.session

    assert (session.start, session.end, session.days) == ("18:00", "17:00", "mon-sun")
    assert start().flow.symbols == ("ES", "CME:NQ1!")


@pytest.mark.parametrize("days", ["mon-fri", "sun-thu", "mon,wed,fri", "sat", "mon-tue,fri"])
def test_days_are_spans_and_lists(start, days):
    text = days.replace(",", " , ").title()
    session = f"[flow]\nsession = {{start='00:00', end='00:00', tz='UTC', days='{text}'}}\n"

    assert start(toml=session).flow.session.days == days


def test_tradingview_stands_for_its_addresses_among_the_senders_only(start, refused):
    four = ["52.89.214.238/32", "34.212.75.30/32", "54.218.53.128/32", "52.32.178.7/32"]

    assert [str(network) for network in start(TTFLOW_ALLOW_FROM="TradingView").allow_from] == four
    assert "no address" in refused(TTFLOW_TRUSTED_PROXIES="tradingview")


def test_networks_may_be_given_as_python_has_them():
    network = ip_network("10.0.0.0/8")

    assert Settings(allow_from=(network,)).allow_from == (network,)


def test_debug_means_debug_logging(start):
    assert start(LOG_LEVEL="error").level == logging.ERROR
    assert start(LOG_LEVEL="error", DEBUG="true").level == logging.DEBUG


# ── What is written of the settings ──

EVERYTHING = """
[groups.main]
live = true
strategies = ["b", "a"]
cash = 1.10
commission.percent = 0.001
[[groups.main.accounts]]
name = "one"
multiplier = 0.50
[strategies.a]
[flow]
symbols = ["ES"]
session = {start="09:30", end="16:00", tz="America/New_York", days="mon-fri"}
"""
HIDDEN = {"secrets", "api_token", "credentials"}
SECRETS = {name: SECRET for name, path in ENVIRONMENT.items() if path[0] in HIDDEN}


@pytest.fixture
def everything(start):
    """Settings with everything set, secrets too."""
    return start(
        toml=EVERYTHING, TTFLOW_ALLOW_FROM="tradingview", TTFLOW_RATE_LIMIT="0", TTFLOW_PUBLIC_URL="https://x.example",
        **SECRETS,
    )  # fmt: skip


def test_no_secret_shows_in_any_text_of_the_settings(everything):
    shown = (
        repr(everything), str(everything), everything.model_dump_json(), str(everything.model_dump()),
        json.dumps(everything.public()), json.dumps(everything.deciding()), repr(everything.credentials),
    )  # fmt: skip

    assert not [text for text in shown if SECRET in text]


def test_a_refusal_by_pydantic_itself_shows_no_secret_either():
    with pytest.raises(ValidationError) as caught:
        Settings(credentials={"tradovate": {"password": [SECRET]}})

    assert SECRET not in str(caught.value)


def test_public_says_of_secrets_only_that_they_are_set(everything, start):
    assert everything.public()["secrets"] is everything.public()["api_token"] is True
    assert everything.public()["credentials"]["topstepx"] == ["api_key", "username"]
    assert start(toml="").public()["credentials"] == {"tastytrade": [], "topstepx": [], "tradovate": []}


def test_settings_come_back_from_public_equal_but_for_their_secrets(everything):
    back = Settings.from_public(json.loads(json.dumps(everything.public())))

    assert back.model_dump(exclude=HIDDEN) == everything.model_dump(exclude=HIDDEN)
    assert back.public() == everything.public()
    assert back == Settings.from_public(everything.public())
    for broker in ("tastytrade", "tradovate", "projectx"):
        assert back.credentials.missing(broker) == everything.credentials.missing(broker) == ()


def test_numbers_read_the_same_before_and_after(start):
    settings = start(toml="[groups.main]\ncash = 1e5\nslippage.ticks = 1.50\n[flow]\nthrottle_s = 3\n")

    back = Settings.from_public(json.loads(json.dumps(settings.deciding())))
    assert repr(back.groups["main"]) == repr(settings.groups["main"])
    assert repr(back.flow) == repr(settings.flow)
    assert str(back.groups["main"].cash) == "100000"


def test_a_secret_that_was_read_back_is_one_that_nobody_knows(everything):
    (secret,) = Settings.from_public(everything.public()).secrets

    assert len(secret.get_secret_value()) >= 32
    assert secret != SecretStr(SECRET)


def test_settings_without_secrets_come_back_equal(start):
    settings = start()

    assert Settings.from_public(settings.public()) == settings
    assert Settings.from_public(settings.deciding()) == settings
    assert Settings.from_public({}) == Settings()


def test_what_is_written_is_sorted_and_the_same_each_time(everything):
    written = json.dumps(everything.public())

    assert written == json.dumps(everything.public(), sort_keys=True)
    assert written == json.dumps(Settings.from_public(everything.public()).public())


def test_what_decides_does_not_know_where_the_desk_runs(start, everything):
    elsewhere = start(
        {"port": 1, "host": "0.0.0.0", "journal": "x.db", "log_dir": "y", "debug": True},
        toml=EVERYTHING, TTFLOW_RATE_LIMIT="1/second", LOG_LEVEL="error",
        **dict.fromkeys(SECRETS, f"another-{SECRET}"),
    )  # fmt: skip

    assert elsewhere.deciding() == everything.deciding()
    assert set(everything.deciding()) == {
        "contracts", "credentials", "firms", "flow", "groups", "instruments",
        "limits", "secrets", "strategies",
    }  # fmt: skip


def test_what_decides_knows_whether_a_broker_can_be_signed_in_to(start, everything):
    fewer = {name: value for name, value in SECRETS.items() if name != "TRADOVATE_SEC"}

    assert start(toml=EVERYTHING, **fewer).deciding() != everything.deciding()
    back = Settings.from_public(start(**fewer).deciding())
    assert back.credentials.missing("tradovate") == ("TRADOVATE_SEC",)


# ── The sample ──


def sample_with_all_of_it():
    """The sample with the # taken off every line that sets something."""
    return re.sub(r"(?m)^#(?=\S)", "", SAMPLE.read_text(encoding="utf-8"))


def keys_of(model, above=()):
    """Every key that a settings file can hold, `*` for a name that its author chooses."""
    for name, field in model.model_fields.items():
        below = next(_models(field.annotation), None)
        many = below is not None and "Mapping" in str(field.annotation)
        path = (*above, name, "*") if many else (*above, name)
        if name == "rate_limit" or below is None:
            yield path
        else:
            yield path
            yield from keys_of(below, path)


BY_ROOT = ("caps", "quantity", "position", "max_quantity", "max_position", "contracts")
"""The keys that may hold a value for each root."""


def test_the_sample_sets_nothing_as_it_is(start):
    assert start({"config": str(SAMPLE)}) == Settings(config=SAMPLE)


def test_every_key_can_be_found_in_the_sample_and_no_other(start):
    def paths(value, model, above=()):
        for key, item in value.items():
            many = above in {
                ("groups",),
                ("instruments",),
                ("strategies",),
                ("firms",),
                ("notify", "channels"),
            }
            path = (*above, "*" if many else key)
            yield path
            for inner in item if isinstance(item, list) else [item]:
                if isinstance(inner, dict) and key not in BY_ROOT:
                    yield from paths(inner, model, path)

    found = set(paths(tomllib.loads(sample_with_all_of_it()), Settings))

    headings = {
        ("groups",),
        ("instruments",),
        ("strategies",),
        ("firms",),
        ("credentials",),
        ("notify", "channels"),
    }
    # At most one measure of slippage can be set; the others stand in the line above.
    others = {("groups", "*", "slippage", measure) for measure in ("fixed", "percent")}
    others |= {("groups", "*", "accounts", "slippage", measure) for measure in ("fixed", "percent")}
    others |= {("groups", "*", "disaster_stop", "offset"), ("limits", "news", "file")}
    # Limits are shown once, for the desk; sizing once, for a group.
    again = tuple(
        (*place, "*", name) for place in (("groups",), ("strategies",)) for name in ("limits", "sizing")
    )
    shown_once = {path for path in {*found, *keys_of(Settings)} if len(path) > 3 and path[:3] in again}
    shown_once -= {path for path in shown_once if path[:3] == ("groups", "*", "sizing")}
    found -= shown_once
    others |= shown_once
    assert found - headings == set(keys_of(Settings)) - headings - others - {("config",)}
    assert "ticks, fixed (in price) or percent" in SAMPLE.read_text(encoding="utf-8")


def test_the_sample_with_all_of_it_is_accepted_and_shows_the_defaults(start):
    settings, plain = start(toml=sample_with_all_of_it()), Settings()

    examples = {"public_url", "secrets", "api_token", "groups", "strategies", "credentials", "flow", "config"}
    examples |= {"notify", "limits", "instruments", "contracts", "firms"}
    for name in set(Settings.model_fields) - examples:
        assert getattr(settings, name) == getattr(plain, name), name
    for name in ("expire_s", "throttle_s", "symbols"):
        assert getattr(settings.flow, name) == getattr(plain.flow, name), name
    for name in ("silence_s", "ping_every_s"):
        assert getattr(settings.notify, name) == getattr(plain.notify, name), name
    assert {name: settings.groups[name] for name in plain.groups} == plain.groups
    assert settings.groups["desk"].live


def test_the_sample_tells_every_name_of_the_environment():
    words = set(re.findall(r"\w+", SAMPLE.read_text(encoding="utf-8")))

    assert set(ENVIRONMENT) <= words


def test_the_sample_tells_the_defaults_of_a_group():
    text, group = SAMPLE.read_text(encoding="utf-8"), Group(broker="simulator")

    assert f'Defaults: {group.cash} and "{group.currency}"' in text
    for name, other in Settings().groups.items():
        assert re.search(rf"\b{name} +{other.broker}\b", text)


def test_every_table_refuses_unknown_keys_and_changes():
    def tables(model):
        yield model
        for field in model.model_fields.values():
            for below in _models(field.annotation):
                yield from tables(below)

    for model in tables(Settings):
        assert issubclass(model, BaseModel)
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"] is True
        assert model.model_config["hide_input_in_errors"] is True
        assert model.__doc__


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9000",
        "http://[::1]:9000/v1",
        "http://localhost:9000",
        "https://demo.tradovateapi.com/v1",
    ],
)
def test_a_broker_is_reached_at_its_own_address_or_on_this_machine(address):
    assert Group(broker="tradovate", base_url=address).reached("apex") == address


@pytest.mark.parametrize(
    "address",
    [
        "https://demo.tradovateapi.com.example.com/v1",
        "http://demo.tradovateapi.com/v1",
        "https://api.tastyworks.com",
        "http://10.0.0.1:9000",
    ],
)
def test_credentials_go_to_no_other_address(address):
    with pytest.raises(ValidationError, match="not the broker's own address"):
        Group(broker="tradovate", base_url=address)


def test_a_group_whose_name_begins_with_paper_is_in_the_demo_environment_unless_told():
    group = Group(broker="tradovate")

    assert group.reached("paper_tradovate") == "https://demo.tradovateapi.com/v1"
    assert group.reached("apex") == "https://live.tradovateapi.com/v1"
    assert Group(broker="tradovate", environment="live").where("paper_tradovate") == "live"


def test_settings_that_a_journal_holds_are_read_though_two_groups_name_one_account():
    group = {"broker": "tradovate", "live": True, "accounts": ({"name": "one"},)}
    told = {"secrets": ("a-webhook-secret",), "groups": {"first": group, "second": {**group, "live": False}}}
    written = json.loads(json.dumps(Settings.model_validate(told).deciding()))
    written["groups"]["second"]["live"] = True

    assert Settings.from_public(written).groups["second"].live
    with pytest.raises(ValidationError, match="one is an account of the group first"):
        Settings.model_validate({**told, "groups": {"first": group, "second": group}})
