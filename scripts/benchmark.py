"""Times a case: `python scripts/benchmark.py case=fit`, `rank`, `sweep` or `start`; see benchmarks/README.md."""

from jaxrec.config import benchmark

if __name__ == "__main__":
    benchmark()
