"""What the project measures on the machine at hand: `python -m benchmarks`, or `make bench`."""
