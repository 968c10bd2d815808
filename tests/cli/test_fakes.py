"""`ttflow fake`: a fake that is served until it is told to stop."""

from __future__ import annotations

import json
import signal
import socket
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ttflow.cli.fakes import PORTS

ACCOUNTS = {"tradovate": "DEMO12345", "tastytrade": "5WT00001", "projectx": "465"}
TASTYTRADE = {"grant_type": "refresh_token", "client_secret": "c", "refresh_token": "?"}
SIGN_INS = {
    "tradovate": ("/v1/auth/accesstokenrequest", {"name": "u", "password": "?"}, "accessToken"),
    "tastytrade": ("/oauth/token", TASTYTRADE, "access_token"),
    "projectx": ("/api/Auth/loginKey", {"userName": "u", "apiKey": "?"}, "token"),
}
"""Where each broker is signed in to, with what, and the field of the answer that holds the token."""


def ask(address, body=None):
    """What a fake answers, whatever its status."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "test/1"}
    try:
        with urlopen(Request(address, data=data, headers=headers), timeout=10) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            return json.load(error)


def test_every_broker_that_has_a_fake_is_tried_here():
    assert set(PORTS) == set(ACCOUNTS) == set(SIGN_INS)


@pytest.mark.parametrize("broker", sorted(PORTS))
def test_a_fake_says_where_it_is_takes_a_price_and_stops_in_order(start, broker):
    with start("fake", broker, "--port", 0, "--json") as process:
        told = json.loads(process.wait_for(r"^\{.*\}$")[0])
        price = {"symbol": "ESZ2026", "price": 5000.25}
        assert ask(told["address"] + "/_price", price) == price
        assert ask(told["address"] + "/_fault", {"kind": "refuse", "count": 2})["left"]["refuse"] == 2
        state = ask(told["address"] + "/_state")
        assert (state["orders"], state["fills"], state["positions"]) == ([], [], [])
        assert state["faults"] == {"refuse": 2}

        assert (told["broker"], told["account"]) == (broker, ACCOUNTS[broker])
        assert process.end(signal.SIGINT) == 0


@pytest.mark.parametrize("broker", sorted(PORTS))
def test_a_fake_speaks_its_brokers_protocol_and_takes_any_credentials_but_wrong(start, broker):
    call, proof, token = SIGN_INS[broker]
    with start("fake", broker, "--port", 0, "--json") as process:
        address = json.loads(process.wait_for(r"^\{.*\}$")[0])["address"] + call
        taken, refused = (
            ask(address, {name: told if value == "?" else value for name, value in proof.items()})
            for told in ("anything", "wrong")
        )
        process.end(signal.SIGINT)

    assert taken[token]
    assert token not in refused


def test_people_get_the_address_alone_on_stdout(start):
    with start("fake", "tradovate", "--port", 0) as process:
        process.wait_for(r"^http://127\.0\.0\.1:[0-9]+$")
        process.wait_for("the account DEMO12345; Ctrl-C", where="stderr")

        assert process.end(signal.SIGTERM) == 0


def test_a_broker_without_a_fake_is_wrong_usage(ttflow):
    done = ttflow("fake", "hercules")

    assert done.returncode == 2
    assert "tradovate" in done.stderr


def test_a_port_that_is_taken_is_said_in_one_line(start, ttflow):
    with start("fake", "tradovate", "--port", 0) as process:
        port = process.wait_for(r":([0-9]+)$")[1]
        done = ttflow("fake", "tradovate", "--port", port)
        process.end(signal.SIGINT)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "Address already in use" in done.stderr


def test_a_taken_port_is_said_with_what_to_do(ttflow):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ttflow("fake", "tradovate", "--port", port)

    assert done.returncode == 1
    assert f"Can't serve a fake on port {port}: Address already in use; stop the program" in done.stderr
