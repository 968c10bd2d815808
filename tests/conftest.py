"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Machines are shared: a pause of theirs is no fault of ours.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
