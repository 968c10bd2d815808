"""Notices out: what a person should know is sent to where they look.

The one rule: it only watches. Whatever becomes of a message, no ticket is delayed, changed or stopped.
"""

from ttflow.notify.channels import Carrier, Undelivered, check, send_test
from ttflow.notify.notifier import Notifier
from ttflow.notify.quiet import Message, Quiet, Told, subject
from ttflow.notify.watch import Ping, Refusals, Silence

__all__ = [
    "Carrier",
    "Message",
    "Notifier",
    "Ping",
    "Quiet",
    "Refusals",
    "Silence",
    "Told",
    "Undelivered",
    "check",
    "send_test",
    "subject",
]
