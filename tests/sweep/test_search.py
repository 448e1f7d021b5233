import itertools
import math

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from jaxrec.errors import InputError
from jaxrec.sweep.outcome import FINAL, Outcome
from jaxrec.sweep.samplers import SAMPLERS
from jaxrec.sweep.space import Choice, Interval
from jaxrec.sweep.trials import best, leaderboard
from tests.sweep.recorder import SPACE, Recorder, n_done, quadratic, sweep

GRID = {"a": Choice(("p", "q")), "b": Interval(1, 3, integer=True)}


# Searches -----------------------------------------------------------------------------------------


def test_the_target_is_met_exactly_in_batches(tmp_path):
    evaluate, told = Recorder(), []
    study = sweep(tmp_path, evaluate, on_tell=told.append)
    assert [len(batch) for batch in evaluate.batches] == [3, 3, 2]
    assert [trial.number for trial in told] == list(range(8))
    assert [trial.params for trial in study.trials] == evaluate.seen
    assert all(type(params["x"]) is float and type(params["width"]) is int for params in evaluate.seen)
    assert sweep(tmp_path, evaluate).trials == study.trials  # nothing left to do
    assert n_done(sweep(tmp_path, evaluate, n_trials=9, population=8, sampler="random")) == 9
    assert len(evaluate.batches[-1]) == 1


def test_stored_values_are_those_of_evaluate(tmp_path):
    values = iter([0.25, 0.5, 0.125])
    outcomes = [
        Outcome(v, s, {"seconds": 2.0}) for v, s in zip(values, ["complete", "pruned", "complete"], strict=True)
    ]
    outcomes.append(Outcome(None, "pruned"))
    study = sweep(tmp_path, lambda batch: outcomes, n_trials=4, population=4)
    assert [trial.value for trial in study.trials] == [0.25, 0.5, 0.125, None]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
    assert [trial.user_attrs.get("seconds") for trial in study.trials] == [2.0, 2.0, 2.0, None]
    assert best(study).number == 0  # the pruned trial was better but did not complete


def test_best_and_leaderboard_follow_the_direction_and_break_ties_by_number(tmp_path):
    values = [0.5, 0.9, 0.1, 0.9, 0.1]

    def given(batch):
        return map(Outcome, values)

    for direction, order in {"maximize": [1, 3, 0, 2, 4], "minimize": [2, 4, 0, 1, 3]}.items():
        study = sweep(tmp_path / direction, given, n_trials=5, population=5, direction=direction)
        assert best(study).number == order[0]
        assert list(leaderboard(study)["number"]) == order
        assert list(leaderboard(study, 2)["value"]) == [values[number] for number in order[:2]]
        assert list(leaderboard(study).columns) == ["number", "value", "x", "lr", "width"]


def test_trials_csv_has_every_trial(tmp_path):
    outcome = Outcome(0.5, "complete", {"seconds": 1.5, "validation": {"ndcg@5": 0.25}})
    sweep(tmp_path, lambda batch: [outcome] * len(batch), n_trials=4)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["number"]) == [0, 1, 2, 3]
    assert list(table.columns[:6]) == ["number", "state", "value", "x", "lr", "width"]
    assert set(table["state"]) == {"complete"}
    assert set(table["seconds"]) == {1.5}
    assert set(table["validation"]) == {'{"ndcg@5": 0.25}'}
    assert not list(tmp_path.glob(".trials*"))


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("auto", "gp", "grid")])
def test_every_sampler_resumes_without_repeating_itself(sampler, tmp_path, caplog):
    evaluate = Recorder()
    for n_trials in (5, 10, 15):
        study = sweep(tmp_path, evaluate, n_trials=n_trials, population=5, sampler=sampler)
    assert n_done(study) == 15
    for batch in evaluate.batches:
        assert len({(params["x"], params["lr"]) for params in batch}) == 5
    assert len({(params["x"], params["lr"]) for params in evaluate.seen}) == 15
    assert not caplog.records
    # An uninterrupted search proposes the same.
    through = Recorder()
    sweep(tmp_path / "through", through, n_trials=15, population=5, sampler=sampler)
    assert through.seen == evaluate.seen


def test_seeds_differ(tmp_path):
    first, second = Recorder(), Recorder()
    sweep(tmp_path / "1", first, seed=1, n_trials=3)
    sweep(tmp_path / "2", second, seed=2, n_trials=3)
    assert all(one["x"] != two["x"] for one, two in zip(first.seen, second.seen, strict=True))


def test_tpe_learns(tmp_path):
    study = sweep(tmp_path, n_trials=40, population=4)
    late = [abs(trial.params["x"]) for trial in study.trials[20:]]
    assert sum(late) / 20 < 0.4  # 0.5 on average without learning


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_members_of_a_tpe_batch_are_not_near_copies(seed, tmp_path):
    space = {"x": Interval(-1.0, 1.0), "y": Interval(-1.0, 1.0)}
    evaluate = Recorder(lambda params: Outcome(-(params["x"] ** 2) - params["y"] ** 2))
    sweep(tmp_path, evaluate, space=space, n_trials=20, population=10, seed=seed)
    pairs = list(itertools.combinations(evaluate.batches[1], 2))
    distance = sum(max(abs(one[key] - two[key]) for key in space) for one, two in pairs) / len(pairs)
    assert distance > 0.7  # about 1 with the constant liar, 0.4 without


def test_qmc_stays_on_one_sequence_from_batch_to_batch(tmp_path):
    study = sweep(tmp_path, n_trials=17, population=5, sampler="qmc")
    # The first trial is drawn at random; the first 16 Sobol points put one into each sixteenth of an axis.
    cells = sorted(int(8 * (trial.params["x"] + 1)) for trial in study.trials[1:])
    assert cells == list(range(16))


def test_the_grid_is_searched_once_and_resumed(tmp_path):
    evaluate = Recorder(lambda params: Outcome(float(params["b"])))
    combinations = [{"a": a, "b": b} for a in ("p", "q") for b in (1, 2, 3)]

    def interrupted(batch):
        if len(evaluate.batches) == 1:
            raise KeyboardInterrupt
        yield from evaluate(batch)

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, interrupted, space=GRID, sampler="grid", population=2, n_trials=1)
    assert evaluate.seen == combinations[:2]
    study = sweep(tmp_path, evaluate, space=GRID, sampler="grid", population=2, n_trials=1)
    assert evaluate.seen == combinations
    assert n_done(study) == 6
    with pytest.raises(InputError, match="x: a grid needs discrete values"):
        sweep(tmp_path, sampler="grid", study_name="other")


def test_a_combination_that_fails_is_tried_twice(tmp_path):
    evaluate = Recorder(lambda params: Outcome(math.nan if params == {"a": "p", "b": 2} else 1.0))
    study = sweep(tmp_path, evaluate, space=GRID, sampler="grid", population=2)
    assert evaluate.seen.count({"a": "p", "b": 2}) == 2
    assert n_done(study) == 5
    assert len(evaluate.seen) == 7


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sampler": "tep"},
            "sweep.sampler=tep is unknown; choose one of auto, tpe, random,",
        ),
        ({"n_trials": 0}, "sweep.n_trials must be at least 1, got 0"),
        ({"population": 0}, "sweep.population must be at least 1, got 0"),
        ({"direction": "up"}, "sweep.direction must be maximize or minimize, got up"),
        ({"space": {}}, "the search space is empty"),
    ],
)
def test_invalid_settings_are_errors_before_anything_is_written(changes, message, tmp_path):
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(InputError) as error:
        sweep(tmp_path, storage=storage, **changes)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())
    assert not storage.get_all_studies()


def test_a_study_is_not_continued_with_other_settings(tmp_path):
    sweep(tmp_path)
    narrower = SPACE | {"x": Interval(-1.0, 0.5)}
    for changes, message in [
        ({"fixed": {"model": "gmf", "trainer.epochs": 5}}, ["model: was mf, now gmf"]),
        ({"fixed": {"model": "mf", "seed": 3}}, ["trainer.epochs: was 5, now absent", "seed: was absent, now 3"]),
        ({"metric": "recall@5"}, ["sweep.metric: was ndcg@10, now recall@5"]),
        ({"space": narrower}, ["sweep.space x: was", "'high': 0.5"]),
        ({"direction": "minimize"}, ["created to maximize, this sweep is to minimize"]),
    ]:
        evaluate = Recorder()
        with pytest.raises(InputError) as error:
            sweep(tmp_path, evaluate, n_trials=20, **changes)
        assert "set another sweep.study_name" in str(error.value)
        assert all(part in str(error.value) for part in message)
        assert not evaluate.batches
    # A storage returns tuples as lists, which is not a change.
    for n_trials in (1, 2):
        sweep(tmp_path, study_name="other", fixed={"k": (5, 10)}, n_trials=n_trials)


def test_values_that_are_not_finite_fail_and_are_tried_once_more(tmp_path):
    values = iter([math.nan, 1.0, 1.0, math.inf, 2.0])
    evaluate = Recorder(lambda params: Outcome(next(values)))
    study = sweep(tmp_path, evaluate, n_trials=3, population=3)
    # nan; its retry is inf, so those parameters count as one of three.
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE", "FAIL"]
    assert [study.trials[n].user_attrs["error"] for n in (0, 3)] == ["the value is nan", "the value is inf"]
    assert study.trials[3].user_attrs["retry_of"] == 0
    assert evaluate.batches[1] == [evaluate.batches[0][0]]
    assert set(pd.read_csv(tmp_path / "trials.csv")["state"]) == {"failed", "complete"}


def test_a_trial_that_succeeds_at_the_second_try_is_one_trial(tmp_path):
    outcomes = iter([Outcome(None, "failed", {"error": "no memory"}), *[Outcome(1.0)] * 3])
    study = sweep(tmp_path, Recorder(lambda params: next(outcomes)), n_trials=3)
    assert n_done(study) == 3
    assert len(study.trials) == 4
    assert study.trials[0].user_attrs["error"] == "no memory"


@pytest.mark.parametrize(("population", "n_evaluated"), [(4, 4), (1, 3), (2, 4)])
def test_a_search_of_failed_trials_only_stops_with_the_reason(population, n_evaluated, tmp_path):
    evaluate = Recorder(lambda params: Outcome(None, "failed", {"error": f"first {len(evaluate.seen)}"}))
    with pytest.raises(InputError, match="in a row failed; first failure: first"):
        sweep(tmp_path, evaluate, population=population, n_trials=50)
    assert len(evaluate.seen) == population * math.ceil(n_evaluated / population)
    short = Recorder(lambda params: Outcome(None, "failed", {"error": "no data"}))
    with pytest.raises(InputError, match="failed; first failure: no data"):
        sweep(tmp_path, short, study_name="short", population=1, n_trials=1)


def test_an_error_of_evaluate_is_raised_and_earlier_values_are_kept(tmp_path):
    def breaks(batch):
        yield Outcome(0.5)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        sweep(tmp_path, breaks)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["state"]) == ["complete", "failed", "failed", "waiting", "waiting"]
    assert list(table["error"].dropna()) == ["RuntimeError: out of memory"] * 2
    evaluate = Recorder()
    study = sweep(tmp_path, evaluate)
    assert n_done(study) == 8
    # The same parameters are tried again before new ones.
    assert evaluate.seen[:2] == [study.trials[n].params for n in (1, 2)]


def test_an_outcome_is_required_for_each_trial(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        sweep(tmp_path, lambda batch: [Outcome(1.0)])


# Repeated parameters, conditions ------------------------------------------------------------------


def test_equal_parameters_are_trained_once(tmp_path):
    space = {"x": Choice((-0.5, 0.0, 0.25))}
    outcomes = {-0.5: Outcome(0.75, "complete", {"ndcg@5": 0.5}), 0.0: Outcome(0.25, "pruned"), 0.25: Outcome(0.5)}
    evaluate = Recorder(lambda params: outcomes[params["x"]])
    study = sweep(tmp_path, evaluate, space=space, n_trials=40, population=2)
    assert sorted(params["x"] for params in evaluate.seen) == [-0.5, 0.0, 0.25]
    assert n_done(study) == len(study.trials) == 40  # an exhausted space also ends the search
    first = {trial.params["x"]: trial.number for trial in study.trials[::-1] if "same_as" not in trial.user_attrs}
    for trial in study.trials:
        expected = outcomes[trial.params["x"]]
        assert (trial.value, trial.state.name.lower()) == (expected.value, expected.state)
        assert trial.user_attrs.get("ndcg@5") == expected.attributes.get("ndcg@5")
        number = first[trial.params["x"]]
        assert trial.user_attrs.get("same_as") == (None if trial.number == number else number)


def test_dimensions_are_proposed_if_their_condition_holds(tmp_path):
    space = {
        "y": Interval(0.0, 1.0, when={"loss": "bpr"}),
        "loss": Choice(("bpr", "bce", "softmax")),
        "x": Interval(-1.0, 1.0),
        "z": Interval(1, 3, integer=True, when={"loss": ("bce", "softmax")}),
    }
    evaluate = Recorder(lambda params: Outcome(quadratic(params) + (params["loss"] == "bce")))
    study = sweep(tmp_path, evaluate, space=space, n_trials=40, population=2)
    assert {params["loss"] for params in evaluate.seen} == {"bpr", "bce", "softmax"}
    for params in evaluate.seen:
        assert params.keys() == {"loss", "x", "y" if params["loss"] == "bpr" else "z"}
    assert study.trials == sweep(tmp_path, evaluate, space=space, n_trials=40).trials
    late = [params["loss"] for params in evaluate.seen[20:]]
    assert late.count("bce") > 10  # one third without learning
    for sampler in ("random", "cmaes", "nsga2", "qmc"):
        assert n_done(sweep(tmp_path / sampler, space=space, sampler=sampler)) == 8


def test_diverged_parameters_are_not_trained_again(tmp_path):
    """Neither as a retry, nor if the sampler proposes them again; every proposal counts as a trial."""
    space = {"x": Choice((-1, 0, 1))}

    def evaluate(params):
        return Outcome(None, "failed", {"error": "diverged", FINAL: True}) if params["x"] < 0 else Outcome(1.0)

    recorder = Recorder(evaluate)
    study = sweep(tmp_path, recorder, space=space, n_trials=12, population=1, sampler="random", seed=3)
    assert sorted(params["x"] for params in recorder.seen) == [-1, 0, 1]
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert len(failed) > 1
    assert len(study.trials) == 12
    assert [trial.user_attrs.get("same_as") for trial in failed] == [None, *[failed[0].number] * (len(failed) - 1)]
    assert {trial.user_attrs["error"] for trial in failed} == {"diverged"}


def test_a_study_is_continued_with_the_same_data_only(tmp_path):
    """Values of trials on other data cannot be compared. A study that stores no fingerprint is continued with any."""
    sweep(tmp_path, Recorder(), n_trials=2, data="a")
    assert len(sweep(tmp_path, Recorder(), n_trials=3, data="a").trials) == 3
    with pytest.raises(InputError, match="has trials on other data: the interactions in train or validation have chan"):
        sweep(tmp_path, Recorder(), n_trials=4, data="b")
    sweep(tmp_path / "old", Recorder(), n_trials=2)
    assert len(sweep(tmp_path / "old", Recorder(), n_trials=3, data="b").trials) == 3
