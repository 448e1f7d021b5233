"""Tables of metrics by list length: one length is shown, the others are collapsed."""

from collections.abc import Mapping, Sequence

from jaxrec.page.html import Html, details, table
from jaxrec.page.metric_labels import label, meaning


def metrics_at(heads: Sequence[str], rows: Mapping[str, Sequence[object]], metric: str, note: Html) -> Html:
    """Return a table of the metrics at the list length of `metric`, and collapsed tables of the other lengths.

    Args:
        heads: column headers, the first of the metric.
        rows: cells of each metric after its name, by key.
        metric: the metric whose list length is shown; metrics without a length are shown with it.
        note: text below the shown table.
    """
    by_length: dict[str, list[list[object]]] = {}
    for key, cells in rows.items():
        by_length.setdefault(key.partition("@")[2], []).append([label(key), *cells])
    first = metric.partition("@")[2]
    shown = [*by_length.pop(first, []), *(by_length.pop("", []) if first else [])]
    others = [details(f"At {length}", table(heads, rest)) for length, rest in by_length.items()]
    legend = dict.fromkeys((label(key.partition("@")[0]), meaning(key)) for key in rows)
    return Html("").join([table(heads, shown), note, *others, details("Definitions", table([], [*legend]))])
