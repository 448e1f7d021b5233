"""Parts of pages: text is escaped, numbers are right-aligned, every metric has one name."""

import pytest

from jaxrec.page.figure import log_ticks
from jaxrec.page.html import Cell, Html, cards, facts, page, table, tag
from jaxrec.page.metric_labels import label, meaning
from tests.page import EVIL, Page


def test_text_is_escaped_everywhere():
    cell = Cell(EVIL, EVIL, EVIL, EVIL)
    parts = [
        tag("p", EVIL),
        cards((EVIL, EVIL, EVIL)),
        facts((EVIL, EVIL)),
        table([EVIL], [[cell]], above=[(EVIL, 1)], sortable=True),
    ]
    source = page(EVIL, parts)
    assert "".join(Page(source).text).count(EVIL) == 11
    assert "<script>alert" not in source
    assert "<img" not in source
    assert tag("p", Html("<b>bold</b>")) == "<p><b>bold</b></p>"


def test_columns_of_numbers_are_right_aligned_in_all_formats():
    source = table(["name", "share"], [["a", Cell("5%")], ["b", 3.0]])
    assert '<th class="number">share</th>' in source
    assert source.count('<td class="number">') == 2


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sampled_hit_rate@10", "Sampled hit rate@10"),
        ("test sampled_ndcg@10", "test sampled NDCG@10"),
        ("ndcg@10", "NDCG@10"),
        ("hit_rate@5", "Hit rate@5"),
        ("validation recall@20", "validation recall@20"),
        ("test ndcg@20", "test NDCG@20"),
        ("test recall_min@5", "test recall (min)@5"),
        ("sampled_mrr@10", "Sampled MRR@10"),
        ("log_loss", "Log loss"),
        ("of one's own@3", "of one's own@3"),
    ],
)
def test_metrics_have_one_name(key, text):
    assert label(key) == text


def test_sampled_metrics_have_the_descriptions_of_the_others():
    assert meaning("sampled_recall@10") == meaning("recall") != ""
    assert meaning("unknown@1") == ""


def test_ticks_of_a_logarithmic_axis_are_decimal_numbers():
    assert log_ticks(150, 8000)["ticktext"] == ["200", "500", "1,000", "2,000", "5,000"]
    assert log_ticks(0.0015, 0.01)["ticktext"] == ["0.002", "0.005", "0.01"]
