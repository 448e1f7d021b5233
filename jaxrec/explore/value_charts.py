"""Charts of values, correlations and sparsity, with captions."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from jaxrec.explore import captions
from jaxrec.explore.bars import SHARE, histogram, legend, short
from jaxrec.page.figure import BLUE, COLORS, ORANGE, chart, plain, titled
from jaxrec.page.html import Html, tag

NONE = "rgba(141,151,163,0)"


def spread(table: pd.DataFrame, name: str, color: str) -> Html:
    """Draw a histogram of values or weights."""
    return histogram(f"{name.capitalize()}s", table, name, "interactions", captions.of_spread(table, name), color)


def correlations(table: pd.DataFrame) -> Html:
    """Draw the correlation matrix of the numerical columns."""
    names = [short(name, 18) for name in table.column]
    values = table.drop(columns="column").to_numpy(np.float64)
    places = list(range(len(names)))
    heat = go.Heatmap(
        z=values,
        x=places,
        y=places,
        zmin=-1,
        zmax=1,
        colorscale=[[0, ORANGE], [0.5, NONE], [1, BLUE]],
        xgap=1,
        ygap=1,
        texttemplate="%{z:.2f}" if len(names) <= 14 else None,
        colorbar={"thickness": 10, "outlinewidth": 0, "tickvals": [-1, 0, 1]},
        customdata=[[f"{plain(a)} and {plain(b)}" for b in table.column] for a in table.column],
        hovertemplate="%{customdata}: %{z:.2f}<extra></extra>",
        hoverongaps=False,
    )
    labels = {"tickvals": places, "ticktext": names, "showgrid": False}
    axes = {"xaxis": {**labels, "tickangle": -40}, "yaxis": {**labels, "autorange": "reversed"}}
    drawn = chart("Rank correlations", [heat], captions.of_correlations(table), height=190 + 32 * len(names), **axes)
    return tag("div", drawn, "grid wide")


def pairs(table: pd.DataFrame, of: str) -> Html:
    """Draw a histogram of distinct items per user, or distinct users per item."""
    other, color = ("items", BLUE) if of == "users" else ("users", ORANGE)
    title = f"Distinct {other} per {of.removesuffix('s')}"
    return histogram(title, table[table.of == of], f"distinct {other}", of, captions.of_pairs(table, of, other), color)


def cores(table: pd.DataFrame) -> Html:
    """Draw the sizes of the k-cores."""
    lines = [
        go.Scatter(
            x=[str(k) for k in table.k],
            y=table[of] / table[of].iloc[0],
            mode="lines+markers",
            name=of,
            line={"color": color, "width": 2.5},
            customdata=table[of],
            hovertemplate=f"k = %{{x}}: %{{customdata:,}} {of}, %{{y:.1%}}<extra></extra>",
        )
        for of, color in zip(("users", "items", "interactions"), COLORS, strict=False)
    ]
    axes = {
        "xaxis": titled("k", type="category"),
        "yaxis": titled("share kept", **SHARE),
    }
    return chart("k-core sizes", lines, captions.of_cores(table), **legend(lines), **axes)
