"""One module a data set: your own files, public ones, synthetic ones; downloads and the cache of what was read."""
