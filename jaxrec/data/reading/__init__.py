"""Parsing and validation of input columns: tables, times, events, labels, quantities, propensities."""
