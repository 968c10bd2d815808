"""Outside brokers: what an adapter must do, and the worker around it, written once for all."""

from ttflow.brokers.base import Broker, NotSent, Report
from ttflow.brokers.keeper import Keeper
from ttflow.brokers.worker import Worker

__all__ = ["Broker", "Keeper", "NotSent", "Report", "Worker"]
