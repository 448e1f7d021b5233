"""Evaluation of fitted models: rankings and predictions against held-out interactions, by user and group."""
