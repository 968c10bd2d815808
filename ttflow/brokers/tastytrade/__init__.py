"""tastytrade: stocks, options, futures and coins, over its own HTTP interface and account streamer."""

from ttflow.brokers.tastytrade.adapter import Tastytrade, connect

__all__ = ["Tastytrade", "connect"]
