"""The Python API: the same data, settings, numbers and messages as the command line."""

import json
import typing
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import jaxrec
from jaxrec import launch
from jaxrec.api.recipe import Recipe
from jaxrec.api.trained_model import TrainedModel
from jaxrec.errors import InputError
from jaxrec.models import Factorized
from jaxrec.models.bert4rec import BERT4Rec
from jaxrec.models.sasrec import SASRec
from jaxrec.recommend.recommender import Recommender
from jaxrec.statistics import estimate
from tests.planted import PLANTED

SHORT = {"trainer.epochs": 2, "trainer.batch_size": 512}


@pytest.fixture(scope="module")
def data():
    options = dict(text.removeprefix("data.").split("=") for text in PLANTED[1:])
    return jaxrec.datasets.synthetic(**{name: int(value) for name, value in options.items()})


@pytest.fixture(scope="module")
def split(data):
    return jaxrec.split(data, "holdout")


@pytest.fixture(scope="module")
def model(split):
    return jaxrec.fit(split, "mf", overrides=SHORT, verbose=False)


@pytest.fixture(scope="module")
def ease(split):
    return jaxrec.fit(split, "ease", verbose=False)


def test_rows_that_were_left_out_are_named(capsys):
    """When the data is shown, and when a model is trained, as on the command line."""
    user = np.array([f"u{i % 6}" for i in range(138)], object)
    user[:2] = None
    frame = pd.DataFrame({"user_id": user, "item_id": np.arange(138) % 23})
    data = jaxrec.Dataset(frame)
    assert "136 interactions; read: 2 rows without a user (missing, empty or -1), dropped)" in repr(data)
    parts = jaxrec.split(data, "leave_one_out")
    assert capsys.readouterr().out == ""
    jaxrec.fit(parts, "popularity", verbose=False)
    assert capsys.readouterr().out == ""
    jaxrec.fit(parts, "popularity")
    assert "  read: 2 rows without a user (missing, empty or -1), dropped\n" in capsys.readouterr().out
    jaxrec.search(parts, "item_knn", n_trials=1)
    assert "  read: 2 rows without a user (missing, empty or -1), dropped\n" in capsys.readouterr().out


def test_a_fit_has_the_numbers_of_the_command_line(model, planted_run):
    directory = planted_run(*(f"{key}={value}" for key, value in SHORT.items()))
    metrics = json.loads((directory / "metrics.json").read_text())
    for part in ("validation", "test", "popularity"):
        assert model.metrics[part] == pytest.approx(metrics[part], abs=1e-12)


def test_a_saved_model_is_the_run_directory_of_the_command_line(model, tmp_path):
    directory = model.save(tmp_path / "run")
    names = {path.name for path in directory.iterdir()}
    assert names == {"config.yaml", "metrics.json", "per_user.parquet", "history.csv", "model", "report.html"}
    loaded = jaxrec.load(directory)
    users = loaded.user_ids[:5]
    pd.testing.assert_frame_equal(loaded.recommend(users, k=3), model.recommend(users, k=3))
    assert loaded.metrics["test"] == pytest.approx(model.metrics["test"])
    assert loaded.config["trainer"]["epochs"] == 2
    assert repr(loaded) == repr(model)
    with pytest.raises(jaxrec.InputError, match="already holds a run"):
        model.save(directory)
    copied = jaxrec.load(loaded.save(tmp_path / "copy"))
    pd.testing.assert_frame_equal(copied.recommend(users, k=3), model.recommend(users, k=3))


def test_lists_of_values_are_members_in_the_order_of_their_product(split, ease):
    strengths, seeds = [1.0, ease.config["model"]["regularization"]], [1, 2]
    found = jaxrec.fit(split, "ease", overrides={"model.regularization": strengths, "seed": seeds}, verbose=False)
    settings = [(each.config["model"]["regularization"], each.config["seed"]) for each in found]
    assert settings == [(strength, seed) for strength in strengths for seed in seeds]
    # The third and fourth have the defaults of `ease`, which was fitted alone.
    values = [each.metrics["validation"]["ndcg@10"] for each in found]
    assert values[2:] == pytest.approx([ease.metrics["validation"]["ndcg@10"]] * 2, abs=1e-6)
    assert values[:2] != pytest.approx(values[2:], abs=1e-3)


def test_evaluate_agrees_with_the_run_and_pairs_differences_by_user(split, model, ease):
    table = jaxrec.evaluate({"mf": model, "ease": ease}, split.test, k=(5, 10)).set_index(["model", "metric"])
    for name, each in (("mf", model), ("ease", ease)):
        for key in ("ndcg@10", "recall@5", "coverage@10"):
            assert table.loc[(name, key), "value"] == pytest.approx(each.metrics["test"][key], abs=1e-6)
    joined = model.per_user.merge(ease.per_user, on="user_id")
    expected = (joined["ndcg@10_y"] - joined["ndcg@10_x"]).mean()
    row = table.loc[("ease", "ndcg@10")]
    assert row["difference"] == pytest.approx(expected, abs=1e-6)
    assert row["difference_low"] < expected < row["difference_high"]
    assert np.isnan(table.loc[("mf", "ndcg@10"), "difference"])
    other = jaxrec.split(jaxrec.datasets.synthetic(n_users=50, n_items=20, n_interactions=500), "holdout")
    with pytest.raises(jaxrec.InputError, match="model mf was trained on other data"):
        jaxrec.evaluate({"mf": model}, other.test, k=(5,))


def test_a_model_is_not_evaluated_on_what_it_was_trained_on(data, split, ease):
    """A model of another split knows held-out items; the validation of its own split is no leak."""
    assert len(jaxrec.evaluate(ease, split.selection.validation, k=(5,))) == 8
    other = jaxrec.split(data, "holdout", seed=1)
    known = {(u, i) for part in (split.selection.train, split.selection.validation.target) for u, i in _pairs(part)}
    n_known = sum(pair in known for pair in _pairs(other.test.target))
    with pytest.raises(InputError, match=f"model ease was trained on another split: {n_known:,} of"):
        jaxrec.evaluate({"ease": ease}, other.test, k=(5,))
    with pytest.raises(InputError, match="model model was trained on another split"):
        jaxrec.evaluate(ease, other.selection.validation, k=(5,))


def _pairs(part):
    return list(zip(part.user.tolist(), part.item.tolist(), strict=True))


@pytest.mark.slow
def test_evaluate_takes_a_list_of_seeds(split, model, ease):
    seeds = jaxrec.fit(split, "mf", overrides=SHORT | {"seed": [1, 2, 3]}, verbose=False)
    table = jaxrec.evaluate({"ease": ease, "mf": [*seeds, None]}, split.test, k=(10,), metrics=["ndcg", "recall"])
    row = table.set_index(["model", "metric"]).loc[("mf", "ndcg@10")]
    values = np.stack([each.per_user["ndcg@10"].to_numpy(float) for each in seeds])
    expected = estimate(values, ease.per_user[["ndcg@10"]].to_numpy(float).T)
    assert row["seeds"] == 3
    assert row["sd"] == pytest.approx(values.mean(axis=1).std(ddof=1), rel=1e-4)
    assert row["p"] == pytest.approx(expected.p_value(), rel=1e-3)
    assert [row["difference_low"], row["difference_high"]] == pytest.approx(expected.interval(), abs=1e-5)
    assert table["model"].tolist() == ["ease"] * 2 + ["mf"] * 2
    single = jaxrec.evaluate({"mf": seeds[0], "ease": ease}, split.test, k=(10,)).set_index(["model", "metric"])["sd"]
    assert np.isnan(single["mf", "ndcg@10"])
    assert single["ease", "ndcg@10"] == 0
    wide = jaxrec.fit(split, "mf", overrides=SHORT | {"model.embedding_dim": 8, "seed": 2}, verbose=False)
    for models, message in (
        ([seeds[0], wide], r"the models of mf differ in model\.embedding_dim: a list holds the same settings"),
        ([seeds[0], model], "the models of mf have the same seed 1: train each with another seed"),
        ([None], "models has no model for mf"),
    ):
        with pytest.raises(jaxrec.InputError, match=message):
            jaxrec.evaluate({"mf": models}, split.test, k=(10,))
    with pytest.raises(jaxrec.InputError, match="pass a list of seeds"):
        jaxrec.fit(split, "mf", overrides={"seeds": 3})


def first_hit(hits, n_relevant, weight=1.0):
    """A metric: 1 for lists whose first item is a hit, else 0."""
    return weight * hits[:, 0].astype(jnp.float32)


@pytest.mark.slow
def test_user_defined_metrics_are_functions(split, ease):
    model = jaxrec.fit(split, "ease", metrics=["ndcg", "rbp(p=0.5)", first_hit], verbose=False)
    name = f"{__name__}.first_hit@10"
    assert {"ndcg@10", "rbp(p=0.5)@10", name} <= model.metrics["test"].keys()
    table = jaxrec.evaluate(ease, split.test, k=(1, 10), metrics=["ndcg", "hit_rate", first_hit])
    values = table.set_index("metric")["value"]
    assert values[name] == pytest.approx(values["hit_rate@1"])
    assert values["ndcg@10"] == pytest.approx(ease.metrics["test"]["ndcg@10"], abs=1e-6)
    with pytest.raises(jaxrec.InputError, match="unknown metric magic"):
        jaxrec.fit(split, "ease", metrics=["ndcg", "magic"])


SPACE = {"optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}, "model.embedding_dim": [4, 8]}


@pytest.mark.slow
def test_a_search_has_the_trials_of_the_command_line(split, compose, tmp_path):
    found = jaxrec.search(split, "mf", space=SPACE, n_trials=4, population=2, overrides=SHORT, verbose=False)
    overrides = [*PLANTED, *(f"{key}={value}" for key, value in SHORT.items())]
    tree = compose(*overrides, "sweep.n_trials=4", "sweep.population=2")
    space = SPACE | {"model.embedding_dim": {"choices": [4, 8]}}
    result = launch.sweep(tree, space, lambda more: compose(*overrides, *more), [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert found.trials["value"].tolist() == pytest.approx(trials["value"].tolist(), abs=1e-9)
    assert found.best.metrics["test"] == pytest.approx(result.metrics["test"], abs=1e-9)
    assert found.trials.loc[found.trials["value"].idxmax(), "number"] == found.leaderboard(1)["number"][0]
    assert set(found.best_params) == set(SPACE)
    corrected = json.loads((tmp_path / "winner.json").read_text())["corrected"]
    assert found.corrected._asdict() == pytest.approx(corrected, abs=1e-9)
    assert found.corrected.value == pytest.approx(found.trials["value"].max())


@pytest.mark.slow
def test_a_search_starts_from_an_earlier_result_and_has_a_timeout(split):
    space = {"model.regularization": {"low": 10, "high": 1000, "log": True}}
    first = jaxrec.search(split, "ease", space=space, n_trials=2, population=1, verbose=False)
    then = {"space": space, "population": 1, "warm_start": first, "timeout": 1e-9, "verbose": False}
    found = jaxrec.search(split, "ease", n_trials=3, **then)
    assert list(found.trials.value[:2]) == list(first.trials.value)
    assert len(found.trials) == 3  # the first trial is proposed even after the timeout
    assert "1 of 3 trials have ended: start the same search again to continue it" in found.notes
    with pytest.raises(jaxrec.InputError, match="this search is for validation recall@10"):
        jaxrec.search(split, "ease", overrides={"eval.monitor": "recall@10"}, **then)


@pytest.mark.slow
def test_a_search_trades_objectives_off_within_constraints(split):
    sought = {"objectives": ["ndcg@10", "coverage@10"], "constraints": ["n_parameters >= 1"]}
    space = {"model.regularization": [1.0, 9000.0]}
    found = jaxrec.search(split, "ease", space=space, n_trials=2, verbose=False, **sought)
    dominated = [
        any(o[0] >= t[0] and o[1] >= t[1] and o != t for o in found.trials[["value", "coverage@10"]].values.tolist())
        for t in found.trials[["value", "coverage@10"]].values.tolist()
    ]
    assert found.trials["is_on_front"].tolist() == [not each for each in dominated]
    assert found.trials["is_feasible"].all()
    with pytest.raises(jaxrec.InputError, match=r"sweep\.constraints: size is not measured"):
        jaxrec.search(split, "ease", constraints=["size <= 1"])


@pytest.mark.whole
def test_a_search_in_a_directory_is_continued_and_leaves_the_files_of_a_sweep(split, tmp_path):
    settings = {"space": {"model.regularization": [1.0, 300.0, 9000.0]}, "population": 1, "directory": tmp_path / "s"}
    settings["verbose"] = False
    jaxrec.search(split, "ease", n_trials=2, **settings)
    found = jaxrec.search(split, "ease", n_trials=3, **settings)
    assert len(found.trials) == 3
    assert {"journal.log", "trials.csv", "best.yaml", "best", "report.html"} <= {
        p.name for p in (tmp_path / "s").iterdir()
    }
    assert jaxrec.load(tmp_path / "s").metrics["validation"] == pytest.approx(found.best.metrics["validation"])
    with pytest.raises(jaxrec.InputError, match="there is no search space popularity: set space"):
        jaxrec.search(split, "popularity")
    with pytest.raises(jaxrec.InputError, match=r"model\.regularization=-1"):
        jaxrec.search(split, "ease", space={"model.regularization": [-1.0]})
    with pytest.raises(jaxrec.InputError, match=r"model\.regularization=5 is set, but .*: omit it from overrides"):
        jaxrec.search(split, "ease", space={"model.regularization": [1.0]}, overrides={"model.regularization": 5})


def test_frames_and_files_are_read_alike(tmp_path):
    frame = pd.DataFrame({"customer": ["a", "a", "b", "b", "c"], "sku": [1, 2, 2, 3, 1], "stars": [5, 4, 3, 5, 1.0]})
    frame["date"] = pd.date_range("2024-01-01", periods=5)
    columns = {"user": "customer", "item": "sku", "value": "stars", "time": "date"}
    frame.to_csv(tmp_path / "log.csv", index=False)
    of_file = jaxrec.Dataset.read(tmp_path / "log.csv", **columns).to_frame()
    assert of_file["user_id"].tolist() == ["a", "a", "b", "b", "c"]
    assert of_file["value"].tolist() == [5, 4, 3, 5, 1]
    for given in (frame, pa.table(frame), frame.convert_dtypes()):
        pd.testing.assert_frame_equal(jaxrec.Dataset(given, **columns).to_frame(), of_file)


def test_features_and_given_splits_come_as_frames():
    train = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 3]})
    items = pd.DataFrame({"item_id": [1, 2, 3], "brand": ["x", "y", "x"]})
    data = jaxrec.Dataset.given_split(train, train.iloc[:1].assign(item_id=3), item_features=items)
    brands = dict(zip(data.interactions.item_ids, data.interactions.item_features["brand"], strict=True))
    assert brands == {1: "x", 2: "y", 3: "x"}
    made = jaxrec.split(data, "given", validation_fraction=0.0)
    assert (len(made.selection.train), len(made.test.target)) == (4, 1)


class Vectors(Factorized):
    """A dot product, as a user would write it."""

    n_users: int
    n_items: int
    dim: int = 4

    def setup(self):
        normal = nn.initializers.normal(0.1)
        self.users = self.param("users", normal, (self.n_users, self.dim))
        self.items = self.param("items", normal, (self.n_items, self.dim))

    def query_vectors(self, query):
        return self.users[query.user]

    def item_vectors(self):
        return self.items


def hinge(positive, negatives, used):
    """Zero where the positive is above every negative by 1."""
    return jnp.sum(used * nn.relu(1 - positive[:, None] + negatives), axis=1)


@pytest.mark.parametrize(("model", "objective"), [(SASRec, "NextItem"), (BERT4Rec, "MaskedItem")])
def test_sequence_models_of_ones_own_have_a_loss_that_suits_their_attention(split, model, objective):
    assert Recipe(split, model).tree({})["loss"]["_target_"].endswith(objective)


def test_user_defined_models_and_losses_are_passed_as_they_are(split, tmp_path):
    own = jaxrec.fit(split, Vectors, loss=hinge, overrides=SHORT | {"model.dim": 8}, verbose=False)
    assert own.model.dim == 8
    assert own.config["loss"]["loss"]["_target_"].endswith("hinge")
    assert own.metrics["validation"]["ndcg@10"] > 0
    directory = own.save(tmp_path / "own")
    with pytest.raises(jaxrec.InputError, match="pass its class"):
        jaxrec.load(directory)
    loaded = jaxrec.load(directory, Vectors)
    users = loaded.user_ids[:3]
    pd.testing.assert_frame_equal(loaded.recommend(users, k=3), own.recommend(users, k=3))
    with pytest.raises(jaxrec.InputError, match=r"model\.width is unknown"):
        jaxrec.fit(split, Vectors, overrides={"model.width": 8})


PAIRS = pd.DataFrame({"user_id": [1], "item_id": [1]})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda split: jaxrec.fit(split, "mff"), "model=mff: unknown choice; did you mean model=mf"),
        (lambda split: jaxrec.fit(split, overrides={"trainer.epoch": 3}), "trainer.epoch is unknown here; available:"),
        (lambda split: jaxrec.fit(split, overrides={"trainer.epochs": -3}), "trainer.epochs=-3: must be greater"),
        (lambda split: jaxrec.fit(split, overrides={"data.k_core": 3}), "data.k_core: the data is already split"),
        (lambda split: jaxrec.fit(split, "ease", loss="bpr"), "EASE is trained without a loss"),
        (lambda split: jaxrec.fit(split, int), "neither a name of conf/model nor a jaxrec.models.Model"),
        (lambda split: jaxrec.Dataset([1]), "list is not a supported data type"),
        (lambda split: jaxrec.Dataset(pd.DataFrame({"user_id": [1]})), "the data frame has no column 'item_id'"),
        (lambda split: jaxrec.Dataset(pd.DataFrame({"user_id": [1, "a"], "item_id": [1, 2]})), "mixes types"),
        (lambda split: jaxrec.fit(split, overrides={"seed": []}), "seed=[] has no values: leave it out, or list at"),
        (lambda split: jaxrec.fit(split, overrides=["seed=1"]), "overrides=['seed=1']: must be a dictionary such as"),
        (lambda split: jaxrec.search(split, "mf", overrides=["seed=1"]), "overrides=['seed=1']: must be a dictionary"),
        (
            lambda split: jaxrec.fit(split, loss=lambda positive: positive),
            "loss: <lambda>(positive) must take the parameters (positive, negatives, used)",
        ),
        (lambda split: jaxrec.fit(split, overrides={3: 1}), "overrides: 3 is not a setting: keys are text such as"),
        (lambda split: jaxrec.fit(split, overrides={"eval.k": [[]]}), "eval.k=[] has no list length: add one"),
        (lambda split: jaxrec.fit(split, overrides={"eval.k": 5}), "eval.k=5: must be a list, e.g. [5]"),
        (
            lambda split: jaxrec.Dataset(PAIRS, event_column="e", events="e"),
            "data.events='e': must be a list, e.g. [e]",
        ),
        (lambda split: jaxrec.Dataset.given_split(PAIRS, PAIRS.head(0)), "the data frame of data.test has no rows"),
        (lambda split: jaxrec.fit(PAIRS, "ease"), "DataFrame is not a split: pass jaxrec.split(data, 'holdout')"),
        (lambda split: jaxrec.fit(split, loss=3), "loss=3 is neither a name of conf/loss nor a function"),
        (lambda split: jaxrec.fit(split, metrics="ndcg"), "metrics='ndcg': must be a list, e.g. metrics=['ndcg']"),
        (lambda split: jaxrec.fit(split, metrics=[3]), "metrics: 3 is neither a name nor a function"),
        (lambda split: jaxrec.fit(split, metrics=[lambda hits, n_relevant: 1]), "a lambda has no name for the results"),
        (lambda split: jaxrec.load(None), "run=None: must be the path of a run directory"),
        (lambda split: jaxrec.search(split, "ease", space={"model.regularization": 5}), "write a list of choices"),
        (lambda split: jaxrec.evaluate("ease", split.test), "models: model has 'ease', which is not a model of"),
        (lambda split: jaxrec.evaluate({}, split.test), "models={} has no model: pass models by name"),
        (lambda split: jaxrec.evaluate("ease", split), "held=Split: pass a held-out part, split.test or"),
        (
            lambda split: jaxrec.Dataset.given_split(PAIRS, PAIRS.replace(1, 2), item_features=PAIRS),
            "user ids of the data frame of data.test is in the data frame of data.train: ",
        ),
        (lambda split: jaxrec.split(pd.DataFrame({"user_id": [1], "item_id": [1]}), "holdout"), "no user has a"),
    ],
)
def test_errors_are_those_of_the_command_line(wrong, message, split):
    with pytest.raises(jaxrec.InputError) as raised:
        wrong(split)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 5}, "k=5: must be a list, e.g. [5]"),
        ({"k": ()}, "k=() has no list length: add one, e.g. k=(10,)"),
        ({"k": (0,)}, "k=[0]: must be greater than 0"),
        ({"k": (1.5,)}, "k=[1.5]: must be a valid integer"),
    ],
)
def test_list_lengths_of_an_evaluation_are_checked(options, message, model, split):
    with pytest.raises(jaxrec.InputError) as raised:
        jaxrec.evaluate(model, split.test, **options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": "3"}, "k='3': must be a valid integer"),
        ({"k": True}, "k=True: must be a valid integer"),
        ({"unknown": "zero"}, "unknown='zero': must be 'error' or 'popularity'"),
        ({"exclude_seen": "no"}, "exclude_seen='no': must be a valid boolean"),
        ({"histories": [50, 181]}, "histories must be one list of item ids per user"),
        ({"histories": [None]}, "histories must be one list of item ids per user"),
        ({"values": [["a"]]}, "values: entry 1 is 'a', not a finite number"),
        ({"values": [[np.inf]]}, "values: entry 1 is inf, not a finite number"),
        ({"values": [[1e39]]}, "values: entry 1 is 1e+39, not a finite number"),
        ({"values": [[10**400]]}, "0, not a finite number"),
    ],
)
def test_options_of_recommendations_are_checked(options, message, model):
    with pytest.raises(jaxrec.InputError) as raised:
        model.recommend_histories(**{"histories": [model.item_ids[:1]]} | options)
    assert message in str(raised.value)


def test_a_name_may_start_with_a_tilde(tmp_path, monkeypatch):
    """As those of spreadsheets that are open elsewhere; it is no user's home folder."""
    monkeypatch.chdir(tmp_path)
    Path("~$orders.csv").write_text("user_id,item_id\n1,2\n1,3\n")
    assert jaxrec.Dataset.read("~$orders.csv").n_items == 2
    for load in (jaxrec.load, Recommender.of_run):
        with pytest.raises(jaxrec.InputError, match="There is no file ~nobody-of-this-name/run/"):
            load("~nobody-of-this-name/run")


def test_histories_may_be_an_arrow_column(model):
    lists = [model.item_ids[:2].tolist(), model.item_ids[3:4].tolist()]
    expected = model.recommend_histories(lists, k=np.int64(3))
    pd.testing.assert_frame_equal(model.recommend_histories(pa.array(lists), k=3), expected)
    pd.testing.assert_frame_equal(model.recommend_histories((iter(ids) for ids in lists), k=3), expected)


def test_the_history_of_a_closed_form_is_a_table_without_rows(ease, tmp_path):
    for history in (ease.history, pd.read_csv(ease.save(tmp_path / "run") / "history.csv")):
        assert [*history] == ["epoch", "loss", "seconds"]
        assert history.empty


@pytest.mark.parametrize(
    ("name", "content"), [("metrics.json", "[]"), ("per_user.parquet", "PAR"), ("history.csv", b"\xff")]
)
def test_damaged_tables_of_a_run_are_named(model, tmp_path, name, content):
    run = model.save(tmp_path / "run")
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(jaxrec.InputError, match=f"{name} (is damaged|has no metrics of a run).*: train the run again"):
        jaxrec.load(run)


def test_settings_may_be_numpy_numbers_and_arrays(split):
    several = {"seed": np.arange(3, 5), "trainer.epochs": np.int64(2), "optimizer.learning_rate": np.float32(0.5)}
    trees, is_list = Recipe(split, "mf").members(several)
    found = [(tree["seed"], tree["trainer"]["epochs"], tree["optimizer"]["learning_rate"]) for tree in trees]
    assert (found, is_list) == ([(3, 2, 0.5), (4, 2, 0.5)], True)
    rated = pd.DataFrame({"user_id": [1, 2, 2], "item_id": [1, 1, 2], "value": [3, 5, 4], "kind": ["a", "b", "a"]})
    named = {"event_column": "kind", "events": np.array(["a"]), "min_value": np.float64(4)}
    assert jaxrec.Dataset(rated, value="value", **named).to_frame()["item_id"].tolist() == [2]


def test_importing_jaxrec_imports_no_library():
    import subprocess
    import sys

    code = "import sys, jaxrec; print([name for name in ('jax', 'pandas', 'hydra', 'optuna') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert "fit" in dir(jaxrec)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = jaxrec.fitt


def test_a_search_does_not_write_into_the_directory_of_another_study(split, tmp_path):
    (tmp_path / "study.txt").write_text("other\n")
    with pytest.raises(InputError, match="already holds the study other"):
        jaxrec.search(split, "ease", directory=tmp_path, verbose=False)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".log"] == []


@pytest.mark.whole
def test_a_search_is_not_continued_with_other_data(tmp_path):
    frame = pd.DataFrame({"user_id": np.repeat(np.arange(30), 12), "item_id": np.arange(360) * 7 % 25})
    before, after = (jaxrec.split(rows, "leave_one_out") for rows in (frame, frame.iloc[:-1]))
    search = {"model": "item_knn", "n_trials": 1, "directory": tmp_path, "verbose": False}
    assert len(jaxrec.search(before, **search).trials) == 1
    with pytest.raises(InputError, match="has trials on other data"):
        jaxrec.search(after, **search | {"n_trials": 2})


def test_types_of_a_fit():
    """A single model without lists of values, else a list in which None stands for members that diverged."""
    results = [typing.get_type_hints(overloaded)["return"] for overloaded in typing.get_overloads(jaxrec.fit)]
    assert results == [TrainedModel, TrainedModel | list[TrainedModel | None]]
