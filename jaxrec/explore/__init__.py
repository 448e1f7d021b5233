"""Data exploration before training: interactions → summary tables → charts → one HTML page."""
