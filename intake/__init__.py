"""Checking what comes in, wherever it comes from: fields, addresses, CSV files. Nothing here knows HTTP."""
