"""Pipelines of three stages on a small shop: candidates, scoring, re-ranking, choices on validation, and errors."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec import launch
from jaxrec.bootstrap import mean_and_interval
from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.errors import InputError
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.pipeline import run as pipeline_run
from jaxrec.pipeline.list_evaluator import ListResults
from jaxrec.pipeline.pipeline import WEIGHT, Pipeline, Run, Stages, choose_value, curve, stage_table
from jaxrec.pipeline.retrieval import CandidateSet, PopularOfCategories, overlap, union
from jaxrec.query import Query
from jaxrec.rerank.steps import Available, Cap, Mmr
from jaxrec.serve.limits import Limits
from jaxrec.serve.programs import Row
from jaxrec.serve.service import Service
from jaxrec.settings import build

USERS, ITEMS, CATEGORIES = 120, 60, 4


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Purchases with times; two of three purchases of a user are in one category."""
    folder, rng = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    category = rng.integers(0, CATEGORIES, ITEMS)
    taste = rng.integers(0, CATEGORIES, USERS)
    weight = np.where(category == taste[:, None], 6.0, 1.0) / np.arange(1, ITEMS + 1) ** 0.5
    item = np.stack([rng.choice(ITEMS, 14, replace=False, p=w / w.sum()) for w in weight])
    time = 1_600_000_000 + rng.integers(0, 86_400 * 90, item.size)
    frame = pd.DataFrame({"user_id": np.repeat(range(USERS), 14), "item_id": item.ravel(), "time": time})
    frame.to_csv(folder / "purchases.csv", index=False)
    names = np.array(["hats", "shoes", "gloves", "socks"])[category]
    stock = np.where(np.arange(ITEMS) % 5 == 0, "no", "yes")
    items = pd.DataFrame({"item_id": range(ITEMS), "kind": names, "price": rng.gamma(2, 10, ITEMS), "stock": stock})
    items.to_csv(folder / "items.csv", index=False)
    items.rename(columns={"kind": "category"}).to_csv(folder / "labeled.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def runs(shop, compose):
    """Runs of EASE, item neighbors and matrix factorization on one split, and of EASE on another."""
    data = ("data=files", f"data.path={shop / 'purchases.csv'}", "data.time_column=time")
    data += (f"data.item_features={shop / 'items.csv'}", "data.categorical=[kind,stock]")
    eval_ = ("eval.k=[5,10]", "eval.category=kind")
    made = {
        "ease": ("model=ease", "model.regularization=20.0"),
        "mf": ("trainer.epochs=3", "trainer.batch_size=256", "model.embedding_dim=8", "optimizer.learning_rate=0.03"),
        "knn": ("model=item_knn",),
        "other": ("model=ease", "split.seed=5"),
        "labeled": (
            *("model=ease", f"data.item_features={shop / 'labeled.csv'}", "data.categorical=[category,stock]"),
            "eval.category=null",
        ),
    }

    class Runs(dict):
        """Directory and metrics of runs by name, each trained at first use."""

        def __missing__(self, name):
            result = launch.run(compose(*data, *eval_, *made[name]), shop / name)
            self[name] = (shop / name, result.metrics)
            return self[name]

    return Runs()


@pytest.fixture(scope="module")
def tree(compose_pipeline, runs):
    return lambda *more: compose_pipeline(
        f"run={runs['ease'][0]}", "candidates.n=40", "items.category=kind", "items.available=stock", *more
    )


@pytest.fixture(scope="module")
def compose_pipeline(compose):
    """Compose a pipeline configuration as the command line does."""
    import hydra

    from jaxrec.config import plain

    return lambda *overrides: {k: v for k, v in plain(hydra.compose("pipeline", list(overrides))).items() if k != "out"}


def opened(tree, runs, steps=None, second=None, **changes):
    node = tree()
    given = {"candidates": build(node["candidates"]), "weight": 1.0, "steps": steps or {}, "k": 10}
    return Pipeline(Run.open(runs["ease"][0]), second, facts=build(node["items"]), **given | changes)


@pytest.mark.whole
def test_single_stages_equal_their_runs(tree, runs):
    everything = CandidateSet(n=ITEMS)
    pipeline = opened(tree, runs, second=Run.open(runs["knn"][0]), candidates=everything)
    split = pipeline.run.split()
    done = pipeline.evaluate(pipeline.stages(split.test, split), {})
    for stage, name in (("first stage", "ease"), ("+ scoring", "knn")):
        for key in ("ndcg@10", "recall@10", "hit_rate@10", "coverage@10", "calibration_error@10"):
            assert done[stage].means()[key] == pytest.approx(runs[name][1]["test"][key], abs=1e-6), (stage, key)


def relevances(scores):
    return (scores - scores.min()) / (scores.max() - scores.min())


@pytest.mark.slow
def test_a_weight_of_one_half_averages_the_relevance_of_both_models(tree, runs):
    pipeline = opened(tree, runs, second=Run.open(runs["mf"][0]), weight=0.5)
    split = pipeline.run.split()
    stages = pipeline.stages(split.test, split)
    (items, ease), (mixed_items, mixed) = stages.first, stages.scored(0.5)
    user = 3
    asked = ground_truth(split.test).queries
    mf = dict(zip(items[user], relevances(pipeline.second.fitted.score(asked, items)[user]), strict=True))
    expected = dict(zip(items[user], 0.5 * relevances(ease[user]) + 0.5 * np.array(list(mf.values())), strict=True))
    np.testing.assert_allclose(mixed[user], [expected[i] for i in mixed_items[user]], rtol=1e-5)
    assert (np.diff(mixed[user]) <= 0).all()


@pytest.mark.whole
def test_rules_hold_in_every_list(tree, runs, shop):
    steps = {"available": Available(), "mmr": Mmr(0.3), "cap": Cap(3)}
    pipeline = opened(tree, runs, steps)
    split = pipeline.run.split()
    done = pipeline.evaluate(pipeline.stages(split.test, split), {})
    table = pd.read_csv(shop / "items.csv").set_index("item_id").loc[split.test.known.item_ids]
    lists = done["+ re-ranking"].lists
    assert (table.stock.to_numpy()[lists[lists >= 0]] == "yes").all()
    assert not (table.stock.to_numpy()[done["first stage"].lists] == "yes").all()
    kinds = pd.factorize(table.kind)[0]
    for list_ in lists:
        assert np.bincount(kinds[list_[list_ >= 0]]).max() <= 3
    assert (lists >= 0).any(axis=1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["labeled", "mf", "ease"])  # similarity by categories, by the model, by common users
def test_diverse_lists_of_server_and_pipeline_are_equal(compose_pipeline, runs, name):
    tree = compose_pipeline(f"run={runs[name][0]}", "candidates.n=40")
    run, steps = Run.open(runs[name][0]), {"mmr": Mmr(0.4)}
    facts, candidates = build(tree["items"]), build(tree["candidates"])
    pipeline = Pipeline(run, None, candidates=candidates, weight=1.0, steps=steps, facts=facts, k=10)
    split = run.split()
    done = pipeline.evaluate(pipeline.stages(split.test, split), {})
    plain, diverse = done["first stage"], done["+ re-ranking"]
    assert (plain.lists != diverse.lists).any(axis=1).mean() > 0.5
    service = Service.of(run.recommender, Limits(candidates=40, max_k=10), "shop")
    had = [run.known.items[run.known.offsets[user] : run.known.offsets[user + 1]] for user in diverse.users[:8]]
    rows = [Row(int(u), items, items, 10, diversity=0.4) for u, items in zip(diverse.users, had, strict=False)]
    assert [listed.items for listed in service.programs(rows)] == diverse.lists[:8].tolist()


def test_candidates_of_several_sources_are_distinct_unknown_to_the_user_and_scored_by_the_model(tree, runs):
    sources = CandidateSet(n=12, popular=15, category=15, window_days=40.0)
    pipeline = opened(tree, runs, candidates=sources)
    split = pipeline.run.split()
    stages = pipeline.stages(split.test, split)
    items, scores = stages.first
    assert items.shape[1] > 15
    whole = opened(tree, runs, candidates=CandidateSet(n=ITEMS)).stages(split.test, split).first
    known = split.test.known
    users = ground_truth(split.test).queries.users
    for row, user in enumerate(users):
        mine = items[row][items[row] >= 0]
        assert len(set(mine)) == len(mine)
        assert not set(mine) & set(known.item[known.user == user])
        assert set(whole[0][row, :12]) <= set(mine)
        of_all = dict(zip(whole[0][row], whole[1][row], strict=True))
        np.testing.assert_allclose(scores[row][: len(mine)], [of_all[i] for i in mine], rtol=1e-4, atol=1e-5)


def test_an_index_that_searches_all_lists_is_exact_and_others_report_recall(tree, runs):
    pytest.importorskip("faiss", reason="needs the extra ann")
    mf = Run.open(runs["mf"][0])
    split = mf.split()
    found = {}
    for probes in (3, 6):
        sources = CandidateSet(n=20, search="faiss", lists=6, probes=probes)
        pipeline = opened(tree, runs, candidates=sources)
        pipeline.run = mf
        stages = pipeline.stages(split.test, split)
        found[probes] = stages.first[0], stages.candidate_statistics["recall of faiss against exact"]
    exact = mf.fitted.rank(ground_truth(split.test).queries, 20)[0]
    assert (np.sort(found[6][0]) == np.sort(exact)).all()
    assert found[6][1] == 1
    assert 0.1 < found[3][1] < 1


def test_union_and_overlap():
    made = union([np.array([[3, 1, -1], [2, 5, 7]]), np.array([[1, 4], [9, 2]])])
    assert made.tolist() == [[3, 1, 4, -1], [2, 5, 7, 9]]
    assert overlap(np.array([[1, 2], [4, -1]]), np.array([[2, 3], [1, 4]])) == 0.5


def test_scores_of_two_models_are_mixed_by_relevance():
    items, first = np.array([[3, 1, 2, -1]]), np.array([[4.0, 3.0, 0.0, -np.inf]], np.float32)  # 1, 3/4, 0
    stages = Stages((items, first), np.array([[0.0, 5.0, 10.0, -np.inf]], np.float32), None, {})  # 0, 1/2, 1
    for weight, order, scores in (
        (0.0, [3, 1, 2], [4, 3, 0]),
        (0.25, [3, 1, 2], [0.75, 0.25 * 0.5 + 0.75 * 0.75, 0.25]),
        (0.75, [2, 1, 3], [0.75, 0.75 * 0.5 + 0.25 * 0.75, 0.25]),
        (1.0, [2, 1, 3], [10, 5, 0]),
    ):
        found = stages.scored(weight)
        assert found[0].tolist() == [[*order, -1]]
        np.testing.assert_allclose(found[1], [[*scores, -np.inf]], rtol=1e-6)


def test_popular_candidates_are_counted_in_the_window_and_weighted_by_categories():
    time = np.array([10, 14, 16, 18, 20]) * DAY
    target = np.arange(5) < 4  # the latest purchase is on day 18
    known = Interactions(
        np.zeros(5, np.int32), np.array([0, 1, 1, 2, 2], np.int32), None, time, None, np.arange(1), np.arange(3)
    )
    assert CandidateSet(window_days=5.0)._counts(replace(known, target=target)).tolist() == [0, 2, 1]
    assert CandidateSet()._counts(known).tolist() == [1, 2, 2]
    model = PopularOfCategories(n_users=1, most_of_user=2, n_items=3, most_of_item=2, n_categories=2)
    params = {"own": [[1, 2]], "shares": [[0.75, 0.25]], "codes": [[1, 0], [1, 2], [0, 0]], "counts": [4.0, 10.0, 9.0]}
    of_model = {"params": {name: jnp.asarray(values) for name, values in params.items()}}
    found = jax.jit(lambda p: model.apply(p, Query(jnp.array([0])), method="score_catalog"))(of_model)
    np.testing.assert_allclose(found, [[0.75 * 4, (0.75 + 0.25) / 2 * 10, 0]])


@pytest.mark.parametrize(
    ("knob", "without", "steps"), [("mmr.strength", {}, [0, 1, 1]), (WEIGHT, {WEIGHT: 0.0}, [1, 1, 1])]
)
def test_a_curve_is_of_validation_and_starts_without_what_is_varied(knob, without, steps):
    class Spy:
        steps = {"mmr": Mmr(0.3)}  # noqa: RUF012

        def stages(self, held, split):
            return held

        def lists(self, stages, knobs, steps):
            return SimpleNamespace(means=lambda: {"held": stages, "knobs": knobs, "steps": len(steps)})

    split = SimpleNamespace(test="test", selection=SimpleNamespace(validation="validation"))
    table = curve(Spy(), split, knob, [0.5, 1.0])
    assert table["held"].tolist() == ["validation"] * 3
    assert table["knobs"].tolist() == [without, {knob: 0.5}, {knob: 1.0}]
    assert table["steps"].tolist() == steps


@pytest.mark.whole
def test_the_script_chooses_on_validation_and_writes_a_page(tree, runs, tmp_path):
    settings = tree("rerank=mmr", "tradeoff=mmr", "keep=0.5", "values=[0.0,0.4,0.8]")
    done = pipeline_run.run(settings, tmp_path)
    curve = pd.read_csv(tmp_path / "tradeoff.csv")
    assert curve["mmr.strength"].tolist()[1:] == [0.0, 0.4, 0.8]
    assert np.isnan(curve["mmr.strength"][0])
    # Strength 0 is no re-ranking: these are the validation metrics of the run.
    pd.testing.assert_series_equal(curve.iloc[0, 1:], curve.iloc[1, 1:], check_names=False, rtol=1e-6)
    assert curve["ndcg@10"][0] == pytest.approx(runs["ease"][1]["validation"]["ndcg@10"], abs=1e-6)
    assert curve["diversity@10"].is_monotonic_increasing
    written = json.loads((tmp_path / "pipeline.json").read_text())
    (strength,) = written["chosen on validation"].values()
    kept = curve.iloc[1:][curve.iloc[1:]["ndcg@10"] >= 0.5 * curve["ndcg@10"][0]]
    assert kept.set_index("mmr.strength")["diversity@10"][strength] == kept["diversity@10"].max()
    stages = pd.read_csv(tmp_path / "stages.csv").set_index("stage")
    assert stages.loc["first stage", "ndcg@10"] == pytest.approx(runs["ease"][1]["test"]["ndcg@10"], abs=1e-6)
    assert stages.loc["+ re-ranking", "ndcg@10"] == pytest.approx(done["+ re-ranking"].means()["ndcg@10"])
    page = (tmp_path / "report.html").read_text()
    assert "chosen on validation" in page
    assert "All values are on validation data" in page
    assert page.count("after re-ranking") == 3  # lists of three users


@pytest.mark.slow
def test_the_weight_of_a_second_model_is_chosen_on_validation(tree, runs, tmp_path):
    mf = [f"scoring.run={runs['mf'][0]}", "scoring=model", "candidates.n=60"]
    settings = tree(*mf, "tradeoff=scoring", "keep=0.9", "values=[0.0,0.25,0.5,1.0]")
    done = pipeline_run.run(settings, tmp_path)
    curve = pd.read_csv(tmp_path / "tradeoff.csv").set_index("scoring.weight")["ndcg@10"]
    validation = {name: metrics["validation"]["ndcg@10"] for name, (_, metrics) in runs.items()}
    # Alone, each model is its run.
    assert curve.iloc[0] == pytest.approx(validation["ease"], abs=1e-6)
    assert curve[0.0] == pytest.approx(validation["ease"], abs=1e-6)
    assert curve[1.0] == pytest.approx(validation["mf"], abs=1e-6)
    written = json.loads((tmp_path / "pipeline.json").read_text())
    assert written["chosen on validation"] == {"scoring.weight": curve.iloc[1:].idxmax()}
    chosen_weight = curve.iloc[1:].idxmax()
    by_hand = pipeline_run.run(tree(*mf, f"scoring.weight={chosen_weight}"), tmp_path / "by hand")
    assert done["+ scoring"].means() == by_hand["+ scoring"].means()
    page = (tmp_path / "report.html").read_text()
    assert "gray is the first model alone" in page
    assert "NDCG@10 by scoring.weight" in page


@pytest.mark.slow
def test_columns_of_a_file_are_added_and_override_those_of_the_data(tree, runs, shop, tmp_path):
    items = pd.read_csv(shop / "items.csv")
    colors = items.item_id.map(lambda item: ["red", "blue"][item % 2])
    changed = pd.DataFrame({"item_id": items.item_id, "color": colors, "stock": "yes"})
    changed[5:].to_csv(tmp_path / "more.csv", index=False)  # five items are not in the file
    node = tree(f"items.file={tmp_path / 'more.csv'}", "items.category=color", "items.without=[red]")["items"]
    run = Run.open(runs["ease"][0])
    split = run.split()
    found = build(node)(split.test, split.selection.train, run.recommender)
    assert found.categories == ("blue", "red")
    ids = run.ids[1].astype(int)
    expected = np.where(ids[:, None] < 5, 0.0, np.stack([ids % 2 == 1, ids % 2 == 0], axis=1))
    np.testing.assert_array_equal(found.items.mixes[jnp.arange(len(ids))], expected)
    np.testing.assert_array_equal(found.items.available, (ids >= 5) & (ids % 2 == 1))
    changed.assign(item_id=900).drop_duplicates("item_id").to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(InputError, match=r"none of the .* item ids of .* is in items.file=.*none.csv: .* has '900'"):
        pipeline_run.run(tree(f"items.file={tmp_path / 'none.csv'}"), tmp_path)


def test_intervals_of_stages_resample_all_rows_of_a_user_together():
    values, users = np.array([0.0, 0.2, 0.7, 1.0]), np.repeat(np.arange(4), 10)
    stages = {
        name: ListResults({"ndcg@5": of_user[users]}, {}, np.zeros((40, 5), int), users)
        for name, of_user in (("first stage", values), ("+ scoring", values**2))
    }
    table = stage_table(stages, "ndcg@5").iloc[1]
    expected = *mean_and_interval(values**2)[1:], *mean_and_interval(values**2 - values)
    columns = ["ndcg@5 low", "ndcg@5 high", "difference", "difference low", "difference high"]
    assert tuple(table[columns]) == pytest.approx(expected)


def test_the_best_value_that_keeps_enough_is_chosen():
    table = pd.DataFrame(
        {"s": [np.nan, 0, 1, 2, 3], "q": [1.0, 1.0, 0.96, 0.95, 0.8], "gini@10": [0.9, 0.9, 0.7, 0.8, 0.1]}
    )
    assert choose_value(table, "s", "gini@10", "q", 0.95) == 1
    assert choose_value(table, "s", "gini@10", "q", 0.5) == 3
    table["diversity@10"] = [0.1, 0.1, 0.2, 0.2, 0.9]
    assert choose_value(table, "s", "diversity@10", "q", 0.9) == 1  # of equal values, the one with the higher NDCG
    assert choose_value(table.iloc[[0, 1, 3, 2, 4]], "s", "diversity@10", "q", 0.9) == 1  # in any order
    with pytest.raises(InputError, match="no value of s keeps that share"):
        choose_value(table.iloc[[0, 4]], "s", "gini@10", "q", 0.9)  # of the baseline, not of the best value
    with pytest.raises(InputError, match="no value of s keeps that share"):
        choose_value(table, "s", "gini@10", "q", 1.01)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["rerank=mmr", "rerank.mmr.strength=2.0"], "rerank.mmr.strength=2.0: must be"),
        (["tradeoff=mmr"], "unknown step mmr"),
        (["rerank=mmr", "tradeoff=mmr.weight"], "unknown number; the step has mmr.strength"),
        (["tradeoff=scoring.weight"], "tradeoff=scoring.weight needs a second model"),
        (["rerank=mmr", "tradeoff=mmr", "metric=fame@10"], "metric=fame@10 is not available"),
        (["rerank=cap", "items.category=null"], "calibration and cap need item categories"),
        (["items.category=color"], "no such column in the item features"),
        (["items.without=[ties]"], "not a category of items.category=kind; available: gloves, hats"),
        (["items.available=kind"], "is not yes/no"),
        (["items.without=[hats]", "items.category=null"], "needs categories: set items.category to their column"),
        (["k=true"], "k=True: must be a valid integer"),
        (["k=0"], "k=0: must be greater than 0"),
        (["keep=most"], "keep='most': must be a valid number"),
        (["keep=2"], "keep=2: must be less than or equal to 1"),
        (["metric=5"], "metric=5: must be a valid string"),
        (["tradeoff=5"], "tradeoff=5: must be a valid string"),
        (["values=0.5"], r"values=0.5: must be a list, e.g. \[0.5\]"),
        (["values=[]"], r"values=\[\]: must be a longer list"),
        (["values=[a]"], r"values=\[a\]: must be a valid number"),
        (["values=[nan]"], "must be a finite number"),
        (["rerank=mmr", "tradeoff=mmr", "values=[0,2]"], "values: rerank.mmr.strength=2: must be less than or equal"),
        (["tradeoff=scoring", "scoring=model", "scoring.run=x", "values=[-1]"], "values: scoring.weight=-1: must be"),
        (["scoring.weight=2"], "scoring.weight=2: must be less than or equal to 1"),
        (["candidates.n=61"], "candidates.n=61 exceeds the 60 items of the catalog: set candidates.n=60 or less"),
        (["candidates.n=5"], "k=10 exceeds the 5 candidates"),
        (
            ["rerank=[available,mmr]", "items.available=null", "items.without=[]"],
            "rerank=available has no effect: set items.available to a yes/no column",
        ),
        (["items.target={head: 0.5, tail: 0.6}"], "sum to 1"),
        (["items.vectors=model"], "has no item vectors"),
    ],
)
def test_impossible_settings_are_errors(tree, tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        pipeline_run.run(tree(*more), tmp_path)


def test_a_file_of_items_needs_decimal_points(tree, tmp_path):
    (tmp_path / "commas.csv").write_text('item_id,price\n1,"3,5"\n')
    with pytest.raises(InputError, match=r"commas.csv, column 'price', .* '3,5': write them with decimal points$"):
        pipeline_run.run(tree(f"items.file={tmp_path / 'commas.csv'}"), tmp_path)


def test_runs_that_do_not_fit_are_refused(tree, runs, tmp_path):
    with pytest.raises(InputError, match="or another split than"):
        pipeline_run.run(tree("scoring=model", f"scoring.run={runs['other'][0]}"), tmp_path)
    for name, was, now, message in (
        ("refit", "refit: false", "refit: true", "strengths cannot be chosen on"),
        ("moved", "  seed: 0", "  seed: 9", "the data has changed"),
    ):
        shutil.copytree(runs["ease"][0], tmp_path / name)
        config = tmp_path / name / "config.yaml"
        assert was in config.read_text()
        config.write_text(config.read_text().replace(was, now))
        with pytest.raises(InputError, match=message):
            pipeline_run.run(tree(f"run={tmp_path / name}", "rerank=mmr", "tradeoff=mmr"), tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        pipeline_run.run(tree(f"run={tmp_path}"), tmp_path)
