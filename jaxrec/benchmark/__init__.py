"""Timings side by side, `jaxrec benchmark case=…`: ratios of medians, beside peers where one is named."""
