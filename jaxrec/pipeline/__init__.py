"""From scores to lists: candidates → a second model → re-ranking, and what each stage keeps, costs and buys."""
