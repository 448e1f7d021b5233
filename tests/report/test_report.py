import base64
import gzip
import json
import math
import re
import shlex
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from plotly.offline import get_plotlyjs

from jaxrec.bootstrap import mean_and_interval
from jaxrec.report import trial_sample
from jaxrec.report.run_report import run_report
from jaxrec.report.search_report import sweep_report
from tests.page import EVIL, Page, numbers, unpacked
from tests.report.synthetic_result import TREE, result

SPACE = {
    "optimizer.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "model.embedding_dim": CategoricalDistribution((16, 32)),
    "negatives.ratio": IntDistribution(1, 8),
}


def study(values=(0.1, 0.3, 0.2), *, failed=0, pruned=0, space=SPACE, direction="maximize", **attributes):
    made = optuna.create_study(direction=direction)
    for name, value in {"metric": "validation ndcg@10", "overrides": ["data=films"], **attributes}.items():
        made.set_user_attr(name, value)
    states = [(TrialState.COMPLETE, v) for v in values] + [(TrialState.FAIL, None)] * failed
    for number, (state, value) in enumerate([*states, *[(TrialState.PRUNED, 0.05)] * pruned]):
        params = {
            key: d.choices[number % len(d.choices)] if isinstance(d, CategoricalDistribution) else d.low * (number + 1)
            for key, d in space.items()
        }
        error = {"error": "out of memory"} if state == TrialState.FAIL else {"seconds": 1.25}
        made.add_trial(
            create_trial(
                state=state,
                value=value,
                params=params,
                distributions=space,
                user_attrs=error,
                intermediate_values={0: value} if state == TrialState.PRUNED else {},
            )
        )
    return made


def test_figures_of_a_run_are_shown_beside_those_of_popularity():
    page = Page(run_report("monday", TREE, result()))
    shown_text = page.content
    assert "Popularity on films" in shown_text
    assert "Run monday Trained on training data Ranking full catalog, for each user" in shown_text
    assert "test NDCG@10 0.4321 95% interval 0.4111 to 0.4555" in shown_text
    assert "NDCG@10 of popularity 0.2000" in shown_text
    assert "relative to popularity 2.16\u00d7" in shown_text  # 0.4321 / 0.2
    assert "at 5 at 10 metric model popularity model popularity" in shown_text
    assert "NDCG 0.5000 0.2500 0.4321 0.4111 to 0.4555 0.2000" in shown_text
    assert "Coverage 0.2500 0.1250" in shown_text
    assert "cold items: in test, not in training 7" in shown_text
    assert "37.50%" in shown_text
    assert "novel key 3" in shown_text
    assert "interactions known before the test 10" in shown_text
    assert "model parameters 5" in shown_text
    assert "reading and splitting 1.50 s" in shown_text
    assert "device abacus" in shown_text
    assert "eval.k 5, 10" in shown_text
    assert "model.note a < b" in shown_text


def test_a_monitored_metric_besides_the_leading_one_is_shown_first():
    tree = {**TREE, "eval": {**TREE["eval"], "monitor": "coverage@10"}}
    shown_text = Page(run_report("r", tree, result())).content
    assert shown_text.index("test coverage@10 0.2500 monitored") < shown_text.index("test NDCG@10 0.4321")


def test_charts_of_a_run():
    loss, validation, spread, activity = Page(run_report("r", TREE, result())).charts
    assert numbers(loss, 0, "y") == [3.0, 2.0, 1.0]
    assert numbers(validation, 0, "y") == [0.1, 0.3]
    assert numbers(validation, 1, "y") == [0.3]  # the star of epoch 2
    assert numbers(spread, 0, "y") == [1, *[0] * 7, 1, *[0] * 3, 1, *[0] * 3, 1, *[0] * 3]
    assert numbers(activity, 0, "x") == ["1", "2", "3", "4"]
    assert numbers(activity, 0, "y") == pytest.approx([0.0, 0.42, 0.62, 0.82])


def test_intervals_by_activity_resample_all_rows_of_a_user_together():
    """Ten equal steps of each of four users: the interval is that of four values."""
    values = np.array([0.0, 0.2, 0.7, 1.0])
    steps = pd.DataFrame({"user_id": np.repeat(["d", "b", "a", "c"], 10), "ndcg@10": np.repeat(values, 10), "known": 3})
    chart = Page(run_report("r", TREE, result(per_user=steps))).charts[-1]
    mean, low, high = mean_and_interval(values)
    bars = chart["data"][0]["error_y"]
    assert unpacked(bars["array"]) == pytest.approx([high - mean])
    assert unpacked(bars["arrayminus"]) == pytest.approx([mean - low])


def test_users_with_equal_history_lengths_are_in_one_group():
    known = result().known
    equal = known.take(np.array([0, 1, 3, 6]))  # one interaction each
    chart = Page(run_report("r", TREE, result(equal))).charts[-1]
    assert numbers(chart, 0, "x") == ["1"]
    assert numbers(chart, 0, "customdata") == [4]


def test_a_model_without_epochs_has_no_curves():
    source = run_report("r", TREE, result(history=pd.DataFrame()))
    assert "Learning curves" not in source
    assert len(Page(source).charts) == 2


def test_values_that_are_not_finite_are_shown_and_do_not_break_the_page():
    broken = result(per_user=pd.DataFrame({"user_id": ["a"], "ndcg@10": [math.nan]}))
    broken.metrics |= {"test": {"ndcg@10": math.nan}, "popularity": {"ndcg@10": 0.0}, "test_interval": {}}
    broken.metrics["interrupted"] = True
    page = Page(run_report("r", TREE, broken))
    assert "test NDCG@10 n/a" in page.content
    assert "relative to popularity n/a" in page.content
    assert "No user has a value of NDCG@10." in page.content
    assert "Training was interrupted" in page.content


def test_sampled_rankings_are_labeled():
    tree = {
        **TREE,
        "eval": {"_target_": "jaxrec.evaluation.candidates.CandidateEvaluation", "monitor": "sampled_ndcg@10"},
    }
    sampled = result(per_user=result().per_user.rename(columns={"ndcg@10": "sampled_ndcg@10"}))
    for part in ("test", "popularity", "test_interval"):
        sampled.metrics[part] = {f"sampled_{key}": value for key, value in sampled.metrics[part].items()}
    shown_text = Page(run_report("r", tree, sampled)).content
    assert "SAMPLED" in shown_text
    assert "test sampled NDCG@10 0.4321 95% interval 0.4111 to 0.4555" in shown_text
    assert re.search(r"(?<!Sampled )(?<!sampled )NDCG@", shown_text) is None, "no number without the word"
    assert "SAMPLED" not in run_report("r", TREE, result())


def grouped():
    found, popular = {"ndcg@10": 0.1234, "recall@10": 0.25}, {"ndcg@10": 0.05, "recall@10": 0.1}
    made = result()
    made.metrics["test_groups"] = {
        "items": {"cold": {"users": 3, "rows": 3, **found}},
        "users": {"low": {"users": 1200, "rows": 1200, **found, "known": [1, 5]}},
    }
    made.metrics["popularity_groups"] = {"users": {"low": {"users": 1200, "rows": 1200, **popular}}}
    return made


def test_groups_are_a_table_with_popularity():
    made = grouped()
    shown_text = Page(run_report("r", TREE, made)).content
    assert "NDCG@10 Recall@10 group users model popularity model popularity history length" in shown_text
    assert "items cold 3 0.1234 n/a 0.2500 n/a" in shown_text
    assert "users low 1,200 0.1234 0.0500 0.2500 0.1000 1 to 5" in shown_text
    assert "cold items without training interactions" in shown_text
    made.metrics["test_groups"]["users"]["low"]["rows"] = 2400
    assert "group users evaluated model" in Page(run_report("r", TREE, made)).content
    assert "history length" not in Page(run_report("r", TREE, result())).content


def test_groups_are_charted_with_popularity_if_it_is_known():
    items, users = Page(run_report("r", TREE, grouped())).charts[-2:]
    assert [(t["name"], numbers({"data": [t]}, 0, "y")) for t in items["data"]] == [("model", [0.1234])]
    assert [(t["name"], numbers({"data": [t]}, 0, "y")) for t in users["data"]] == [
        ("model", [0.1234]),
        ("popularity", [0.05]),
    ]
    assert users["data"][0]["x"] == ["low"]


def test_the_reason_for_a_missing_metric_is_shown():
    made = result()
    made.metrics["test"]["auc"] = math.nan
    made.metrics["undefined"] = {"auc": "no held-out row has label 0"}
    shown_text = Page(run_report("r", TREE, made)).content
    assert "AUC undefined" in shown_text
    assert "AUC is undefined: no held-out row has label 0." in shown_text


@pytest.mark.parametrize(
    ("split", "noun"), [("session_split.by_session", "step"), ("split.holdout", "test interaction")]
)
def test_rows_are_named_users_steps_or_held_out_items(split, noun):
    rows = pd.DataFrame({"user_id": ["a", "a", "b"], "ndcg@10": [0.0, 0.2, 0.7], "known": [1, 2, 3]})
    tree = {**TREE, "split": {"_target_": f"jaxrec.data.{split}"}}
    source = run_report("r", tree, result(per_user=rows))
    assert f"Quarters of the {noun}s by length of history" in source
    assert f"of 3 {noun}s; 33% of them have 0." in source
    assert "Quarters of the users" in run_report("r", tree, result())


def test_rows_dropped_in_reading_are_among_the_facts():
    made = result()
    made.metrics["data"]["reading"] = {"rows without a customer, dropped": 1234}
    assert "rows without a customer, dropped 1,234" in Page(run_report("r", TREE, made)).content


def test_a_search_shows_its_result():
    page = Page(sweep_report("hunt", study(failed=1, pruned=2), result()))
    assert "Search on films for the highest validation NDCG@10." in page.content
    assert "best validation NDCG@10 0.3000 trial 1" in page.content
    assert "test NDCG@10 0.4321" in page.content
    assert "trials complete 3 1 failed, 2 pruned" in page.content
    assert "model.embedding_dim 32" in page.content
    assert "failed" in page.content
    assert "out of memory" in page.content
    assert "Importances from only 3 complete trials" in page.content
    assert "jaxrec train data=films optimizer.learning_rate=0.0002" in page.content
    leaders = page.content.partition("Leaderboard")[2]
    assert re.search(r"negatives\.ratio 1 0\.3000 0\.0002 32 2 2 0\.2000 0\.0003 16 3 0 0\.1000 ", leaders)


def test_charts_of_a_search():
    history, _, rate, width, ratio, parallel = Page(sweep_report("s", study(pruned=1), result())).charts
    assert numbers(history, 0, "y") == [0.1, 0.3, 0.3]
    assert [trace.get("name") for trace in history["data"]] == ["best so far", "trial", "pruned"]
    assert rate["layout"]["xaxis"]["type"] == "log"
    assert width["layout"]["xaxis"]["categoryarray"] == ["16", "32"]
    assert "type" not in ratio["layout"]["xaxis"]
    assert numbers(ratio, 1, "x") == [2]  # the star: trial 1
    labels = [axis["label"] for axis in parallel["data"][0]["dimensions"]]
    assert labels == ["learning_rate", "embedding_dim", "ratio", "validation NDCG@10"]


def test_the_best_of_a_minimized_search_is_the_lowest():
    page = Page(sweep_report("s", study(direction="minimize"), result()))
    assert "best validation NDCG@10 0.1000 trial 0" in page.content
    assert numbers(page.charts[0], 0, "x") == [0, 2]
    assert numbers(page.charts[0], 0, "y") == [0.1, 0.1]


def test_a_search_of_one_trial_has_no_importances():
    page = Page(sweep_report("s", study([0.2]), result()))
    assert "no importances: at least two complete trials are needed, the study has 1" in page.content
    assert "Validation NDCG@10 by trial" in page.content


def test_a_search_shows_curves_and_slots_of_its_trials():
    made = study([0.1])
    rounds = {"started_round": 0, "ended_round": 4}
    made.add_trial(
        create_trial(
            value=0.4,
            params={key: made.trials[0].params[key] for key in SPACE},
            distributions=SPACE,
            intermediate_values={2: 0.2, 4: 0.4},
            user_attrs=rounds,
        )
    )
    page = Page(sweep_report("s", made, result()))
    assert "Learning curves Validation NDCG@10 by epoch" in page.content
    assert "Slots over time Trials in slots" in page.content
    assert numbers(page.charts[2], -1, "y") == [0.2, 0.4, None]
    assert numbers(page.charts[3], 0, "base") == [0]
    without = Page(sweep_report("s", study(), result())).content
    assert "Learning curves" not in without
    assert "Slots over time" not in without


def test_of_many_trials_a_sample_is_shown(monkeypatch):
    monkeypatch.setattr(trial_sample, "N_BEST", 3)
    monkeypatch.setattr(trial_sample, "N_OTHERS", 2)
    made = study([n / 20 for n in range(20)], failed=10, pruned=10, space={"x": FloatDistribution(0, 1)})
    source = sweep_report("s", made, result())
    page = Page(source)
    history, _, x, parallel = page.charts
    assert numbers(history, 0, "y") == [n / 20 for n in range(20)], "the best so far is of all trials"
    assert sum(len(numbers(history, i, "x")) for i in range(1, len(history["data"]))) == 5
    assert numbers(x, 0, "customdata")[-3:] == [17, 18, 19]
    assert len(numbers(x, 0, "customdata")) == len(unpacked(parallel["data"][0]["dimensions"][0]["values"])) == 5
    table = page.content.partition("All trials")[2]
    assert "Shown are the 3 best of 40 trials and a random sample of 2 others. All of them are in trials.csv." in table
    assert source.partition("All trials")[2].count("<tr>") == 1 + 5


def test_parameters_that_only_some_trials_have():
    made = study([0.1, 0.2], space=SPACE | {"model.depth": IntDistribution(1, 4)})
    made.add_trials(study([0.3, 0.4]).get_trials())
    page = Page(sweep_report("s", made, result()))
    assert len(numbers(page.charts[-2], 0, "x")) == 2  # the slice of model.depth
    labels = [axis["label"] for axis in page.charts[-1]["data"][0]["dimensions"]]
    assert labels == ["learning_rate", "embedding_dim", "ratio", "validation NDCG@10"]


def hostile_run():
    known = result().known
    items = pd.DataFrame({"title": [EVIL] * 5, "genres": [[EVIL]] * 5, EVIL: [EVIL] * 5})
    ids = np.array([f"{EVIL}{n}" for n in range(4)], object)
    evil = replace(known, name=EVIL, item_features=items, user_ids=ids)
    tree = {**TREE, "model": {"_target_": f"x.{EVIL}", EVIL: EVIL}}
    made = result(evil)
    made.metrics["test"] |= {f"{EVIL}@10": 0.1}
    made.metrics["data"] |= {EVIL: EVIL}
    made.metrics["environment"] |= {EVIL: [EVIL]}
    return run_report(EVIL, tree, made)


def hostile_search():
    space = {EVIL: CategoricalDistribution((EVIL, "b")), "y": FloatDistribution(1, 8)}
    return sweep_report(EVIL, study(failed=1, space=space, metric=EVIL, overrides=[EVIL]), result())


@pytest.mark.parametrize("make", [hostile_run, hostile_search])
def test_hostile_names_are_escaped(make):
    source = make()
    page = Page(source)
    assert EVIL in page.content
    assert "<script>alert" not in source
    assert "<img" not in source
    assert "alert" not in {name for _, attributes in page.tags for name in attributes}
    # Plotly draws tags that it finds in text.
    texts = re.findall(
        r"<[a-z/]",
        json.dumps([chart["data"] for chart in page.charts]).replace("<br>", "").replace("<extra></extra>", ""),
    )
    assert texts == []
    assert "<img" not in json.dumps([chart["layout"] for chart in page.charts])


@pytest.mark.parametrize(
    "make", [lambda: run_report("r", TREE, result()), lambda: sweep_report("s", study(), result())]
)
def test_pages_make_no_requests(make):
    page = Page(make())
    asked = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert [link for link in asked if "//" in link] == []
    assert all(link in ("data:,", "best/report.html") for link in asked)


def test_plotly_is_embedded_once_and_complete():
    source = run_report("r", TREE, result())
    (packed,) = re.findall(r'<script type="application/gzip" id="plotly">(.*?)</script>', source, re.DOTALL)
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert len(source) < 2_500_000


def test_repeated_command_is_one_shell_line():
    page = Page(sweep_report("s", study(), result()))
    typed = re.search(r"jaxrec train .*?(?= Full report)", page.content)[0]
    assert shlex.split(typed)[2:] == [
        "data=films",
        "optimizer.learning_rate=0.0002",
        "model.embedding_dim=32",
        "negatives.ratio=2",
    ]


def test_parallel_coordinates_have_a_color_scale_and_axes_that_contain_their_ticks():
    (lines,) = Page(sweep_report("s", study(), result())).charts[-1]["data"]
    assert lines["line"]["showscale"]
    assert lines["line"]["colorbar"]["title"]["text"] == "validation NDCG@10"
    rate = lines["dimensions"][0]  # 0.0001 to 0.0003: ticks from 0.0001 to 0.0005
    assert rate["range"] == pytest.approx([-4, math.log10(0.0005)])
    assert max(unpacked(rate["tickvals"])) <= rate["range"][1]


def test_table_headers_may_wrap_after_parts_of_a_key():
    assert "optimizer.<wbr>learning_<wbr>rate" in sweep_report("s", study(), result())
