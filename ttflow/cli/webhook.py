"""The webhook's address as it is pasted into TradingView."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ttflow.client import WEBHOOK

if TYPE_CHECKING:
    from ttflow.settings import Settings

MASK = "***"


def webhook_url(settings: Settings, address: str, *, show_secret: bool = False) -> str:
    """Where TradingView posts to; it can't sign, so the secret is the last part: `…/***` unless shown."""
    base = (settings.public_url or address).rstrip("/")
    whole = base if base.endswith(WEBHOOK) else f"{base}{WEBHOOK}"
    if not settings.secrets:
        return whole
    secret = quote(settings.secrets[0].get_secret_value(), safe="") if show_secret else MASK
    return f"{whole}/{secret}"
