"""Benchmarks, `jaxrec benchmark case=…`: median timings, optionally compared with another library."""
