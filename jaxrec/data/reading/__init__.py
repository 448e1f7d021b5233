"""Columns in, checked columns out: tables, times, events, labels, quantities, propensities."""
