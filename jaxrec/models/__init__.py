"""One file a family, each a linen module that answers `score` and `score_catalogue` for a `Query`."""
