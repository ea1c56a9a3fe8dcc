"""Values, messages and databases that tests use as input."""
