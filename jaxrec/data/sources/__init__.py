"""Data sets, one module each: own files, public and synthetic data sets; downloads and the cache of prepared data."""
