import pytest

from jaxrec.report.protocol import LOSSES, protocol
from jaxrec.settings import CONF, read

TREE = {
    "split": {"_target_": "jaxrec.data.splits.split.holdout", "test_fraction": 0.1, "seed": None},
    "loss": {"_target_": "jaxrec.fitting.objective.SampledObjective", "loss": {"_target_": "jaxrec.losses.bpr"}},
    "negatives": {"_target_": "jaxrec.negatives.uniform.Uniform"},
    "eval": {"_target_": "jaxrec.evaluation.full_catalog.FullCatalog"},
    "seed": 7,
}


def test_split_loss_and_seed_are_stated():
    lines = dict(protocol(TREE, {}))
    assert lines["Split"] == "random holdout per user (test_fraction=0.1)"
    assert lines["Loss"] == "BPR, uniform negatives"
    assert lines["Seed"] == "7"
    assert lines["Trained on"] == "training data"
    assert lines["Ranking"] == "full catalog, for each user"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "unknown: the interactions have no times"),
        ({"test_before_last_train": 0.0}, "none: all test interactions are later than the training interactions"),
        ({"test_before_last_train": 0.375}, "37.5% of the test interactions are older than the latest training"),
        ({"test_before_last_train": 0.99999}, "over 99.9% of the test"),
        ({"test_before_last_train": 1.0}, "100% of the test"),
    ],
)
def test_leakage_is_stated(data, text):
    assert dict(protocol(TREE, {"data": data}))["Leakage"].startswith(text)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        ({}, "none: the model has no loss to choose"),
        ({"_target_": "jaxrec.fitting.objective.CatalogObjective"}, "softmax over the full catalog"),
        (
            {"_target_": "x.NextItem", "cost": {"_target_": "x.Sampled", "loss": {"_target_": "x.softmax"}}},
            "sampled softmax",
        ),
        ({"_target_": "x.NextItem", "cost": {"_target_": "x.GBCE", "t": 0.75}}, "generalized binary cross-entropy"),
        ({"_target_": "x.NextItem", "cost": {"_target_": "x.GBCE", "t": 0.0}}, "binary cross-entropy"),
        (
            {"_target_": "x.MaskedItem", "cost": {"_target_": "x.Softmax"}},
            "softmax over the full catalog, at masked items",
        ),
        ({"_target_": "mine.MyLoss"}, "MyLoss"),
    ],
)
def test_losses_have_their_names(loss, text):
    assert dict(protocol({"loss": loss}, {}))["Loss"] == text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"path": None, "n": 99}, "SAMPLED: each test item only among 99 random candidates"),
        ({"path": "lists.csv", "n": 99}, "SAMPLED: each test item only among the given candidates"),
    ],
)
def test_a_ranking_of_candidates_is_stated(settings, text):
    assert dict(protocol({"eval": {"_target_": "x.CandidateEvaluation", **settings}}, {}))["Ranking"] == text


def test_losses_and_samplers_of_conf_are_not_shown_by_their_class():
    for path in (CONF / "loss").glob("*.yaml"):
        content = read(path)
        text = dict(protocol({"loss": content.get("loss", content) if "_target_" not in content else content}, {}))
        shown = text["Loss"].removesuffix(", at masked items")
        assert shown in LOSSES.values() or path.stem == "none", path.stem
    for path in (CONF / "negatives").glob("*.yaml"):
        text = dict(protocol({**TREE, "negatives": read(path)}, {}))["Loss"]
        assert text == ("BPR" if path.stem == "none" else f"BPR, {path.stem.replace('_', ' ')} negatives")
