"""Use of trained runs: recommendation, batch files, hard-negative mining, export."""

from jaxrec.recommend.recommender import Recommender, load

__all__ = ["Recommender", "load"]
