"""Find out whether mail is going out, and if not, why: for `flask check`, the pages, the probes and Prometheus."""
