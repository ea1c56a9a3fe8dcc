"""The schema: its version, creating and upgrading the tables, and comparing a database with it."""
