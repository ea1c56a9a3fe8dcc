"""HTTP: requests in, answers out. Nothing here knows SQL or SMTP."""

__version__ = "1.0.0"  # as in pyproject.toml
