"""How fast targets are, and whether every digit arrives: ``python -m benchmarks.targets``."""
