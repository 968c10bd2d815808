"""For tests, yours and ours: alerts made in a line, a desk walked through by hand, a broker by script.

Everything here runs in virtual time and touches no disk and no network, but for `check_broker`, which uses
what it is given.
"""

from ttflow.testing.broker import ScriptedBroker
from ttflow.testing.brokers import Checked, check_broker
from ttflow.testing.making import NINE, Clock, alert, body, ticket
from ttflow.testing.operators import check_operator
from ttflow.testing.tickets import tickets
from ttflow.testing.walk import Walk
from ttflow.words import encode

__all__ = [
    "NINE",
    "Checked",
    "Clock",
    "ScriptedBroker",
    "Walk",
    "alert",
    "body",
    "check_broker",
    "check_operator",
    "encode",
    "ticket",
    "tickets",
]
