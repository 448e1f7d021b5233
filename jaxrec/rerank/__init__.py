"""Re-ranking: reorder the candidates of each user for diversity, fairness, freshness or business rules.

Pure jitted functions, independent for each user: they take the scores [B, C] of C candidates with their attributes and
return `order` [B, K], the positions of candidates by rank; a score of -inf marks padding, which is ranked last.
Strengths are traced, one for all users or one each: 0 is the order by score, 1 ignores relevance.
"""
