"""Multi-stage recommendation: candidate generation, scoring, re-ranking, and evaluation of each stage."""
