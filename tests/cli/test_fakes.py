"""`ttflow fake`: a fake that is served until it is told to stop."""

from __future__ import annotations

import json
import signal
from urllib.request import Request, urlopen

import pytest


@pytest.mark.parametrize("broker", ["tradovate"])
def test_a_fake_says_where_it_is_takes_a_price_and_stops_in_order(start, broker):
    with start("fake", broker, "--port", 0, "--json") as process:
        told = json.loads(process.wait_for(r"^\{.*\}$")[0])
        body = json.dumps({"symbol": "ESZ2026", "price": 5000.25}).encode()
        with urlopen(Request(told["address"] + "/_price", data=body), timeout=10) as answer:
            assert json.load(answer) == {"symbol": "ESZ2026", "price": 5000.25}
        with urlopen(told["address"] + "/_state", timeout=10) as answer:
            assert json.load(answer)["orders"] == []

        assert (told["broker"], told["account"]) == ("tradovate", "DEMO12345")
        assert process.end(signal.SIGINT) == 0


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
