"""Tradovate: orders and brackets over REST, what becomes of them over one WebSocket.

Rooms: `session` signs in and asks, `line` is one WebSocket, `stream` listens, `mirror` knows each order,
`login` joins them for all groups with the same credentials, `wire` writes and reads fields, `adapter` is the
broker of one group.
Sources: Tradovate's partner documentation (partner.tradovate.com) and its published schema; what they leave
open is listed in `docs/brokers.md`.
"""

from ttflow.brokers.tradovate.adapter import Tradovate, connect
from ttflow.brokers.tradovate.session import Pace

__all__ = ["Pace", "Tradovate", "connect"]
