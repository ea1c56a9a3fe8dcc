"""Recipients as CSV: the format, reading a file, and importing an upload in the background."""
