"""Interactions to train, validation and test."""
