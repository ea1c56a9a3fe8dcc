"""The HTTP layer: pages and API. Nothing here depends on SQL or SMTP."""
