"""Code that the benchmarks share: clients, servers, and measurements of whole processes."""
