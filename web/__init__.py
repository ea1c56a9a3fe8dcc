"""HTTP: requests in, answers out. Nothing here knows SQL or SMTP."""
