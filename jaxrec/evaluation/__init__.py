"""What a fitted model is worth: rankings and predictions against held-out interactions, by user and group."""
