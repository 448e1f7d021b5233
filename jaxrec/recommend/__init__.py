"""What is done with a trained run: asked for recommendations, written to files, mined for negatives, exported."""

from jaxrec.recommend.recommender import Recommender, load

__all__ = ["Recommender", "load"]
