"""Hyperparameter search: search spaces, crash-safe studies, and reports on them."""
