"""What the benchmarks share: clients, servers and measuring whole processes."""
