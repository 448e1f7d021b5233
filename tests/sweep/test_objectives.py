"""Several objectives and constraints: fronts and winners by hand, exact continuation, refusals."""

import dataclasses
import math
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import create_trial

from jaxrec import settings
from jaxrec.errors import InputError
from jaxrec.report.pareto import pareto_section
from jaxrec.settings import build
from jaxrec.sweep import winner
from jaxrec.sweep.front import spread
from jaxrec.sweep.objectives import Constraint, Goals, front, goals
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.space import Choice, Interval
from jaxrec.sweep.trials import best, leaderboard, trials_table
from jaxrec.sweep.verdict import verdict
from tests.sweep.kills import Killed, killed_at_write
from tests.sweep.recorder import Curves, Recorder, sweep

METRICS = ("ndcg@10", "coverage@10", "rmse")
COVERED = Constraint("coverage@10", True, 0.5)


def study(*rows, constraints=()):
    """Return a study of trials with values, attributes and violations."""
    made = optuna.create_study(directions=["maximize", "minimize"])
    made.set_user_attr("objectives", ["ndcg@10", "n_parameters"])
    made.set_user_attr("metric", "validation ndcg@10")
    for values, violations in rows:
        trial = create_trial(values=values, system_attrs={f"constraints:{k}": v for k, v in violations.items()})
        made.add_trial(trial)
    return made


def test_a_page_writes_numbers_of_parameters_in_full():
    made = study(([0.5, 170_626.0], {}))
    assert ">170,626</td>" in pareto_section(made, made.trials[0], [])


def test_goals_are_parsed_and_measured():
    found = goals(["ndcg@10", "rmse", "train_seconds"], ["coverage@10>=.5", " latency_ms <= 1e1 "], "ndcg@10", METRICS)
    assert found.directions == ["minimize", "minimize"]
    assert found.constraints == (COVERED, Constraint("latency_ms", False, 10.0))
    assert found.costs == {"train_seconds", "latency_ms"}
    attributes = {"rmse": 0.25, "seconds": 3, "coverage@10": 0.4, "latency_ms": 10.0}
    assert found.values(attributes) == [0.25, 3.0]
    assert [each.violation(value) for each, value in zip(found.constraints, (0.25, 12.0), strict=True)] == [0.25, 2.0]
    assert COVERED.violation(math.nan) == math.inf
    assert found.n_violated(attributes) == 1  # a value equal to the bound is feasible
    assert str(COVERED) == "coverage@10 >= 0.5"
    assert goals([], [], "ndcg@10", METRICS) == Goals()


@pytest.mark.parametrize(
    ("objectives", "constraints", "message"),
    [
        (["ndcg@10", "novelty@10"], [], "sweep.objectives: novelty@10 is not measured; choose one of ndcg@10,"),
        (["coverage@10", "ndcg@10"], [], "the first must be eval.monitor, ndcg@10"),
        (["ndcg@10", "rmse", "rmse"], [], "sweep.objectives has rmse twice"),
        ([], ["coverage@5 >= 0.2"], "sweep.constraints: coverage@5 is not measured"),
        ([], ["coverage@10 > 0.2"], "'coverage@10 > 0.2' is not a constraint: write a name, >= or <=, and a number"),
        ([], ["coverage@10 >= much"], "is not a constraint"),
        ([], ["coverage@10 >= nan"], "is not a constraint"),
    ],
)  # fmt: skip
def test_goals_that_cannot_be_measured_are_refused(objectives, constraints, message):
    with pytest.raises(InputError) as error:
        goals(objectives, constraints, "ndcg@10", METRICS)
    assert message in str(error.value)


def test_the_front_is_what_no_feasible_trial_dominates():
    # Larger first value, smaller second: (1, 2) and (2, 2) lose to (2, 1), (3, 4) loses to (3, 3).
    made = study(
        ([3.0, 3.0], {}), ([1.0, 2.0], {}), ([2.0, 1.0], {}), ([3.0, 4.0], {}), ([2.0, 2.0], {}),
        ([9.0, 0.0], {"coverage@10 >= 0.5": 0.1}),
    )  # fmt: skip
    assert [trial.number for trial in front(made)] == [0, 2]
    table = trials_table(made).set_index("number")
    assert table["n_parameters"].tolist() == [3, 2, 1, 4, 2, 0]
    assert table["is_on_front"].tolist() == [True, False, True, False, False, False]
    assert table["is_feasible"].tolist()[-1] is False
    board = leaderboard(made)
    assert board["number"].tolist() == [0, 3, 2, 4, 1, 5]  # the infeasible trial is last, though its value is best
    assert board["on front"].tolist() == ["yes", "no", "yes", "no", "no", "no"]


def test_an_infeasible_trial_is_the_best_only_if_all_are():
    a, b = "coverage@10 >= 0.5", "train_seconds <= 60"
    made = study(([5.0, 1.0], {a: 0.1, b: -1.0}), ([2.0, 1.0], {a: -0.1, b: 0.0}), ([1.0, 1.0], {a: -0.2, b: -5.0}))
    assert best(made).number == 1
    assert not any("satisfies" in note for note in verdict(made, {}, {}, None))
    made = study(([5.0, 1.0], {a: 0.1, b: 2.0}), ([2.0, 1.0], {a: 0.3, b: 0.0}), ([3.0, 1.0], {a: 0.2, b: -5.0}))
    assert best(made).number == 2  # the better of the two trials with one violation
    assert front(made) == []
    (note,) = verdict(made, {}, {}, None)
    assert note == f"no trial satisfies all constraints: the best trial violates {a}"


def test_runs_of_a_large_front_are_evenly_spread():
    made = study(*(([value, value], {}) for value in (0.5, 0.1, 0.3, 0.2, 0.4)))
    assert [trial.number for trial in spread(front(made), 5)] == [0, 1, 2, 3, 4]
    assert [trial.values[0] for trial in spread(front(made), 3)] == [0.5, 0.1, 0.3]


class Traded(Curves):
    """Curves with a cost and a coverage that grow with the parameters."""

    def outcome(self, number, state):
        params = self.trials[number]["params"]
        outcome = super().outcome(number, state)
        measured = {"n_parameters": params["width"], "coverage@10": abs(params["x"])}
        return dataclasses.replace(outcome, attributes={**outcome.attributes, **measured})


GOALS = Goals(("n_parameters",), (COVERED,))
SPACE = {"x": Interval(-1.0, 1.0), "width": Choice((16, 32, 48))}


def traded(directory, sought=GOALS, killed_at=math.inf, **changes):
    """Return a search, killed before a write to its journal, and its number of writes."""
    with killed_at_write(killed_at) as writes:
        runner = Traded(lambda params: 12 - params["width"] // 16)
        made = sweep(directory, runner=runner, space=SPACE, n_trials=16, goals=sought, **changes)
    return made, next(writes)


def records(made):
    rounds = ("started_round", "ended_round", "same_as")
    return [
        (t.number, t.state, t.values, t.params, t.constraints, [t.user_attrs.get(name) for name in rounds])
        for t in made.trials
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return traded(tmp_path_factory.mktemp("through"))


def test_every_objective_and_constraint_is_stored(uninterrupted):
    made, _ = uninterrupted
    assert len(made.trials) == 16
    assert all(trial.values[1] == trial.params["width"] for trial in made.trials)
    violations = [trial.constraints["coverage@10 >= 0.5"] for trial in made.trials]
    assert violations == pytest.approx([0.5 - abs(trial.params["x"]) for trial in made.trials])
    assert abs(best(made).params["x"]) >= 0.5
    assert made.user_attrs["objectives"] == ["ndcg@10", "n_parameters"]


@pytest.mark.parametrize("part", [0.3, 0.55, 0.8])
def test_a_killed_search_ends_with_the_same_trials(part, uninterrupted, tmp_path):
    made, n_writes = uninterrupted
    with pytest.raises(Killed):
        traded(tmp_path, killed_at=int(part * n_writes))
    assert records(traded(tmp_path)[0]) == records(made)


@pytest.mark.whole
def test_a_search_killed_at_any_write_ends_with_the_same_trials(uninterrupted, tmp_path):
    made, n_writes = uninterrupted
    for killed_at in [*range(1, 12), *range(12, n_writes - 1, 5)]:  # the first writes create the study
        with pytest.raises(Killed):
            traded(tmp_path / str(killed_at), killed_at=killed_at)
        assert records(traded(tmp_path / str(killed_at))[0]) == records(made), killed_at


def test_constraints_allow_pruning(tmp_path):
    covered = Constraint("coverage@10", True, 0.2)
    made, _ = traded(tmp_path, Goals((), (covered,)), pruning=Pruning("halving", 11), sampler="random")
    assert any(trial.state.name == "PRUNED" for trial in made.trials)
    complete = [trial for trial in made.trials if trial.state.name == "COMPLETE"]
    feasible = [trial for trial in complete if abs(trial.params["x"]) >= 0.2]
    assert max(complete, key=lambda trial: trial.value) not in feasible
    assert best(made).number == max(feasible, key=lambda trial: trial.value).number


def test_a_trial_without_a_further_objective_fails(tmp_path):
    values = iter([0.5, math.nan])
    runner = Recorder(lambda params: Outcome(1.0, attributes={"coverage@10": next(values, 0.5)}))
    made = sweep(tmp_path, runner, n_trials=2, population=2, goals=Goals(("coverage@10",)))
    assert [trial.state.name for trial in made.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert made.trials[1].user_attrs["error"] == "coverage@10 is nan"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "cmaes"}, "sweep.sampler=cmaes has one objective: choose tpe"),
        ({"goals": Goals()}, "was created to maximize and minimize, this sweep is to maximize"),
        ({"goals": Goals(("latency_ms",), (COVERED,))}, "sweep.objectives: was"),
        ({"goals": Goals(("n_parameters",))}, "sweep.constraints: was"),
    ],
)
def test_another_study_or_sampler_is_refused(changes, message, tmp_path):
    traded(tmp_path, pruning=Pruning())
    with pytest.raises(InputError) as error:
        sweep(tmp_path, space=SPACE, n_trials=16, **{"goals": GOALS, **changes})
    assert message in str(error.value)


def test_objectives_are_measured_even_if_eval_metrics_lacks_them(compose):
    tree = compose("sweep.objectives=[ndcg@10,novelty@10]", "sweep.constraints=['gini@10 <= 0.9']")
    chosen = build(tree["sweep"])
    measuring = chosen.measuring(tree)
    assert measuring["eval"]["metrics"] == (*tree["eval"]["metrics"], "novelty", "gini")
    assert chosen.goals(measuring).directions == ["maximize"]
    assert build(compose()["sweep"]).measuring(tree) is tree
    with pytest.raises(InputError, match="novelty@7 is not measured"):
        build({**tree["sweep"], "objectives": ("ndcg@10", "novelty@7")}).goals(measuring)


def test_finalists_violate_as_few_constraints_as_the_winner(monkeypatch):
    bound, confirmed = str(COVERED), []
    rows = ((0.5, -0.1), (0.9, 0.2), (0.6, 0.0), (0.8, 0.1))
    made = study(*(([value, 1.0], {bound: violation}) for value, violation in rows))

    def confirm(trials, n_seeds, *_):
        confirmed.extend(trial.number for trial in trials)
        return SimpleNamespace(winner=trials[-1].number)

    monkeypatch.setattr(winner, "confirm", confirm)
    monkeypatch.setattr(settings, "is_random", lambda tree: True)
    task = SimpleNamespace(chosen=SimpleNamespace(finalists=3, finalist_seeds=2), tuning=SimpleNamespace(tree={}))
    assert winner._chosen(task, made, None, lambda *_: None)[0].number == 0
    assert confirmed == [2, 0]
