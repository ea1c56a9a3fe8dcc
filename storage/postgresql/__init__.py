"""PostgreSQL: connection, SQL dialect, pipelined transactions."""
