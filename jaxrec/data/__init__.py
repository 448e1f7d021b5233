"""Files become `Interactions`, `Interactions` become a `Split`: numpy and pandas, nothing compiled."""
