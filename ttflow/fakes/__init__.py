"""Fakes: local servers that speak each broker's wire protocol, so that everything can be tried without one.

Each module here is named as its broker is, and has `make() -> ttflow.fakes.server.Fake`. A fake is strict
where its broker is strict and lenient where it is lenient; it says nothing about what the broker really does.
"""
