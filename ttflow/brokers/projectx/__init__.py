"""TopstepX, by ProjectX's gateway: orders over REST, what becomes of them over a SignalR hub.

Rooms: `wire` writes and reads fields, `session` signs in and asks, `hub` listens, `mirror` knows each order,
`news` tells what is new of them, `lookup` asks for one, `closing` knows which of them closed a position;
`accounts` says what is held, `contracts` what it is called, `prices` what it trades at; `adapter` is the
broker of one group. Sources: ProjectX's own documents and schema (gateway.docs.projectx.com); what they
leave open is listed in `docs/brokers_projectx.md`.
"""

from ttflow.brokers.projectx.adapter import ProjectX, connect
from ttflow.brokers.projectx.wire import Pace

__all__ = ["Pace", "ProjectX", "connect"]
