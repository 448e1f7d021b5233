"""What a run's page shows of items: where the model puts them, how often it shows them, and lists beside histories."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import plotly.graph_objects as go

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.item_labels import Categories, labels
from jaxrec.evaluation.evaluation import Lists
from jaxrec.experiment import Result
from jaxrec.features import tables, with_tables
from jaxrec.hyper import with_hyper
from jaxrec.models.model import Factorized
from jaxrec.page.figure import BLUE, GREY, ORANGE, chart, plain, titled
from jaxrec.page.html import Html, box, grid, section, table, tag

DRAWN = 2000  # items of a chart, the most chosen ones: more make a page heavy and a chart no clearer
LENGTH = 10  # of the lists looked at
COLOURS = (BLUE, ORANGE, "#3aa66b", "#b65fcf", "#d4526e", "#8c6d46", "#2fa7b5", "#a3a847")


def item_section(result: Result) -> Html:
    """Map, frequency and examples, as far as the model and the evaluation have them; empty where neither does."""
    known = result.known
    named = labels(known.item_features)
    names = known.item_ids.astype(str) if named.titles is None else np.asarray(named.titles, object)
    names = np.where(names == "", known.item_ids.astype(str), names)
    counts = np.bincount(targets(known).item, minlength=known.n_items)
    parts: list[Html] = []
    if (vectors := _vectors(result)) is not None and known.n_items > 2:
        parts.append(embedding_map(vectors, counts, names, named.categories))
    if result.lists is None:
        return section("Items", grid(parts)) if parts else Html()
    parts.append(frequency(result.lists.items[:, :LENGTH], counts, names))
    shown = [_example(result.lists, row, what, known, names) for row, what in _examples(result.lists, known)]
    examples = section("Three users", grid(shown, "grid three"))
    return Html(section("Items", grid(parts)) + examples)


def embedding_map(vectors: np.ndarray, counts: np.ndarray, names: np.ndarray, categories: Categories | None) -> Html:
    """Item vectors [I, D] on their two principal components, every number of a vector brought to one scale.

    Unscaled, a bias among them would be the map.
    """
    items = np.sort(np.argsort(-counts, kind="stable")[:DRAWN])
    spread = vectors[items].std(axis=0)
    centred = (vectors[items] - vectors[items].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    place = centred @ directions[:2].T
    total = np.sum(lengths**2)
    share = np.sum(lengths[:2] ** 2) / total if total > 0 else 0.0
    groups = _first_categories(items, categories)
    traces = [
        go.Scatter(
            x=place[mine, 0],
            y=place[mine, 1],
            mode="markers",
            name=plain(name),
            marker={"color": colour, "size": 5, "opacity": 0.7},
            text=[plain(name) for name in names[items[mine]]],
            customdata=counts[items[mine]],
            hovertemplate="%{text}<br>had by %{customdata:,}<extra></extra>",
        )
        for name, colour, mine in groups
    ]
    which = f"The {len(items):,} most chosen items" if len(items) < len(vectors) else f"All {len(items):,} items"
    caption = (
        f"{which}, by the two principal components of their vectors, with {100 * share:.0f} % of what they differ by."
    )
    if len(groups) > 1:
        caption += " Colours: the first category of each."
    bare: dict[str, Any] = {"showticklabels": False, "showgrid": False}
    legend = {"orientation": "h", "y": 1, "yanchor": "bottom"}
    return chart(
        "Map of items",
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
    """How often each item is in a list [R, K], against how many had it before."""
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
        hovertemplate="%{text}<br>had by %{customdata[0]:,}, in %{customdata[1]:,} lists<extra></extra>",
    )
    caption = (
        f"Lists of {lists.shape[1]}. {100 * np.mean(shown == 0):.0f} % of the catalogue is in nobody's list; the most "
        f"shown hundredth of it takes {100 * most[:hundredth].sum() / max(1, shown.sum()):.0f} % of all places."
    )
    axes = {
        "xaxis": titled("had before, times", type="log", **_from_zero(counts.max())),
        "yaxis": titled("in lists, times", type="log", **_from_zero(shown.max())),
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
    """Name, colour and mask of the commonest categories, each item in its first; the rest in grey, drawn first."""
    if of is None:
        return [("items", BLUE, np.ones(len(items), bool))]
    has = np.diff(of.offsets)[items] > 0
    first = np.full(len(items), -1)
    first[has] = of.codes[of.offsets[items[has]]]
    sizes = np.bincount(first[has], minlength=len(of.names))
    common = np.argsort(-sizes, kind="stable")[: min(len(COLOURS), int(np.count_nonzero(sizes)))]
    rest = ~np.isin(first, common)
    groups = [("others", GREY, rest)] if rest.any() else []
    return groups + [
        (str(of.names[code]), colour, first == code) for code, colour in zip(common, COLOURS, strict=False)
    ]


def _examples(lists: Lists, known: Interactions) -> list[tuple[int, str]]:
    """Rows of a user with a short, a middling and a long history: the 10th, 50th and 90th of a hundred."""
    lengths = np.bincount(known.user, minlength=known.n_users)[lists.users]
    order = np.argsort(lengths, kind="stable")
    places = dict.fromkeys(int(order[round(q * (len(order) - 1))]) for q in (0.1, 0.5, 0.9))
    return [(row, f"{lengths[row]:,} interactions known") for row in places]


def _example(lists: Lists, row: int, what: str, known: Interactions, names: np.ndarray) -> Html:
    user = lists.users[row]
    latest = histories(known.take(known.user == user)).items[::-1][:LENGTH]
    sought = set(lists.sought[lists.offsets[row] : lists.offsets[row + 1]].tolist())
    listed = [item for item in lists.items[row, :LENGTH].tolist() if item >= 0]
    rows = [(rank, names[item], "hit" if item in sought else "") for rank, item in enumerate(listed, 1)]
    hits = sum(item in sought for item in listed)
    return box(
        tag("h3", f"User {known.user_ids[user]}"),
        tag("p", f"{what}; {hits} of {len(sought)} held-out items are in the list.", "soft"),
        table(["the latest of the history"], [(name,) for name in names[latest]]),
        table(["", "recommended", ""], rows),
    )


def _from_zero(most: int) -> dict[str, Sequence[Any]]:
    """Ticks of an axis of n + 1 that say n."""
    ticks = [0, *(10**power for power in range(9) if 10**power <= most)]
    return {"tickvals": [tick + 1 for tick in ticks], "ticktext": [f"{tick:,}" for tick in ticks]}
