"""Secrets, addresses and rates: who may post to the webhook, and how often."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow import guard
from ttflow.guard import Addresses, Keyring, Limiter, crosses_sites
from ttflow.settings import Rate

S = 10**9
BODY = b'{"symbol":"AAPL"}'


class Clock:
    def __init__(self) -> None:
        self.ns = 5 * S

    def __call__(self) -> int:
        return self.ns


def signature(secret: str, body: bytes = BODY) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def token(text: str) -> tuple[bytes]:
    return (text.encode(),)


# Rates


def test_as_many_as_the_rate_says_pass_at_once_and_the_next_is_told_when():
    clock = Clock()
    limiter = Limiter(Rate(count=10, seconds=60), clock)

    assert [limiter.hit("a") for _ in range(11)] == [0] * 10 + [6]
    clock.ns += 5 * S
    assert limiter.hit("a") == 1
    clock.ns += 1 * S
    assert [limiter.hit("a"), limiter.hit("a")] == [0, 6]


def test_what_is_refused_costs_nothing():
    clock = Clock()
    limiter = Limiter(Rate(count=1, seconds=10), clock)
    limiter.hit("a")

    assert [limiter.hit("a") for _ in range(100)] == [10] * 100
    clock.ns += 10 * S
    assert limiter.hit("a") == 0


def test_keys_are_counted_apart():
    limiter = Limiter(Rate(count=1, seconds=60), Clock())

    assert [limiter.hit("a"), limiter.hit("b"), limiter.hit("a")] == [0, 0, 60]


def test_without_a_rate_nothing_is_limited():
    limiter = Limiter(None, Clock())

    assert not any(limiter.hit("a") for _ in range(1000))
    assert len(limiter) == 0


def test_the_table_is_bounded_and_forgets_who_was_heard_of_longest_ago():
    limiter = Limiter(Rate(count=1, seconds=60), Clock(), size=3)
    for key in "abc":
        limiter.hit(key)
    assert limiter.hit("a") == 60
    limiter.hit("d")

    assert len(limiter) == 3
    assert limiter.hit("a") == 60
    assert limiter.hit("b") == 0


def test_who_was_taken_just_now_is_not_forgotten_for_a_newcomer():
    limiter = Limiter(Rate(count=2, seconds=60), Clock(), size=2)

    assert [limiter.hit(key) for key in "abaca"] == [0, 0, 0, 0, 30]


@given(st.integers(1, 700), st.sampled_from([1, 60, 3600]), st.lists(st.integers(0, 90 * S), max_size=300))
def test_no_stretch_of_time_takes_more_than_the_burst_and_what_it_earned(count, seconds, waits):
    clock = Clock()
    limiter = Limiter(Rate(count=count, seconds=seconds), clock)
    taken = []
    for wait in waits:
        clock.ns += wait
        if limiter.hit("a") == 0:
            taken.append(clock.ns)
    cost = seconds * S // count
    for first in range(len(taken)):
        for last in range(first, len(taken), 7):
            assert last - first + 1 <= count + (taken[last] - taken[first]) // cost


@given(st.integers(1, 1000), st.sampled_from([1, 60, 3600]))
def test_whoever_waits_as_told_is_taken(count, seconds):
    clock = Clock()
    limiter = Limiter(Rate(count=count, seconds=seconds), clock)
    while not (wait := limiter.hit("a")):
        pass

    assert 1 <= wait <= seconds
    clock.ns += wait * S
    assert limiter.hit("a") == 0


# Secrets


def test_each_secret_is_told_by_its_place():
    keys = Keyring(["first-secret", "second-secret"])

    assert keys.proven(BODY, None, [token("first-secret")]) == 0
    assert keys.proven(BODY, None, [token("second-secret")]) == 1
    assert keys.proven(BODY, signature("second-secret")) == 1


def test_no_credential_is_no_proof():
    assert Keyring(["first-secret"]).proven(BODY, None) is None


def test_no_secret_is_false():
    assert not Keyring([])
    assert Keyring(["x"])
    assert Keyring([]).proven(BODY, signature(""), [token("")]) is None


WRONG = [
    "",
    "sha256=",
    "sha256",
    signature("first-secret")[7:],
    signature("first-secret")[:-1],
    signature("first-secret") + "0",
    signature("first-secret", BODY + b" "),
    signature("wrong"),
    "sha1=" + signature("first-secret")[7:],
    "SHA256=" + signature("first-secret")[7:],
    signature("first-secret") + ", " + signature("first-secret"),
    "sha256=" + "é" * 64,
    "sha256=\ud800",
    "\x00",
]


@pytest.mark.parametrize("sent", WRONG)
def test_a_wrong_signature_refuses_even_beside_a_right_token(sent):
    keys = Keyring(["first-secret"])

    assert keys.proven(BODY, sent) is None
    assert keys.proven(BODY, sent, [token("first-secret")]) is None


@pytest.mark.parametrize("wrong", ["", "first-secre", "first-secrett", "First-secret", "é"])
def test_a_wrong_token_refuses_even_beside_right_ones(wrong):
    keys = Keyring(["first-secret", "second-secret"])
    right = token("first-secret")

    assert keys.proven(BODY, None, [token(wrong)]) is None
    assert keys.proven(BODY, None, [right, token(wrong)]) is None
    assert keys.proven(BODY, None, [token(wrong), right]) is None
    assert keys.proven(BODY, signature("first-secret"), [token(wrong)]) is None
    assert keys.proven(BODY, signature("first-secret"), [right, token(wrong), right]) is None


def test_several_right_credentials_prove_even_of_different_secrets():
    keys = Keyring(["first-secret", "second-secret"])

    assert keys.proven(BODY, signature("second-secret"), [token("first-secret")]) == 1


def test_a_signature_in_capitals_is_the_same():
    sent = "sha256=" + signature("first-secret")[7:].upper()

    assert Keyring(["first-secret"]).proven(BODY, sent) == 0


def test_a_token_may_be_right_in_any_of_its_readings():
    keys = Keyring(["a+b/c=="])

    assert keys.proven(BODY, None, [(b"a b/c==", b"a+b/c==")]) == 0
    assert keys.proven(BODY, None, [(b"a b/c==",)]) is None


@given(st.text(), st.lists(st.binary(), max_size=4))
def test_nothing_that_is_guessed_proves_anything_or_raises(sent, tokens):
    keys = Keyring(["2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"])

    assert keys.proven(BODY, sent, [(guess,) for guess in tokens]) is None


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), st.binary())
def test_every_secret_proves_itself(secret, body):
    signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

    assert Keyring(["other", secret]).proven(body, signed, [token(secret)]) is not None


@pytest.mark.parametrize("sent", [None, "garbage", signature("wrong"), signature("s1")])
@pytest.mark.parametrize("tokens", [[], [token("wrong")], [token("s1")]])
def test_every_request_is_compared_with_every_secret_whatever_it_brings(monkeypatch, sent, tokens):
    compared = []
    right = hmac.compare_digest

    def compare(one, other):
        compared.append((len(one), len(other)))
        return right(one, other)

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    Keyring(["s1", "s2", "s3"]).proven(BODY, sent, tokens)

    # One credential each, and a stand-in for the token where there is none: with three secrets, in digests.
    assert compared == [(32, 32)] * (3 if sent is None else 6)


# Addresses


def addresses(allow=(), trusted=()):
    return Addresses(list(map(ip_network, allow)), list(map(ip_network, trusted)))


def test_without_rules_everyone_may_send_from_where_they_are():
    sender = addresses().sender("203.0.113.7", "198.51.100.1")

    assert sender.address == "203.0.113.7"
    assert sender.allowed


def test_only_the_allowed_may_send():
    rules = addresses(allow=["52.89.214.238", "2001:db8::/32"])

    assert rules.sender("52.89.214.238").allowed
    assert rules.sender("2001:db8:1::1").allowed
    assert rules.sender("::ffff:52.89.214.238").allowed
    assert not rules.sender("52.89.214.239").allowed
    assert not rules.sender("not an address").allowed
    assert not rules.sender("").allowed


FORWARDED = [
    (None, "10.0.0.1"),
    ("", "10.0.0.1"),
    ("52.89.214.238", "52.89.214.238"),
    ("6.6.6.6, 52.89.214.238", "52.89.214.238"),
    ("6.6.6.6,52.89.214.238,10.9.9.9", "52.89.214.238"),
    ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
    ("52.89.214.238:4711", "52.89.214.238"),
    ("[2001:db8::1]:4711", "2001:db8::1"),
    ("2001:db8::1", "2001:db8::1"),
    ("::ffff:52.89.214.238", "52.89.214.238"),
    ("52.89.214.238, garbage", "10.0.0.1"),
    ("52.89.214.238, garbage, 10.0.0.9", "10.0.0.9"),
    ("52.89.214.238, " + "1" * 100, "10.0.0.1"),
]


@pytest.mark.parametrize(("forwarded", "sender"), FORWARDED)
def test_a_trusted_proxy_tells_the_last_address_that_is_not_its_own_kind(forwarded, sender):
    assert addresses(trusted=["10.0.0.0/8"]).sender("10.0.0.1", forwarded).address == sender


def test_what_others_say_of_addresses_is_not_believed():
    rules = addresses(allow=["52.89.214.238"], trusted=["10.0.0.0/8"])

    assert not rules.sender("203.0.113.7", "52.89.214.238").allowed
    assert rules.sender("10.0.0.1", "52.89.214.238").allowed
    assert not rules.sender("10.0.0.1", "52.89.214.238, 6.6.6.6").allowed


def test_ipv6_is_counted_by_its_network_and_ipv4_by_itself():
    key = {peer: addresses().sender(peer).key for peer in ("2001:db8::1", "2001:db8::ffff:1")}
    other = addresses().sender("2001:db8:0:1::1").key

    assert key["2001:db8::1"] == key["2001:db8::ffff:1"] != other
    assert addresses().sender("10.0.0.1").key != addresses().sender("10.0.0.2").key
    assert addresses().sender("::ffff:10.0.0.1").key == addresses().sender("10.0.0.1").key


@given(st.text(), st.text())
def test_any_header_and_any_peer_is_some_sender(peer, forwarded):
    sender = addresses(allow=["52.89.214.238"], trusted=["0.0.0.0/0"]).sender("10.0.0.1", forwarded)

    assert sender.address
    assert addresses().sender(peer, forwarded).address


# Browsers

OURS = "127.0.0.1:8000"
REFUSED = [
    ("cross-site", None, OURS),
    ("same-site", None, OURS),
    ("", None, OURS),
    ("cross-site", "http://127.0.0.1:8000", OURS),
    (None, "https://evil.example", OURS),
    (None, "null", OURS),
    (None, "", OURS),
    (None, "http://127.0.0.1:9000", OURS),
    (None, "http://[", OURS),
    (None, "http://[::1", "[::1"),
    ("same-origin", "http://evil.example:8000", "evil.example:8000"),
    ("same-origin", None, "evil.example:8000"),
    (None, "http://evil.example:8000", "evil.example:8000"),
    ("none", None, "evil.example"),
]
WELCOME = [
    (None, None, OURS),
    (None, None, "desk.example"),
    ("same-origin", "http://127.0.0.1:8000", OURS),
    (None, "http://localhost:8000", "localhost:8000"),
    (None, "http://[::1]:8000", "[::1]:8000"),
    ("none", None, "localhost"),
]


@pytest.mark.parametrize(("site", "origin", "host"), REFUSED)
def test_a_foreign_page_is_told_by_what_its_browser_sends(site, origin, host):
    assert crosses_sites(site, origin, host)


@pytest.mark.parametrize(("site", "origin", "host"), WELCOME)
def test_programs_and_the_desks_own_page_are_not_foreign(site, origin, host):
    assert not crosses_sites(site, origin, host)
