"""SQLite: connection, write lock, write-ahead log, backups."""
