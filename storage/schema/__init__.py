"""The schema: its version, creating and upgrading the tables, comparing what a database has with it."""
