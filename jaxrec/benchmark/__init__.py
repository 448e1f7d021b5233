"""Timings side by side, `python scripts/benchmark.py case=…`: ratios of medians, beside peers where one is named."""
