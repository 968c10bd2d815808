"""Who may post to the webhook, and how often: secrets, addresses, rates. Pure; the clock is passed in.

The one rule: what is refused is refused alike. Every secret is compared with every credential over digests
of one length, and nothing ends early, so that neither the time nor the answer tells how wrong a guess was.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from secrets import token_bytes
from typing import NamedTuple
from urllib.parse import urlsplit

from ttflow.settings import Rate, is_loopback

Network = IPv4Network | IPv6Network
_NS = 10**9


class Limiter:
    """At most `rate` for each key, all at once or spread: the generic cell rate algorithm.

    One number is remembered for each of the `size` keys heard of last; `clock` gives nanoseconds that never
    go back. Without a rate nothing is limited.
    """

    def __init__(
        self, rate: Rate | None, clock: Callable[[], int] = time.monotonic_ns, size: int = 16_384
    ) -> None:
        self._clock, self._size = clock, size
        # The time that one hit costs; whole nanoseconds, because tenths of seconds don't add up in floats.
        self._cost = max(1, rate.seconds * _NS // rate.count) if rate else 0
        self._credit = self._cost * (rate.count - 1) if rate else 0
        self._due: OrderedDict[Hashable, int] = OrderedDict()

    def hit(self, key: Hashable) -> int:
        """Count one request; returns 0 where it is taken, else the whole seconds until one would be.

        What is not taken costs nothing.
        """
        if not self._cost:
            return 0
        now, due = self._clock(), self._due.get(key, 0)
        early = due - now - self._credit
        if early > 0:
            self._due.move_to_end(key)
            return -(-early // _NS)
        self._due[key] = (due if due > now else now) + self._cost
        self._due.move_to_end(key)
        if len(self._due) > self._size:
            self._due.popitem(last=False)
        return 0

    def __len__(self) -> int:
        return len(self._due)


class Keyring:
    """The webhook's secrets. False where there is none: then nobody has to prove anything."""

    def __init__(self, secrets: Sequence[str]) -> None:
        # Digests are keyed with what nobody knows, so that no guess can be chosen for its digest.
        self._key = token_bytes(32)
        self._nobody = (token_bytes(32),)
        self._secrets = tuple(map(as_bytes, secrets))
        self._digests = tuple(map(self._digest, self._secrets))

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def proven(
        self, body: bytes, signature: str | None, tokens: Sequence[tuple[bytes, ...]] = ()
    ) -> int | None:
        """Say which secret a request proves, by its place; None where it proves none.

        `signature` is the header as sent, of the raw `body`; each token comes in every way in which it can
        be read, any of which may be right. One wrong credential refuses, even beside a right one.
        """
        # Who brings no token has a wrong one compared, so that it takes as long.
        found = [self._place(given, self._digests) for given in tokens or (self._nobody,)]
        if signature is not None:
            kind, mark, digits = as_bytes(signature).partition(b"=")
            signed = [self._digest(b"sha256=" + _sign(secret, body)) for secret in self._secrets]
            signer = self._place((kind + mark + digits.lower(),), signed)
            found = [signer, *found] if tokens else [signer]
        return None if None in found else found[0]

    def _place(self, readings: tuple[bytes, ...], expected: Sequence[bytes]) -> int | None:
        found = None
        for reading in readings:
            digest = self._digest(reading)
            for place, right in enumerate(expected):
                if hmac.compare_digest(digest, right):
                    found = place  # and on, to the end
        return found

    def _digest(self, given: bytes) -> bytes:
        return hashlib.blake2b(given, key=self._key, digest_size=32).digest()


def _sign(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, body, "sha256").hex().encode()


def as_bytes(text: str) -> bytes:
    """Encode whatever text was sent; it never fails."""
    return text.encode("utf-8", "surrogatepass")


class Sender(NamedTuple):
    """Where a request comes from: its address as text, the key that limits count by, and the rules' word."""

    address: str
    key: Hashable
    allowed: bool
    loopback: bool


class Addresses:
    """The rules of addresses: who may post, and whose word about other addresses is believed."""

    def __init__(self, allow_from: Sequence[Network], trusted_proxies: Sequence[Network]) -> None:
        self._allow_from, self._trusted = tuple(allow_from), tuple(trusted_proxies)
        self._judge = lru_cache(maxsize=4096)(self._judged)

    def sender(self, peer: str, forwarded: str | None = None) -> Sender:
        """Find the sender behind a connection's `peer`, given its `X-Forwarded-For`.

        That header is believed from a trusted proxy only, from the right, up to the first address that is
        no trusted proxy. Where an entry can't be read, the last one that could be is the sender.
        """
        address = _address(peer)
        if forwarded and self._is_trusted(address):
            for entry in reversed(forwarded.split(",")):
                hop = _address(entry.strip())
                if hop is None:
                    break
                address = hop
                if not self._is_trusted(hop):
                    break
        return self._judge(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _judged(self, address: IPv4Address | IPv6Address | None) -> Sender:
        if address is None:
            return Sender("unknown", "unknown", not self._allow_from, False)
        allowed = not self._allow_from or any(address in network for network in self._allow_from)
        # Whoever has an IPv6 address has the other 2^64 of its network, too.
        key = ("/64", int(address) >> 64) if isinstance(address, IPv6Address) else address
        return Sender(str(address), key, allowed, address.is_loopback)


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, with or without a port; IPv4 that is written as IPv6 is IPv4."""
    if len(text) > 64:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def crosses_sites(site: str | None, origin: str | None, host: str) -> bool:
    """Whether a browser sent this for a page that is not the desk's own, on this machine.

    `site` and `origin` are `Sec-Fetch-Site` and `Origin`; who sends neither is no browser. A page's name
    that was made to point to this machine doesn't help it: only a loopback `host` is the desk's own.
    """
    if site is None and origin is None:
        return False
    if site not in (None, "same-origin", "none"):
        return True
    try:
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        return foreign or not is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return True
