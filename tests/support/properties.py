"""How Hypothesis runs here."""

from hypothesis import HealthCheck, settings

# However busy the machine is, an example that takes long is no failure.
AT_ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
