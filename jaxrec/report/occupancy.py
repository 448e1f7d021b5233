"""Slots of a search over time: which trial trained in which slot, and how many slots were busy."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from jaxrec.page.figure import BLUE, GRAY, LEGEND, ORANGE, chart, counted, titled
from jaxrec.page.html import Html, plural
from jaxrec.sweep.trials import state_of

OUTCOMES = {"best": ORANGE, "complete": BLUE, "pruned": GRAY, "failed": "#d5574d"}
MAX_BARS = 500  # trials drawn one by one
N_INTERVALS = 150


class Span(NamedTuple):
    """A trial in its slot: it trained from the end of round `start` to the end of round `end`."""

    number: int
    outcome: str
    start: int
    end: int
    slot: int


def spans(trials: Sequence[FrozenTrial], winner: FrozenTrial) -> list[Span]:
    """Return the trials that have ended in slots, each in the first slot that was free when it started.

    Trials with the parameters of another one occupied no slot.
    """
    found = [t for t in trials if _started(t) < t.user_attrs.get("ended_round", 0) and "same_as" not in t.user_attrs]
    free: list[int] = []  # round from which each slot is free
    placed = []
    for trial in sorted(found, key=lambda trial: (_started(trial), trial.number)):
        start, end = _started(trial), int(trial.user_attrs["ended_round"])
        slot = next((slot for slot, since in enumerate(free) if since <= start), len(free))
        free[slot : slot + 1] = [end]
        outcome = "best" if trial.number == winner.number else state_of(trial)
        placed.append(Span(trial.number, outcome, start, end, slot))
    return placed


def occupancy(trials: Sequence[FrozenTrial], winner: FrozenTrial) -> Html:
    """Draw the slots over the rounds of a search; empty if no trial recorded its rounds."""
    placed = spans(trials, winner)
    if not placed:
        return Html()
    n_rounds, n_slots = max(span.end for span in placed), 1 + max(span.slot for span in placed)
    caption = f"A round trains one epoch of every trial in a slot. {_usage(placed, n_rounds, n_slots)}"
    title, traces, barmode = "Trials in slots", _bars(placed, n_rounds), "overlay"
    yaxis = titled("slot", range=[n_slots + 0.5, 0.5], **({"dtick": 1} if n_slots <= 10 else {}))
    if len(placed) > MAX_BARS:
        title, traces, barmode = "Busy slots", _busy(placed, n_rounds), "stack"
        yaxis = titled("busy slots", range=[0, n_slots])
        caption += f" Drawn is the number of busy slots, as {len(placed):,} trials are too many to draw."
    layout = {
        "xaxis": counted("round", n_rounds) | {"range": [0, n_rounds], "tickformat": ",d"},
        "yaxis": yaxis,
        "height": min(600, 140 + 24 * n_slots) if barmode == "overlay" else 300,
        "barmode": barmode,
        "bargap": 0.15,
        "showlegend": True,
        "legend": LEGEND,
        "hovermode": "closest",
    }
    return chart(title, traces, caption, **layout)


def _usage(placed: Sequence[Span], n_rounds: int, n_slots: int) -> str:
    """Return one sentence: the share of the slots that was used over the rounds, by outcome of the trials."""
    used = Counter[str]()
    for span in placed:
        used["complete" if span.outcome == "best" else span.outcome] += span.end - span.start
    total = n_rounds * n_slots
    parts = ", ".join(f"{used[name] / total:.1%} by {name} trials" for name in OUTCOMES if used[name])
    slots, rounds = plural(n_slots, "slot"), plural(n_rounds, "round")
    return f"{used.total() / total:.1%} of {slots} \u00d7 {rounds} were used: {parts}."


def _started(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get("started_round", 0))


def _bars(placed: Sequence[Span], n_rounds: int) -> list[go.Bar]:
    """Return a bar per trial, with a narrow gap after each."""
    gap = min(0.3, n_rounds / 400)
    return [
        go.Bar(
            orientation="h",
            base=[span.start for span in own],
            x=[span.end - span.start - gap for span in own],
            y=[span.slot + 1 for span in own],
            name=name,
            marker_color=color,
            customdata=[[span.number, span.start + 1, span.end] for span in own],
            hovertemplate=f"trial %{{customdata[0]}}, {name}: rounds %{{customdata[1]}} to %{{customdata[2]}}"
            "<extra></extra>",
        )
        for name, color in OUTCOMES.items()
        if (own := [span for span in placed if span.outcome == name])
    ]


def _busy(placed: Sequence[Span], n_rounds: int) -> list[go.Bar]:
    """Return the mean number of busy slots in intervals of rounds, by outcome of the trials."""
    edges = np.unique(np.linspace(0, n_rounds, N_INTERVALS + 1).astype(int))
    bars = []
    for name, color in OUTCOMES.items():
        change = np.zeros(n_rounds + 1, np.int64)
        own = [span for span in placed if span.outcome == name]
        np.add.at(change, [span.start for span in own], 1)
        np.add.at(change, [span.end for span in own], -1)
        busy = np.add.reduceat(np.cumsum(change)[:-1], edges[:-1]) / np.diff(edges)
        if own:
            tip = f"rounds %{{customdata[0]}} to %{{customdata[1]}}, {name}: %{{y:.1f}} slots<extra></extra>"
            bars.append(
                go.Bar(
                    x=(edges[1:] + edges[:-1]) / 2,
                    y=np.round(busy, 3),
                    width=np.diff(edges),
                    name=name,
                    marker={"color": color, "line": {"width": 0}},
                    customdata=np.stack([edges[:-1] + 1, edges[1:]], axis=1),
                    hovertemplate=tip,
                )
            )
    return bars
