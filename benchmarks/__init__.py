"""How fast the tap is, beside others and beside what is possible: ``python -m benchmarks``."""
