"""Check all input, whatever its source: fields, addresses, CSV files. Nothing here depends on HTTP."""
