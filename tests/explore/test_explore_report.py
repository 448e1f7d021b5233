"""The page: contents, escaping of names, and that a real browser draws every chart offline."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import encode
from jaxrec.explore.bars import histogram
from jaxrec.explore.next_steps import next_steps
from jaxrec.explore.report import report
from jaxrec.explore.tables import tables
from jaxrec.explore.time_charts import over_time
from tests.data.sources.complete_journey_files import tables as complete_journey_tables
from tests.explore.synthetic_log import made
from tests.page import EVIL, Page, numbers, unpacked

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def full():
    interactions, _ = made()
    return report("made", tables(interactions))


def bare(**columns):
    return encode(pd.DataFrame({"user_id": ["u"], "item_id": ["i"], **columns}), name="bare")


DEGENERATE = {
    "one row": bare(),
    "one row with all columns": bare(time=[1_600_000_000_001], value=[2.5], weight=[1.0]),
    "one user": encode(pd.DataFrame({"user_id": 1, "item_id": range(60), "time": 0}), name="one user"),
    "one item": encode(pd.DataFrame({"user_id": range(60), "item_id": 1, "value": np.nan}), name="one item"),
    "whole days": encode(pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1], "time": [0, 86_400_000]}), name="days"),
    "one event": encode(
        pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1], "event": [0, 0]}), event_names=("view", "buy"), name="event"
    ),
}


def test_the_page_contains_the_numbers_of_the_tables(full):
    shown_text = Page(full).content
    assert "interactions 3,000" in shown_text
    assert "rows dropped 3" in shown_text
    assert "Not shown" not in shown_text
    assert "film 0" in shown_text


def test_every_chart_has_a_sentence(full):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", full)
    assert len(captions) == len(Page(full).charts) == 24
    assert all(re.search(r"\d.*\.$", caption) for caption in captions)
    assert "nan" not in " ".join(captions)


@pytest.mark.parametrize("name", DEGENERATE)
def test_minimal_data_has_a_page(name):
    page = Page(report(name, tables(DEGENERATE[name])))
    assert "features: the data has no features of users or items" in page.content
    assert len(page.charts) >= 9
    assert not re.search(r"\bnan\b", page.content)


def test_problems_come_first_and_next_steps_last(full):
    shown_text = Page(full).content
    places = [shown_text.index(title) for title in ("rows dropped 3", "Summary", "Items", "Sparsity", "Next steps")]
    assert places == sorted(places)


def test_next_steps_fit_the_data():
    days = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1], "time": [0, 86_400_000]})
    timed, untimed = tables(encode(days, name="x")), tables(encode(days.drop(columns="time"), name="x"))
    assert ["split=global_time" in step for _, step in next_steps(timed)] == [True, True]  # whole days have no sessions
    assert [step for _, step in next_steps(untimed)] == [["model=popularity,item_knn,ease,ials"], ["sweep=mf"]]
    alone = tables(encode(days.assign(time=[1, 2]), name="x"))
    assert ["split=sessions" in step for _, step in next_steps(alone)] == [False, False]  # sessions of one action
    moments = tables(encode(days.assign(user_id=1, item_id=[1, 2], time=[1, 2]), name="x"))
    assert next_steps(moments)[-1][1] == ["split=sessions", "model=item_knn,gru4rec", "data.duplicates=keep"]
    assert next_steps(moments, repeats=False)[-1][1] == ["split=sessions", "model=item_knn,gru4rec"]
    source = Page(report("x", untimed, ["data=files", "data.path=a b.csv"])).content
    assert "jaxrec train --multirun data=files 'data.path=a b.csv' sweep=mf" in source


def test_every_bar_has_a_label_and_leading_empty_ranges_are_omitted():
    table = pd.DataFrame({"low": [1, 2, 3, 5], "high": [1, 2, 4, 9], "count": [0, 3, 0, 2]})
    (chart,) = Page(histogram("t", table, "x", "y", "", "#000000")).charts
    assert chart["layout"]["xaxis"]["ticktext"] == ["2", "3\u20134", "5\u20139"]
    assert unpacked(chart["layout"]["xaxis"]["tickvals"]) == numbers(chart, 0, "x") == [0, 1, 2]
    assert numbers(chart, 0, "y") == [3, 0, 2]


@pytest.mark.parametrize(("days", "tick"), [(40, None), (200, "M1"), (500, "M2"), (3000, "M12")])
def test_ticks_are_at_most_nine_months(days, tick):
    time = pd.Series([0, days * 86_400_000])
    made = tables(encode(pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1], "time": time}), name="x"))
    (chart,) = Page(over_time(made["over_time"])).charts
    assert chart["layout"]["xaxis"].get("dtick") == tick


def test_markup_in_names_stays_text():
    frame = pd.DataFrame({"user_id": [EVIL, "b"], "item_id": [EVIL, "d"], "event": [0, 1], "time": [1, 2]})
    items = pd.DataFrame({"item_id": [EVIL, "d"], "title": [EVIL, "plain"], EVIL: [1.0, 2.0]})
    data = encode(frame, item_features=items, event_names=(f"view{EVIL}", f"buy{EVIL}"), notes={EVIL: 3}, name=EVIL)
    source = report(EVIL, tables(data))
    page = Page(source)
    assert EVIL in page.content
    assert "<script>alert" not in source
    assert "<img" not in source
    # Plotly draws tags that it finds in text.
    drawn = str(page.charts).replace("<br>", "").replace("<extra></extra>", "")
    assert re.findall(r"<[a-z/]", drawn) == []


@pytest.mark.slow
def test_the_page_of_large_data_is_small():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(0, 50_000, 200_000), "item_id": rng.integers(0, 20_000, 200_000)})
    data = encode(rows.assign(time=rng.integers(0, 10**12, 200_000), value=rng.normal(size=200_000)), name="large")
    source = report("large", tables(replace(data, user_features=pd.DataFrame({"age": rng.random(data.n_users)}))))
    assert len(source) < 2_300_000  # 2 MB of them are Plotly


def test_the_script_writes_the_page_and_its_tables(command, tmp_path):
    small = ("data=synthetic", "data.n_users=60", "data.n_items=50", "data.n_interactions=900")
    done = command("explore", *small, f"out={tmp_path}/x")
    assert done.returncode == 0, done.stderr
    assert "interactions" in done.stdout
    assert "report.html; the tables behind them" in done.stdout
    written = {path.name for path in (tmp_path / "x").iterdir()}
    assert {"report.html", "summary.csv", "top_items.csv", "over_time.csv", "k_cores.csv", "problems.csv"} <= written
    assert pd.read_csv(tmp_path / "x" / "actions.csv").interactions.tolist() == [900]


def test_repeats_and_returns_are_included_by_default(command, tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,q\n1,1,3\n1,1,-3\n2,1,1\n2,1,1\n3,2,4\n")
    of = ["data=files", f"data.path={tmp_path / 'log.csv'}", "data.value_column=q"]
    for more, n, single in ([], 5, 1), (["data.duplicates=last"], 3, 3):
        out = tmp_path / f"out{n}"
        done = command("explore", *of, *more, f"out={out}")
        assert done.returncode == 0, done.stderr
        assert pd.read_csv(out / "actions.csv").interactions.tolist() == [n]
        histogram = pd.read_csv(out / "user_histogram.csv")
        assert histogram["count"][(histogram.group == "all users") & (histogram.high == 1)].tolist() == [single]
        found = pd.read_csv(out / "problems.csv").set_index("problem")["count"]
        assert found["rows with a negative value"] == 1


@pytest.mark.parametrize(("typed", "least"), [((), 1.0), (("data.quantity=log",), np.log(2))])
def test_quantities_are_not_transformed_by_default(command, typed, least, tmp_path):
    for name, table in complete_journey_tables().items():
        table.to_parquet(tmp_path / f"{name}.parquet", index=False)
    given = ("data=complete_journey", f"data.path={tmp_path}", f"out={tmp_path}/x", *typed)
    done = command("explore", *given)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "x" / "values.csv").low.min() == pytest.approx(least)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explore.top=0"], "explore.top=0: must be greater than 0"),
        (["explore.gap=3"], "explore.gap"),
        (["data=synthetic", "explore.funnel=[view]"], "the data has fewer than two event types"),
    ],
)
def test_an_error_is_one_line(command, arguments, message, tmp_path):
    done = command("explore", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.rglob("report.html"))


# Recorded by the page itself, as the browser makes requests of its own.
SAYS = """<script>setTimeout(() => {
  const asked = performance.getEntriesByType("resource").map((entry) => entry.name);
  document.body.dataset.asked = JSON.stringify(asked);
}, 20000)</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: no chromium or google-chrome is installed")
@pytest.mark.parametrize("name", ["full", "one row with all columns"])
def test_a_browser_draws_every_chart_offline(name, full, tmp_path):
    source = full if name == "full" else report(name, tables(DEGENERATE[name]))
    path = tmp_path / "report.html"
    path.write_text(source.replace("</body>", f"{SAYS}</body>"), encoding="utf-8")
    flags = "--no-sandbox --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=60000 --dump-dom"
    own = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    command = [str(CHROMIUM), *flags.split(), *own]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr  # where a page's errors and warnings are logged
    wanted = source.count('<div class="chart"')
    drawn = done.stdout.split('class="chart js-plotly-plot"')[1:]
    assert len(drawn) == wanted
    assert all('class="main-svg"' in chart for chart in drawn)
    assert all(re.search(r"<text[^>]*>[^<]*\w", chart) or "<tspan" in chart for chart in drawn)
    assert re.search(r'data-asked="(.*?)"', done.stdout)[1] == "[]"
