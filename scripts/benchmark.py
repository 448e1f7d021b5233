"""Times a case: `python scripts/benchmark.py case=fit` (rank, evaluate, sweep, start, mining, samplers, serve)."""

from jaxrec.config import benchmark

if __name__ == "__main__":
    benchmark()
