"""Trainers and objectives: fit the parameters of all members of a population at once."""
