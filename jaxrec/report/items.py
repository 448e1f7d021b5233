"""Item section of a run's report: map of item vectors, recommendation frequency, and example lists."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Array

from jaxrec import programs
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.item_labels import Categories, labels
from jaxrec.evaluation.evaluation import RankedLists
from jaxrec.experiment import Result
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.hyper import Hyper, with_hyper, zeroed
from jaxrec.models.model import Factorized, Params, has_dot_products
from jaxrec.page.figure import BLUE, COLORS, GRAY, LEGEND, chart, plain, titled
from jaxrec.page.html import Html, box, grid, plural, section, table, tag

DRAWN = 2000  # maximum number of items in a chart, the most popular ones
LENGTH = 10  # length of the recommendation lists
MAP_COLORS = COLORS[:5]  # more are hard to distinguish


def item_section(result: Result) -> Html:
    """Return item map, frequency chart and example lists, as far as available; may be empty."""
    known = result.known
    item_labels, names = labels(known.item_features), item_names(known)
    counts = np.bincount(targets(known).item, minlength=known.n_items)
    parts: list[Html] = []
    if (vectors := _vectors(result)) is not None and known.n_items > 2:
        parts.append(embedding_map(vectors, counts, names, item_labels.categories))
    if result.lists is None:
        return section("Items", grid(parts)) if parts else Html()
    parts.append(frequency(result.lists.items[:, :LENGTH], counts, names))
    boxes = [_example(result.lists, row, what, known, names) for row, what in _examples(result.lists, known)]
    examples = section("Example lists", grid(boxes, "grid three"))
    return Html(section("Items", grid(parts)) + examples)


def item_names(known: Interactions) -> np.ndarray:
    """Return the title of each item, or its id if it has none, str [I]."""
    ids = known.item_ids.astype(str)
    titles = labels(known.item_features).titles
    return ids if titles is None else np.where(np.asarray(titles, object) == "", ids, np.asarray(titles, object))


def embedding_map(vectors: np.ndarray, counts: np.ndarray, names: np.ndarray, categories: Categories | None) -> Html:
    """Draw item vectors [I, D] on their first two principal components.

    Dimensions are standardized; otherwise a bias dimension would dominate the map.
    """
    items = np.sort(np.argsort(-counts, kind="stable")[:DRAWN])
    spread = vectors[items].std(axis=0)
    centered = (vectors[items] - vectors[items].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    variances, directions = np.linalg.eigh(centered.T @ centered)  # ascending
    coordinates = centered @ directions[:, :-3:-1]
    share = variances[-2:].sum() / variances.sum() if variances.any() else 0.0
    groups = _first_categories(items, categories)
    traces = [
        go.Scatter(
            x=coordinates[mask, 0],
            y=coordinates[mask, 1],
            mode="markers",
            name=plain(name),
            marker={"color": color, "size": 6, "opacity": 0.75},
            legendrank=2 if color == GRAY else 1,
            text=[plain(name) for name in names[items[mask]]],
            customdata=counts[items[mask]],
            hovertemplate="%{text}<br>%{customdata:,} interactions<extra></extra>",
        )
        for name, color, mask in groups
    ]
    which = f"The {len(items):,} most popular items" if len(items) < len(vectors) else f"All {len(items):,} items"
    caption = f"{which} on the first two principal components of their vectors ({100 * share:.0f}% of the variance)."
    if len(groups) > 1:
        caption += " Color: the first category of each item."
    bare: dict[str, object] = {"showticklabels": False, "showgrid": False}
    # Legend markers keep their size although those of the chart are small.
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
    """Draw how often each item occurs in recommendation lists [R, K], against its interactions in training."""
    recommended = np.bincount(lists[lists >= 0], minlength=len(counts))
    items = np.sort(np.argsort(-(counts + recommended), kind="stable")[:DRAWN])
    most = np.sort(recommended)[::-1]
    hundredth = max(1, len(counts) // 100)
    dots = go.Scatter(
        x=counts[items] + 1,  # 0 has no position on a logarithmic axis
        y=recommended[items] + 1,
        mode="markers",
        marker={"color": BLUE, "size": 5, "opacity": 0.6},
        text=[plain(name) for name in names[items]],
        customdata=np.stack([counts[items], recommended[items]], axis=1),
        hovertemplate="%{text}<br>%{customdata[0]:,} interactions, in %{customdata[1]:,} lists<extra></extra>",
    )
    caption = (
        f"Top {lists.shape[1]} lists. {100 * np.mean(recommended == 0):.0f}% of the catalog is never recommended; the "
        f"most recommended 1% fill {100 * most[:hundredth].sum() / max(1, recommended.sum()):.0f}% of all positions."
    )
    axes = {
        "xaxis": titled("interactions in training", type="log", **_from_zero(counts.max())),
        "yaxis": titled("times recommended", type="log", **_from_zero(recommended.max())),
    }
    return chart("Popularity and recommendations", [dots], caption, height=420, hovermode="closest", **axes)


def _vectors(result: Result) -> np.ndarray | None:
    """Return the item vectors of the trained model; None if it has none."""
    if not has_dot_products(result.model):
        return None
    program = programs.jit(partial(_item_vectors, zeroed(result.model, result.hyper.of("model"))))
    feature_tables = tables(result.model, result.known.encoded)
    vectors = np.asarray(program(feature_tables, result.hyper, result.params), np.float64)
    return vectors if vectors.shape[1] > 1 and np.isfinite(vectors).all() else None


def _item_vectors(model: Factorized, feature_tables: FeatureTables, hyper: Hyper, params: Params) -> Array:
    return with_tables(with_hyper(model, hyper), feature_tables).bind(params).item_vectors()


def _first_categories(items: np.ndarray, categories: Categories | None) -> list[tuple[str, str, np.ndarray]]:
    """Group items by their first category; return name, color and mask of the most frequent, the others first."""
    if categories is None:
        return [("items", BLUE, np.ones(len(items), bool))]
    has = np.diff(categories.offsets)[items] > 0
    first = np.full(len(items), -1)
    first[has] = categories.codes[categories.offsets[items[has]]]
    sizes = np.bincount(first[has], minlength=len(categories.names))
    common = np.argsort(-sizes, kind="stable")[: min(len(MAP_COLORS), int(np.count_nonzero(sizes)))]
    rest = ~np.isin(first, common)
    groups = [("others", GRAY, rest)] if rest.any() else []
    return groups + [
        (str(categories.names[code]), color, first == code) for code, color in zip(common, MAP_COLORS, strict=False)
    ]


def _examples(lists: RankedLists, known: Interactions) -> list[tuple[int, str]]:
    """Select users with a short, a medium and a long history: the 10th, 50th and 90th percentile."""
    lengths = np.bincount(known.user, minlength=known.n_users)[lists.users]
    order = np.argsort(lengths, kind="stable")
    places = dict.fromkeys(int(order[round(q * (len(order) - 1))]) for q in (0.1, 0.5, 0.9))
    return [(row, plural(int(lengths[row]), "interaction")) for row in places]


def _example(lists: RankedLists, row: int, what: str, known: Interactions, names: np.ndarray) -> Html:
    user = lists.users[row]
    offsets, entries = known.histories[:2]
    latest = entries[offsets[user] : offsets[user + 1]][::-1][:LENGTH]
    ground_truth = set(lists.ground_truth[lists.offsets[row] : lists.offsets[row + 1]].tolist())
    items = [item for item in lists.items[row, :LENGTH].tolist() if item >= 0]
    rows = [(rank, names[item], "hit" if item in ground_truth else "") for rank, item in enumerate(items, 1)]
    hits = sum(item in ground_truth for item in items)
    return box(
        tag("h3", f"User {known.user_ids[user]}"),
        tag("p", f"{what} in the history; {hits} of {plural(len(ground_truth), 'test item')} recommended.", "soft"),
        table(["latest in the history"], [(name,) for name in names[latest]]),
        table(["", "recommended", ""], rows),
    )


def _from_zero(most: int) -> dict[str, Sequence[object]]:
    """Return ticks of an axis of n + 1, labeled n."""
    ticks = [0, *(10**power for power in range(9) if 10**power <= most)]
    return {"tickvals": [tick + 1 for tick in ticks], "ticktext": [f"{tick:,}" for tick in ticks]}
