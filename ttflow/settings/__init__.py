"""The settings of a desk: `load` reads them once, checks them whole, and nothing changes them after.

Command line, then environment, then `.env`, then `ttflow.toml`, then defaults. Every model is frozen and
refuses unknown keys. Secrets are `SecretStr`: no `repr`, export or error shows one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator

from ttflow.settings.accounts import check_accounts
from ttflow.settings.fields import (
    Flag,
    Frozen,
    Level,
    Networks,
    Place,
    Secret,
    Secrets,
    Senders,
    Text,
    Url,
    Whole,
    beside,
    is_loopback,
    wrong,
)
from ttflow.settings.firms import FirmRules, Said, check_firms, unkept
from ttflow.settings.instruments import Contracts, Instruments, InstrumentSettings, check_contracts
from ttflow.settings.limits import FlatBy, Limits, News, NewsEvent, Session, Sizing
from ttflow.settings.notify import ChannelSettings, Notify, unknown_addresses
from ttflow.settings.refusals import refusal
from ttflow.settings.rules import StrategyRule, StrategySettings, check_rules, rule_of
from ttflow.settings.section import Section
from ttflow.settings.sections import (
    USUAL,
    AccountSettings,
    Commission,
    Credentials,
    DisasterStop,
    FlowSettings,
    Group,
    Rate,
    RateLimits,
    Slippage,
    rate_limits,
    usual_groups,
)
from ttflow.settings.sources import gather
from ttflow.showing import line, table

__all__ = [
    "AccountSettings",
    "ChannelSettings",
    "Commission",
    "Credentials",
    "DisasterStop",
    "FirmRules",
    "FlatBy",
    "FlowSettings",
    "Group",
    "InstrumentSettings",
    "Limits",
    "News",
    "NewsEvent",
    "Notify",
    "Rate",
    "RateLimits",
    "Session",
    "Settings",
    "Sizing",
    "Slippage",
    "StrategyRule",
    "StrategySettings",
    "beside",
    "is_loopback",
    "load",
    "rule_of",
]

SHORT_SECRET = 8
"""A secret of fewer characters can be guessed; the start warns of it."""


class Settings(Section):
    """All that a desk is told before it starts.

    `secrets` are the webhook's, any of which is right; empty is no authentication, which holds the
    server to loopback and every group to paper. Paths are relative to the working directory. `allow_from`
    empty is everyone; `trusted_proxies` are those whose `X-Forwarded-For` is believed. `config` is the file
    that was read. `api_token` None means that the desk makes one. `contracts` are front months by root, which
    hold instead of the rule.
    """

    host: Text = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65535)] = 8000
    debug: Flag = False
    log_level: Level = "INFO"
    secrets: Secrets = ()
    journal: Place = Path("ttflow.db")
    config: Path | None = None
    rate_limit: Annotated[RateLimits, BeforeValidator(rate_limits)] = RateLimits()
    log_dir: Place = Path("logs")
    public_url: Url | None = None
    allow_from: Senders = ()
    trusted_proxies: Networks = ()
    api_token: Secret | None = None
    credentials: Credentials = Credentials()
    groups: Frozen[Group] = Field(default_factory=usual_groups, validate_default=True)
    strategies: Frozen[StrategySettings] = Field(default_factory=dict, validate_default=True)
    firms: Frozen[FirmRules] = Field(default_factory=dict, validate_default=True)
    limits: Limits = Limits()
    notify: Notify = Field(default_factory=Notify)
    flow: FlowSettings = FlowSettings()
    instruments: Instruments = Field(default_factory=dict, validate_default=True)
    contracts: Contracts = Field(default_factory=dict, validate_default=True)

    @model_validator(mode="after")
    def _stays_home_without_a_secret(self) -> Self:
        if not self.secrets and not is_loopback(self.host):
            remedy = "set TRADINGVIEW_WEBHOOK_SECRET, or bind to 127.0.0.1"
            raise wrong("without a webhook secret the server binds to loopback only", remedy, at=("host",))
        return self

    @model_validator(mode="after")
    def _is_paper_without_a_secret(self) -> Self:
        for name, group in self.groups.items():
            if group.live and not self.secrets:
                remedy = "set TRADINGVIEW_WEBHOOK_SECRET, or write live = false"
                raise wrong("a live group needs a webhook secret", remedy, at=("groups", name, "live"))
        return self

    @model_validator(mode="after")
    def _has_front_months_that_are_contracts(self) -> Self:
        check_contracts(self.instruments, self.contracts)
        return self

    @model_validator(mode="after")
    def _has_rules_that_can_come_true(self) -> Self:
        check_rules(self.strategies)
        return self

    @model_validator(mode="after")
    def _trades_no_account_twice(self, info: ValidationInfo) -> Self:
        if info.context != _RECORDED:  # a journal of before can still be read, and replayed
            check_accounts(self.groups)
        return self

    @model_validator(mode="after")
    def _knows_its_firms(self) -> Self:
        check_firms(self.firms, self._at_firms())
        return self

    def _at_firms(self) -> Iterator[Said]:
        for name, group in self.groups.items():
            for number, account in enumerate(group.accounts):
                yield Said(name, number, group, account)

    @property
    def level(self) -> int:
        """The least level that is logged, a number of `logging`'s; `debug` takes it down to DEBUG."""
        return logging.DEBUG if self.debug else logging.getLevelNamesMapping()[self.log_level]

    def warnings(self) -> tuple[str, ...]:
        """Say what is allowed but unwise, one line each; none shows a secret."""
        short = [secret for secret in self.secrets if len(secret.get_secret_value()) < SHORT_SECRET]
        told = f"a webhook secret has fewer than {SHORT_SECRET} characters and can be guessed; use more"
        live = (said for said in self._at_firms() if self.groups[said.group].live)
        return (*((told,) if short else ()), *unkept(live))

    def public(self) -> dict[str, Any]:
        """Write the settings in force as JSON values, sorted, with no secret in them.

        Of a secret it says only whether it is set: `secrets`, `api_token` and the addresses of `notify`
        become true or false, `credentials` the names that are set.
        """
        written = self.model_dump(mode="json", exclude={"secrets", "api_token", "credentials", "notify"})
        written["secrets"], written["api_token"] = bool(self.secrets), self.api_token is not None
        written["credentials"] = {
            broker: sorted(name for name, value in section if value is not None)
            for broker, section in self.credentials
        }
        written["notify"] = self.notify.public()
        in_order: dict[str, Any] = _sorted(written)
        return in_order

    def __repr__(self) -> str:
        live = sum(group.live for group in self.groups.values())
        source = f"of {self.config}:" if self.config else "by default:"
        count = f"{len(self.groups)} groups, {live or 'none'} live,"
        return line(self, source, count, f"at {self.host}:{self.port}, journal {self.journal}")

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return table("Settings", _flat(self.public()))

    def deciding(self) -> dict[str, Any]:
        """The part of `public` that decisions depend on, journaled with every start.

        Where the desk listens, logs and keeps its journal is not in it.
        """
        written = self.public()
        return {key: written[key] for key in _DECIDING}

    @classmethod
    def from_public(cls, written: Mapping[str, Any]) -> Self:
        """Read back what `public` or `deciding` wrote; what it doesn't hold is as by default.

        A secret that was set comes back as one that nobody knows, so that the settings are equal to those
        that were written but for the secrets. Raises pydantic's ValidationError for anything else.
        """
        values = dict(written)
        values["secrets"] = (_UNKNOWN,) if values.get("secrets") else ()
        values["api_token"] = _UNKNOWN if values.get("api_token") else None
        values["notify"] = unknown_addresses(values.get("notify", {}), _UNKNOWN.get_secret_value())
        credentials = values.get("credentials", {})
        values["credentials"] = {key: dict.fromkeys(names, _UNKNOWN) for key, names in credentials.items()}
        return cls.model_validate(values, context=_RECORDED)


_RECORDED = "recorded"

_DECIDING = (
    "contracts",
    "credentials",
    "firms",
    "flow",
    "groups",
    "instruments",
    "limits",
    "secrets",
    "strategies",
)

# Drawn anew in each process: who serves with settings that were read back lets nobody in.
_UNKNOWN = SecretStr(token_hex())


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _flat(written: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Tables of tables as one, by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in written.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read the settings from every source and check them whole.

    `overrides` are the command line's, by field name; one that is None was not given. `environ` is this
    process's environment, `cwd` the working directory, where `.env` and `ttflow.toml` are looked for.
    Groups of the file add to the usual seven and override their keys. Raises SettingsError, one line that
    names the key, the value's source and the remedy.
    """
    defaults = {"groups": {name: dict(table) for name, table in USUAL.items()}}
    environ = os.environ if environ is None else environ
    found = gather(defaults, overrides or {}, environ, Path.cwd() if cwd is None else cwd)
    try:
        return Settings.model_validate(found.values)
    except ValidationError as error:
        refused = refusal(error, Settings, found.origin)
    raise refused
