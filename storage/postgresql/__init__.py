"""PostgreSQL: its connection, its dialect of SQL, pipelined transactions."""
