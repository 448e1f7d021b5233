"""Re-ranking: the candidates of each user in another order, for what relevance alone does not see.

Pure functions, compiled, every user on its own: scores [B, C] of C candidates and what is known of these in, `order`
[B, K] out, positions of candidates by rank; a score of -inf is no candidate and stands behind all that are. Strengths
are traced, one for all users or one each: 0 is the order by score, 1 leaves relevance out.
"""
