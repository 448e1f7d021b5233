"""Splits of interactions into train, validation and test."""
