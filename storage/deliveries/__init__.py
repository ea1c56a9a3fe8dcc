"""Deliveries: claiming them, recording their outcomes, listing and retrying them."""
