"""From data and numbers to parameters, for whole populations at once."""
