"""The settings of notices: where they go, what silence is, whom to tell that the desk lives.

The one rule: an address is a secret, whoever has it can write to its owner, so no text shows one.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from ttflow.settings.fields import Frozen, Names, Seconds, Secret, wrong
from ttflow.settings.section import Section


def _target(value: SecretStr) -> SecretStr:
    """Check the form alone; whether apprise knows the service is seen at the start, where it is loaded."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]+", value.get_secret_value()):
        raise wrong("is not an address of apprise", "write one such as tgram://TOKEN/CHAT, or env:NAME")
    return value


def _ping(value: SecretStr) -> SecretStr:
    try:
        url = urlsplit(value.get_secret_value())
        whole = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        whole = False
    if not whole or re.search(r"[\s\x00-\x1f]", value.get_secret_value()):
        raise wrong("is not an address of the web", "write it as https://host/path, or env:NAME")
    return value


class ChannelSettings(Section):
    """One way to reach a person: an apprise address, and what goes there.

    `severity` is the least that is sent (`info` is everything), `kinds` the kinds of notices (empty is all).
    Within `quiet_s` seconds of a message, others of its kind and subject are held back.
    """

    url: Annotated[Secret, AfterValidator(_target)]
    severity: Literal["info", "warning", "critical"] = "info"
    kinds: Names = ()
    quiet_s: Seconds = 300.0


class Notify(Section):
    """Where notices go. Without channels they stand in the journal, and `ttflow tail` shows them.

    No alert for `silence_s` seconds of the session is a notice; 0 is never. `ping_url` is asked (GET) every
    `ping_every_s` seconds while the desk is well, so that somebody outside notices when it isn't.
    """

    channels: Frozen[ChannelSettings] = Field(default_factory=dict, validate_default=True)
    silence_s: Seconds = 0.0
    ping_url: Annotated[Secret, AfterValidator(_ping)] | None = None
    ping_every_s: Annotated[Seconds, Field(ge=1)] = 60.0

    def public(self) -> dict[str, Any]:
        """Write it as JSON values; of an address it says only whether it is set."""
        written = self.model_dump(mode="json")
        for channel in written["channels"].values():
            channel["url"] = True
        return {**written, "ping_url": self.ping_url is not None}


def unknown_addresses(written: dict[str, Any], unknown: str) -> dict[str, Any]:
    """Put addresses that lead nowhere where `Notify.public` says that one is set (RFC 2606: `.invalid`)."""
    channels = {
        name: {**channel, "url": f"json://{unknown}.invalid"}
        for name, channel in written.get("channels", {}).items()
    }
    ping_url = f"https://{unknown}.invalid" if written.get("ping_url") else None
    return {**written, "channels": channels, "ping_url": ping_url}
