"""SQLite: its connection, its write lock, its write-ahead log, backups."""
