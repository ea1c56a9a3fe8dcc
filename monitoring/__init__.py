"""Is mail going out, and if not, why? For `flask check`, the pages, the probes and Prometheus."""
