"""Page of a comparison: colors by verdict, escaped text."""

import numpy as np
import pandas as pd

from jaxrec.page.figure import BLUE, GRAY, ORANGE
from jaxrec.report.comparison import comparison_report
from tests.page import EVIL, Page, numbers


def page_of(metric, differences, p_values):
    names = ["a", *(f"{EVIL}{n}" for n in range(len(differences)))]
    table = pd.DataFrame({"run": names, "seeds": 3, "value": 0.3, "sd": 0.01, "low": 0.2, "high": 0.4})
    table["difference"] = [np.nan, *differences]
    table["difference_low"], table["difference_high"] = table["difference"] - 0.1, table["difference"] + 0.1
    table["p"] = table["p_wilcoxon"] = [np.nan, *p_values]
    return comparison_report(
        metric,
        table,
        [EVIL],
        head={EVIL: EVIL},
        by_run={name: [("seed 1", 0.3), ("seed 2", 0.31)] for name in names},
        means=pd.DataFrame({name: {metric: 0.3, EVIL: 0.1} for name in names}),
        settings=[[EVIL, *([EVIL] * len(names))]],
        directories={name: [EVIL] for name in names},
    )


def test_a_difference_is_colored_only_where_it_is_significant():
    for metric, better, worse in (("ndcg@10", BLUE, ORANGE), ("rmse", ORANGE, BLUE)):
        forest, _ = Page(page_of(metric, [0.2, -0.2, 0.3], [0.01, 0.01, 0.06])).charts
        drawn = {numbers(forest, n, "x")[0]: trace["marker"]["color"] for n, trace in enumerate(forest["data"])}
        assert drawn == {0.2: better, -0.2: worse, 0.3: GRAY}


def test_text_is_escaped():
    source = page_of("ndcg@10", [0.2], [0.5])
    assert "<script>alert" not in source
    assert "<img" not in source
    assert "One seed of" not in Page(source).content
