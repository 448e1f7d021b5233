"""Evaluation protocol of a run in a few lines: split, loss, training data and ranking."""

from collections.abc import Mapping

from jaxrec.settings import Tree, choice_of, get

SPLITS = {
    "holdout": "random holdout per user",
    "global_time": "global time split",
    "rolling": "rolling test periods",
    "leave_one_out": "leave-one-out",
    "given": "as given by the files",
    "new_users": "held-out users",
    "by_session": "next item in held-out sessions",
}
LOSSES = {
    "bpr": "BPR",
    "bce": "binary cross-entropy",
    "softmax": "sampled softmax",
    "logistic": "logistic loss",
    "squared_error": "squared error",
    "CatalogObjective": "softmax over the full catalog",
    "Softmax": "softmax over the full catalog",
    "Sampled": "sampled softmax",
    "GBCE": "generalized binary cross-entropy",
    "bsl": "bilateral softmax loss",
    "psl": "pairwise softmax loss",
    "slatk": "SL@K",
    "ccl": "cosine contrastive loss",
    "AlignmentAndUniformity": "DirectAU",
    "Reconstruction": "reconstruction of the user's items",
    "CompositePrior": "reconstruction of the user's items, composite prior",
}


def protocol(tree: Tree, metrics: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return names and values for the head of a page; missing settings are left out."""
    data = metrics.get("data")
    lines = {
        "Split": _split(tree),
        "Loss": _loss(tree),
        "Seed": str(get(tree, "seed", "")),
        "Trained on": "training and validation data" if metrics.get("refit") else "training data",
        "Ranking": _ranking(tree),
        "Leakage": _leakage(data.get("test_before_last_train") if isinstance(data, Mapping) else None),
    }
    return [(name, text) for name, text in lines.items() if text]


def _split(tree: Tree) -> str:
    name = _name(get(tree, "split._target_", ""))
    settings = {key: value for key, value in get(tree, "split", {}).items() if not key.startswith("_")}
    options = ", ".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    return SPLITS.get(name, name) + (f" ({options})" if options else "")


def _loss(tree: Tree) -> str:
    for key in ("loss.loss._target_", "loss.cost.loss._target_", "loss.cost._target_", "loss._target_"):
        if name := _name(get(tree, key, "")):
            loss = "bce" if name == "GBCE" and get(tree, "loss.cost.t", None) == 0 else name
            at = ", at masked items" if _name(get(tree, "loss._target_", "")) == "MaskedItem" else ""
            sampler = get(tree, "negatives", {})
            negatives = choice_of("negatives", sampler).replace("_", " ") if "_target_" in sampler else ""
            return LOSSES.get(loss, loss) + at + (f", {negatives} negatives" if negatives else "")
    return "none: the model has no loss to choose" if "loss" in tree else ""


def _ranking(tree: Tree) -> str:
    is_full = _name(get(tree, "eval._target_", "")) != "CandidateEvaluation"
    each = "at each step of a session" if _name(get(tree, "split._target_", "")) == "by_session" else "for each user"
    if is_full:
        return f"full catalog, {each}"
    n = get(tree, "eval.n", "")
    listed = "the given" if get(tree, "eval.path") is not None else f"{n} random".strip()
    return f"SAMPLED: each test item only among {listed} candidates"


def _leakage(share: float | None) -> str:
    if share is None:
        return "unknown: the interactions have no times"
    if not share:
        return "none: all test interactions are later than the training interactions"
    percentage = "over 99.9" if 0.999 < share < 1 else f"{100 * share:.3g}"
    return f"{percentage}% of the test interactions are older than the latest training interaction"


def _name(target: str) -> str:
    return str(target).rpartition(".")[2]
