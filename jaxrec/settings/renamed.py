"""Current dotted paths of targets that were renamed since jaxrec 0.1.0, for its stored `config.yaml` files."""

from typing import Any

PATHS = {
    "jaxrec.data.complete_journey.complete_journey": "jaxrec.data.sources.complete_journey.complete_journey",
    "jaxrec.data.files.files": "jaxrec.data.sources.files.files",
    "jaxrec.data.movielens.movielens_100k": "jaxrec.data.sources.movielens.movielens_100k",
    "jaxrec.data.movielens_archives.movielens": "jaxrec.data.sources.movielens_archives.movielens",
    "jaxrec.data.new_users.new_users": "jaxrec.data.splits.new_users.new_users",
    "jaxrec.data.online_retail.online_retail": "jaxrec.data.sources.online_retail.online_retail",
    "jaxrec.data.retailrocket.retailrocket": "jaxrec.data.sources.retailrocket.retailrocket",
    "jaxrec.data.sequences.sequences": "jaxrec.data.sources.sequences.sequences",
    "jaxrec.data.session_split.by_session": "jaxrec.data.splits.session_split.by_session",
    "jaxrec.data.split.given": "jaxrec.data.splits.split.given",
    "jaxrec.data.split.global_time": "jaxrec.data.splits.split.global_time",
    "jaxrec.data.split.holdout": "jaxrec.data.splits.split.holdout",
    "jaxrec.data.split.leave_one_out": "jaxrec.data.splits.split.leave_one_out",
    "jaxrec.data.synthetic.synthetic": "jaxrec.data.sources.synthetic.synthetic",
    "jaxrec.evaluation.candidates.Candidates": "jaxrec.evaluation.candidates.CandidateEvaluation",
    "jaxrec.evaluation.full_catalogue.FullCatalogue": "jaxrec.evaluation.full_catalog.FullCatalog",
    "jaxrec.fitting.objective.CatalogueObjective": "jaxrec.fitting.objective.CatalogObjective",
    "jaxrec.fitting.positions.GBCE": "jaxrec.fitting.sequence_losses.GBCE",
    "jaxrec.fitting.positions.Sampled": "jaxrec.fitting.sequence_losses.Sampled",
    "jaxrec.fitting.positions.Softmax": "jaxrec.fitting.sequence_losses.Softmax",
    "jaxrec.models.mf.MatrixFactorisation": "jaxrec.models.mf.MatrixFactorization",
    "jaxrec.negatives.given.Listed": "jaxrec.negatives.given.ListedNegatives",
    "jaxrec.pipeline.retrieval.Candidates": "jaxrec.pipeline.retrieval.CandidateSet",
}


def up_to_date(node: object) -> Any:
    """Return a tree of settings with renamed `_target_` paths replaced."""
    if isinstance(node, dict):
        return {
            key: PATHS.get(value, value) if key == "_target_" and isinstance(value, str) else up_to_date(value)
            for key, value in node.items()
        }
    return type(node)(up_to_date(item) for item in node) if isinstance(node, list | tuple) else node
