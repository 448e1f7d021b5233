"""Comparison of models: one split, one table, continuation, failures, budgets, refusals."""

import json

import pandas as pd
import pytest

from jaxrec import experiment, launch
from jaxrec.errors import InputError
from jaxrec.launch import Contender, comparisons, searches
from jaxrec.sweep.runner import SlotRunner
from tests.page import Page
from tests.planted import PLANTED

SPACE = {"model.regularization": {"low": 1.0, "high": 1000.0, "log": True}}


@pytest.fixture
def contenders(compose):
    """Return contenders by name, each a search over EASE or, without a space, one run."""

    def make(*names, **own):
        trees = {name: compose(*PLANTED, f"model={name}", "sweep.population=2", *own.get(name, ())) for name in names}
        return [
            Contender(name, tree, SPACE if name == "ease" else {}, lambda more, tree=tree: tree, [f"model={name}"])
            for name, tree in trees.items()
        ]

    return make


@pytest.fixture
def sweep(compose):
    return compose("sweep=compare", "sweep.n_trials=3")["sweep"]


@pytest.mark.whole
def test_every_model_is_searched_on_one_split_and_tested_in_one_table(contenders, sweep, tmp_path, capsys, monkeypatch):
    reads, prepare = [], experiment.prepare
    monkeypatch.setattr(experiment, "prepare", lambda tree: (reads.append(1), prepare(tree))[1])
    found = launch.compare_models(contenders("popularity", "ease"), sweep, directory=tmp_path)
    assert reads == [1]
    assert found["model"].tolist() == ["ease", "popularity"]  # EASE is better on validation
    assert found["trials"].tolist() == [3, 1]
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert table["validation"][0] == pd.read_csv(tmp_path / "ease" / "trials.csv").value.max()
    per_user = {name: pd.read_parquet(tmp_path / name / "per_user.parquet") for name in ("ease/best", "popularity")}
    means = [frame["ndcg@10"].mean() for frame in per_user.values()]
    assert table["test"].tolist() == pytest.approx(means, abs=1e-6)
    assert table["difference"][1] == pytest.approx(means[1] - means[0], abs=1e-6)
    assert table["n_parameters"].tolist() == [120 * 120, 120]  # an item-item matrix, a count per item
    assert (table["latency_ms"] > 0).all()
    printed = capsys.readouterr().out
    assert "ease beats popularity in NDCG@10" in printed
    assert "best by validation: ease" in printed
    page = Page((tmp_path / "report.html").read_text())
    assert "ease beats popularity in NDCG@10" in page.content
    assert "Latency: milliseconds to list the best 10 items of 256 users" in page.content

    monkeypatch.setattr(comparisons, "_train", None)  # nothing is trained again
    again = launch.compare_models(contenders("ease", "popularity"), sweep, directory=tmp_path)
    pd.testing.assert_frame_equal(again, found)

    # The reference is the best simple model, here popularity, even if another one is better.
    monkeypatch.setattr(comparisons, "is_random", lambda tree: tree["model"]["_target_"].endswith("EASE"))
    other = launch.compare_models(contenders("ease", "popularity"), sweep, directory=tmp_path)
    assert other["difference"][0] == pytest.approx(means[0] - means[1], abs=1e-6)
    assert other["difference"].isna().tolist() == [False, True]


@pytest.mark.slow
def test_an_interrupted_comparison_continues_with_the_same_trials(contenders, sweep, tmp_path, monkeypatch, capsys):
    rounds, advance = iter(range(1, 100)), SlotRunner.advance

    def stop_in_the_second(runner):
        if next(rounds) == 2:
            raise KeyboardInterrupt
        return advance(runner)

    models = contenders("popularity", "ease")
    launch.compare_models(models, sweep, directory=tmp_path / "through")
    with monkeypatch.context() as patch:
        patch.setattr(SlotRunner, "advance", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            launch.compare_models(models, sweep, directory=tmp_path / "stopped")
    assert pd.read_csv(tmp_path / "stopped" / "comparison.csv")["model"].tolist() == ["popularity"]
    launch.compare_models(models, sweep, directory=tmp_path / "stopped")
    assert "popularity (1 of 2): already finished" in capsys.readouterr().out
    one, two = (pd.read_csv(tmp_path / name / "ease" / "trials.csv") for name in ("through", "stopped"))
    timed = ["seconds", "started_round", "ended_round"]
    pd.testing.assert_frame_equal(one.drop(columns=timed), two.drop(columns=timed))
    assert not (tmp_path / "stopped" / "ease" / "training").exists()


@pytest.mark.whole
def test_a_failed_model_is_named_and_tried_again(contenders, sweep, tmp_path, monkeypatch):
    def fail(*arguments):
        raise InputError("all trials failed; first failure: training diverged")

    models = contenders("ease", "popularity")
    with monkeypatch.context() as patch:
        patch.setattr(searches, "run", fail)
        found = launch.compare_models(models, sweep, directory=tmp_path)
        assert found["state"].tolist() == ["complete", "failed"]
        assert found["error"][1] == "all trials failed; first failure: training diverged"
        assert "ease failed: all trials failed" in Page((tmp_path / "report.html").read_text()).content
        with pytest.raises(InputError, match="ease: all trials failed"):
            launch.compare_models(models[:1], sweep, directory=tmp_path)
    found = launch.compare_models(models, sweep, directory=tmp_path)
    assert found["state"].tolist() == ["complete"] * 2


def test_the_timeout_of_a_search_counts_across_interruptions(contenders, sweep, tmp_path, monkeypatch):
    limits = []

    def stop(task, *others):
        limits.append(task.plan.timeout)
        raise KeyboardInterrupt

    monkeypatch.setattr(searches, "run", stop)
    (ease,) = contenders("ease")
    for seconds in (0, 45, 100):
        if (file := tmp_path / "ease" / "comparison.json").exists():
            file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": seconds}))
        with pytest.raises(KeyboardInterrupt):
            launch.compare_models([ease], {**sweep, "timeout": 1}, directory=tmp_path)
    assert limits == [1, 0.25, 0]


@pytest.mark.slow
def test_the_best_settings_are_trained_with_several_seeds(compose, contenders, sweep, tmp_path):
    short = ("trainer.epochs=1", "trainer.batch_size=512")
    found = launch.compare_models(contenders("mf", "popularity", mf=short), sweep, seeds=2, directory=tmp_path)
    rows = found.set_index("model")
    assert rows["seeds"].to_dict() == {"mf": 2, "popularity": 1}
    summary = json.loads((tmp_path / "mf" / "seeds" / "seeds.json").read_text())
    assert rows["test"]["mf"] == pytest.approx(summary["test"]["ndcg@10"]["mean"])
    assert rows["path"]["mf"] == "mf/seeds"


@pytest.mark.parametrize(
    ("names", "own", "message"),
    [
        (["ease", "popularity"], {"ease": ["eval.monitor=recall@10"]}, "popularity has eval.monitor=ndcg@10, ease has"),
        (
            ["neumf", "ease"],
            {"neumf": ["split=new_users"], "ease": ["split=new_users"]},
            "models: neumf: all evaluated",
        ),
        (["ease"], {"ease": ["split.validation_fraction=0"]}, "needs validation data"),
    ],
)
def test_models_that_do_not_share_a_split_are_refused(names, own, message, contenders, sweep, tmp_path):
    with pytest.raises(InputError, match=message):
        launch.compare_models(contenders(*names, **own), sweep, directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_results_of_other_settings_are_refused(contenders, sweep, tmp_path):
    launch.compare_models(contenders("popularity"), sweep, directory=tmp_path)
    with pytest.raises(InputError, match=r"popularity holds results of other settings: set another hydra\.sweep\.dir"):
        launch.compare_models(contenders("popularity", popularity=["split.seed=1"]), sweep, directory=tmp_path)
    with pytest.raises(InputError, match="already holds a comparison"):
        launch.run(contenders("popularity")[0].tree, tmp_path)


def test_the_command_composes_every_model_on_its_split(command, monkeypatch):
    calls = []
    monkeypatch.setattr(launch, "compare_models", lambda *arguments: calls.append(arguments))
    done = command(
        "train", "--multirun", "sweep=compare", "sweep.models=[popularity,mf_softmax,sasrec]", "trainer.epochs=3",
        "sweep.timeout=2", "sweep.population=5", "seeds=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "trainer.epochs=3 is ignored where the setting does not exist: model=popularity" in done.stdout
    ((contenders, sweep, seeds, *_),) = calls
    assert [each.name for each in contenders] == ["popularity", "mf_softmax", "sasrec"]
    assert {each.tree["split"]["_target_"].rpartition(".")[2] for each in contenders} == {"holdout"}
    assert contenders[0].space == {}
    softmax, sasrec = (each.tree for each in contenders[1:])
    assert softmax["loss"]["_target_"].endswith("CatalogObjective")
    assert softmax["trainer"]["epochs"] == sasrec["trainer"]["epochs"] == 3
    assert softmax["sweep"]["population"] == 5
    assert (sweep["timeout"], seeds) == (2, 2)
    assert contenders[1].compose(["model.embedding_dim=7"])["model"]["embedding_dim"] == 7


@pytest.mark.whole
def test_an_experiment_that_sets_data_and_split_can_be_compared(command, monkeypatch):
    calls = []
    monkeypatch.setattr(launch, "compare_models", lambda *arguments: calls.append(arguments))
    done = command(
        "train", "--multirun", "experiment=online_retail_time", "sweep=compare", "sweep.models=[popularity,ease,mf]"
    )
    assert done.returncode == 0, done.stderr
    trees = [each.tree for each in calls[0][0]]
    assert [str(tree["split"]["validation_from"]) for tree in trees] == ["2010-10-01"] * 3
    assert {tree["data"]["k_core"] for tree in trees} == {5}
    assert [tree["model"]["_target_"].rpartition(".")[2] for tree in trees] == [
        "Popularity", "EASE", "MatrixFactorization"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=ml1m_holdout_ease"], "experiment=ml1m_holdout_ease sets model, loss, negatives, optimizer, tra"),
        (["sweep.models=[ease,eas]"], "sweep.models: there is no model eas; available: ancf, "),
        (["sweep.models=[ease,ease]"], "sweep.models has ease twice"),
        (["model=ease"], "model=ease sets one model, and sweep=compare trains several: list them in sweep.models"),
        (["loss=bpr", "sweep.models=[mf_softmax]"], "loss=bpr contradicts sweep.models, where mf_softmax brings"),
        (["seed=choice(1,2)"], "seed=choice(1,2): sweep=compare searches the space of every model: omit it"),
        (["sweep.n_trials=0", "sweep.models=[ease]"], "sweep.n_trials=0"),
    ],
)
def test_the_command_refuses_what_a_comparison_cannot_use(words, message, command):
    done = command("train", "--multirun", "sweep=compare", *words)
    assert done.returncode == 2
    assert message in done.stderr
