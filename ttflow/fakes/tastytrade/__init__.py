"""A fake tastytrade: sign-in, orders, brackets, positions and the account streamer, on loopback.

Strict where the broker is: a User-Agent, a token that is good, every field that an order needs, futures that
are bought and others that are opened and closed. Lenient where it is: fields that it doesn't know, numbers
as text. It keeps every order under an `external-identifier` that it has seen before, as the broker does.
"""

from ttflow.fakes.tastytrade.broker import ACCOUNT, Tastytrade, make

__all__ = ["ACCOUNT", "Tastytrade", "make"]
