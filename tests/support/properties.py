"""Settings for Hypothesis."""

from hypothesis import HealthCheck, settings

# On a busy machine, a slow example is not a failure.
AT_ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
