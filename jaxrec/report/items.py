"""The items part of a run's page: a map of their vectors, how often they are recommended, and example lists."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import plotly.graph_objects as go

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.item_labels import Categories, labels
from jaxrec.evaluation.evaluation import RankedLists
from jaxrec.experiment import Result
from jaxrec.features import tables, with_tables
from jaxrec.hyper import with_hyper
from jaxrec.models.model import Factorized
from jaxrec.page.figure import BLUE, COLORS, GRAY, LEGEND, chart, plain, titled
from jaxrec.page.html import Html, box, grid, plural, section, table, tag

DRAWN = 2000  # items of a chart, the most chosen ones: more make a page heavy and a chart no clearer
LENGTH = 10  # of the lists looked at
MAP_COLORS = COLORS[:5]  # more cannot be told apart


def item_section(result: Result) -> Html:
    """Map, frequency and examples, as far as the model and the evaluation have them; empty where neither does."""
    known = result.known
    named, names = labels(known.item_features), item_names(known)
    counts = np.bincount(targets(known).item, minlength=known.n_items)
    parts: list[Html] = []
    if (vectors := _vectors(result)) is not None and known.n_items > 2:
        parts.append(embedding_map(vectors, counts, names, named.categories))
    if result.lists is None:
        return section("Items", grid(parts)) if parts else Html()
    parts.append(frequency(result.lists.items[:, :LENGTH], counts, names))
    shown = [_example(result.lists, row, what, known, names) for row, what in _examples(result.lists, known)]
    examples = section("Example lists", grid(shown, "grid three"))
    return Html(section("Items", grid(parts)) + examples)


def item_names(known: Interactions) -> np.ndarray:
    """The title of each item, or its id where it has none, str [I]."""
    ids = known.item_ids.astype(str)
    titles = labels(known.item_features).titles
    return ids if titles is None else np.where(np.asarray(titles, object) == "", ids, np.asarray(titles, object))


def embedding_map(vectors: np.ndarray, counts: np.ndarray, names: np.ndarray, categories: Categories | None) -> Html:
    """Item vectors [I, D] on their two principal components, each dimension standardized.

    Unscaled, a bias among them would dominate the map.
    """
    items = np.sort(np.argsort(-counts, kind="stable")[:DRAWN])
    spread = vectors[items].std(axis=0)
    centered = (vectors[items] - vectors[items].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    _, lengths, directions = np.linalg.svd(centered, full_matrices=False)
    place = centered @ directions[:2].T
    total = np.sum(lengths**2)
    share = np.sum(lengths[:2] ** 2) / total if total > 0 else 0.0
    groups = _first_categories(items, categories)
    traces = [
        go.Scatter(
            x=place[mine, 0],
            y=place[mine, 1],
            mode="markers",
            name=plain(name),
            marker={"color": color, "size": 6, "opacity": 0.75},
            legendrank=2 if color == GRAY else 1,
            text=[plain(name) for name in names[items[mine]]],
            customdata=counts[items[mine]],
            hovertemplate="%{text}<br>%{customdata:,} interactions<extra></extra>",
        )
        for name, color, mine in groups
    ]
    which = f"The {len(items):,} most popular items" if len(items) < len(vectors) else f"All {len(items):,} items"
    caption = f"{which} on the first two principal components of their vectors ({100 * share:.0f}% of the variance)."
    if len(groups) > 1:
        caption += " Color: the first category of each item."
    bare: dict[str, Any] = {"showticklabels": False, "showgrid": False}
    # Markers of the legend do not shrink with those of the chart.
    legend = {**LEGEND, "itemsizing": "constant", "entrywidth": 90}
    return chart(
        "Item map",
        traces,
        caption,
        xaxis=bare,
        yaxis=bare,
        height=420,
        hovermode="closest",
        showlegend=len(groups) > 1,
        legend=legend,
    )


def frequency(lists: np.ndarray, counts: np.ndarray, names: np.ndarray) -> Html:
    """How often each item is recommended in lists [R, K], against its interactions before the test."""
    shown = np.bincount(lists[lists >= 0], minlength=len(counts))
    items = np.sort(np.argsort(-(counts + shown), kind="stable")[:DRAWN])
    most = np.sort(shown)[::-1]
    hundredth = max(1, len(counts) // 100)
    dots = go.Scatter(
        x=counts[items] + 1,  # a logarithm has no place for 0
        y=shown[items] + 1,
        mode="markers",
        marker={"color": BLUE, "size": 5, "opacity": 0.6},
        text=[plain(name) for name in names[items]],
        customdata=np.stack([counts[items], shown[items]], axis=1),
        hovertemplate="%{text}<br>%{customdata[0]:,} interactions, in %{customdata[1]:,} lists<extra></extra>",
    )
    caption = (
        f"Top {lists.shape[1]} lists. {100 * np.mean(shown == 0):.0f}% of the catalog is never recommended; the most "
        f"recommended 1% of it fills {100 * most[:hundredth].sum() / max(1, shown.sum()):.0f}% of all positions."
    )
    axes = {
        "xaxis": titled("interactions in training", type="log", **_from_zero(counts.max())),
        "yaxis": titled("recommended, times", type="log", **_from_zero(shown.max())),
    }
    return chart("Popularity and recommendations", [dots], caption, height=420, hovermode="closest", **axes)


def _vectors(result: Result) -> np.ndarray | None:
    """Item vectors of the fitted model; None where it has none."""
    if not isinstance(result.model, Factorized):
        return None
    model = with_hyper(result.model, jax.tree.map(jnp.asarray, result.hyper))
    model = with_tables(model, tables(model, result.known.encoded))
    vectors = np.asarray(jax.jit(lambda params: model.bind(params).item_vectors())(result.params), np.float64)
    return vectors if vectors.shape[1] > 1 and np.isfinite(vectors).all() else None


def _first_categories(items: np.ndarray, of: Categories | None) -> list[tuple[str, str, np.ndarray]]:
    """Name, color and mask of the most frequent categories, each item in its first; the rest in gray, drawn first."""
    if of is None:
        return [("items", BLUE, np.ones(len(items), bool))]
    has = np.diff(of.offsets)[items] > 0
    first = np.full(len(items), -1)
    first[has] = of.codes[of.offsets[items[has]]]
    sizes = np.bincount(first[has], minlength=len(of.names))
    common = np.argsort(-sizes, kind="stable")[: min(len(MAP_COLORS), int(np.count_nonzero(sizes)))]
    rest = ~np.isin(first, common)
    groups = [("others", GRAY, rest)] if rest.any() else []
    return groups + [
        (str(of.names[code]), color, first == code) for code, color in zip(common, MAP_COLORS, strict=False)
    ]


def _examples(lists: RankedLists, known: Interactions) -> list[tuple[int, str]]:
    """Rows of users with a short, a medium and a long history: the 10th, 50th and 90th percentile."""
    lengths = np.bincount(known.user, minlength=known.n_users)[lists.users]
    order = np.argsort(lengths, kind="stable")
    places = dict.fromkeys(int(order[round(q * (len(order) - 1))]) for q in (0.1, 0.5, 0.9))
    return [(row, plural(int(lengths[row]), "interaction")) for row in places]


def _example(lists: RankedLists, row: int, what: str, known: Interactions, names: np.ndarray) -> Html:
    user = lists.users[row]
    latest = histories(known.take(known.user == user)).items[::-1][:LENGTH]
    ground_truth = set(lists.ground_truth[lists.offsets[row] : lists.offsets[row + 1]].tolist())
    listed = [item for item in lists.items[row, :LENGTH].tolist() if item >= 0]
    rows = [(rank, names[item], "hit" if item in ground_truth else "") for rank, item in enumerate(listed, 1)]
    hits = sum(item in ground_truth for item in listed)
    return box(
        tag("h3", f"User {known.user_ids[user]}"),
        tag("p", f"{what} in the history; {hits} of {plural(len(ground_truth), 'test item')} recommended.", "soft"),
        table(["latest in the history"], [(name,) for name in names[latest]]),
        table(["", "recommended", ""], rows),
    )


def _from_zero(most: int) -> dict[str, Sequence[Any]]:
    """Ticks of an axis of n + 1 that say n."""
    ticks = [0, *(10**power for power in range(9) if 10**power <= most)]
    return {"tickvals": [tick + 1 for tick in ticks], "ticktext": [f"{tick:,}" for tick in ticks]}
