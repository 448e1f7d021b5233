"""Data warnings printed before training: dropped rows, leaks between train and test, cold users and items."""

from jaxrec.data.interactions import Interactions
from jaxrec.data.notes import WARNING, nonzero
from jaxrec.data.reading.anonymous import placeholder_items
from jaxrec.data.splits.assembly import Split

DROPPED = {
    "sessions_too_short_dropped": "sessions of fewer than two events",
    "rows_after_cut_dropped": "interactions after the cut of a session that began before it",
    "rows_of_unknown_items_dropped": "held-out interactions with items that are not in train",
    "test_already_known": "test interactions with an item that the user had already",
    "validation_already_known": "validation interactions with an item that the user had already",
    "history_after_test_dropped": "history-only interactions after the test interactions",
}


def data_warnings(split: Split) -> list[str]:
    """Return lines of text on repairs, leaks and cold ids; none for clean data and a split without leaks."""
    notes = split.notes
    left_out = _listed({words: int(notes[key]) for key, words in DROPPED.items() if notes.get(key)})
    lines = [*reading_report(split.selection.train), *([f"left out: {left_out}"] if left_out else [])]
    return [f"  {line}" for line in (*lines, *_cautions(notes, split.random))]


def reading_report(data: Interactions) -> list[str]:
    """Return lines of text on the rows that were repaired or dropped when the data was read; none if all were clean."""
    read = nonzero(data.notes)
    doubts = {reason: rows for reason, rows in read.items() if reason.startswith(WARNING)}
    repairs = _listed({reason: rows for reason, rows in read.items() if reason not in doubts})
    warnings = [f"warning: only {rows:,} {reason.removeprefix(WARNING)}" for reason, rows in doubts.items()]
    if len(named := data.item_ids[placeholder_items(data.item_ids)]):
        name = named.tolist()[0]
        warnings.append(f"warning: item {name!r} reads like a missing id and is recommended: drop its rows if so")
    return [*([f"read: {repairs}"] if repairs else []), *warnings]


def _listed(counts: dict[str, int]) -> str:
    return "; ".join(f"{rows:,} {what}" for what, rows in counts.items())


def _cautions(notes: dict[str, int | float], random: bool) -> list[str]:
    messages = []
    leak = notes.get("test_before_last_train", 0)
    if leak and random:
        messages.append(
            "the split is random, so test and training interactions overlap in time (split=global_time tests on later "
            "interactions)"
        )
    elif leak:
        messages.append(
            f"{_percent(leak)} of the test interactions are older than the latest training interaction, so models may "
            "learn from the future (split=global_time prevents this)"
        )
    users, items = int(notes["test_users_not_in_train"]), int(notes["test_items_not_in_train"])
    if users and users == notes["users_with_test"]:
        messages.append(f"all {users:,} test users are new (represented by their history only)")
    elif users:
        messages.append(f"{users:,} of {int(notes['users_with_test']):,} test users are not in train")
    if items:
        messages.append(f"{items:,} test items are not in train (only item features can rank them; see test_groups)")
    return [f"note: {'; '.join(messages)}"] if messages else []


def _percent(share: float) -> str:
    return "less than 0.1%" if share < 0.001 else f"{100 * share:.1f}%"
