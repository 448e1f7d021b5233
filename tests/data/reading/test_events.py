import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.reading.events import apply_events
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

NAMES = ["view", "cart", "buy"]


def frame(events: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"row": np.arange(len(events)), "event": pd.Categorical(events)})


def where(row: int) -> str:
    return f"row {row + 1}"


@settings(deadline=None, max_examples=25, database=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=30),
    st.none() | st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    st.none() | st.sampled_from(NAMES),
    st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(0, 9, width=32)),
)
def test_rows_are_marked_as_targets_or_history(events, kept, target, weights):
    left = [(i, e) for i, e in enumerate(events) if kept is None or e in kept]
    wanted = [e == target for _, e in left]
    options = {"known": NAMES, "kept": kept, "target": target, "weights": weights}
    if not left or (target is not None and (not any(wanted) or (kept is not None and target not in kept))):
        with pytest.raises(InputError, match=r"keeps no rows|is not in data\.events|no row has data\.target_event"):
            apply_events(frame(events), where, **options)
        return
    learned = [e for (_, e), is_target in zip(left, wanted, strict=True) if target is None or is_target]
    if weights is not None and not any(weights.get(e, 1.0) for e in learned):
        with pytest.raises(InputError, match="all rows to learn from would have the weight 0"):
            apply_events(frame(events), where, **options)
        return
    made = apply_events(frame(events), where, **options)
    assert made.frame["row"].tolist() == [i for i, _ in left]
    if kept is not None and len(kept) == 1:
        assert "event" not in made.frame
        assert made.names == ()
    else:
        assert [made.names[code] for code in made.frame["event"]] == [e for _, e in left]
    if target is None or all(wanted):
        assert "target" not in made.frame
    else:
        assert made.frame["target"].tolist() == wanted
    if weights is None:
        assert "weight" not in made.frame
    else:
        assert made.frame["weight"].tolist() == [weights.get(e, 1.0) for _, e in left]
    assert sum(made.notes.values()) == len(events) - len(left)


def test_event_names_come_from_the_data_unless_they_are_configured():
    assert apply_events(frame(["view", "buy"]), where).names == ("buy", "view")
    assert apply_events(frame(["view", "buy"]), where, known=NAMES).names == tuple(NAMES)
    assert apply_events(frame(["view", "buy"]), where, kept=["view", "buy"]).names == ("view", "buy")


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (["view", None, None], {}, r"row 2 has no event \(2 such rows\)"),
        (
            ["view", "Buy"],
            {"known": NAMES},
            r"row 2 has the unknown event 'Buy' \(1 such rows\): the events are view, cart, buy",
        ),
        (["view", "buy"], {"kept": ["views"]}, r"data\.events has the unknown event 'views': the events are buy, view"),
        (["view", "buy"], {"target": "sold"}, r"data\.target_event has the unknown event 'sold'"),
        (["view", "buy"], {"weights": {"sold": 1.0}}, r"data\.event_weights has the unknown event 'sold'"),
        (
            ["view", "buy"],
            {"kept": ["view"], "target": "buy"},
            r"target_event=buy is not in data\.events=\['view'\]",
        ),
        (["view"], {"known": NAMES, "target": "buy"}, r"no row has data\.target_event=buy: choose one of view"),
        (["view"], {"known": NAMES, "kept": ["buy"]}, r"data\.events=\['buy'\] keeps no row"),
        (["view", "buy"], {"weights": {"view": 0, "buy": 0}}, "weight 0: give one of the events a weight above 0"),
        (["view", "buy"], {"weights": {"buy": 0}, "target": "buy"}, "weight 0: give buy a weight above 0"),
        ([str(i) for i in range(128)], {}, "128 distinct events"),
        (["buy", "view", "View"], {"target": "buy"}, "events 'View' and 'view', which differ only in case"),
        (["buy", "view", "buy "], {"target": "buy"}, "events 'buy' and 'buy ', which differ only in case or in blanks"),
    ],
)
def test_events_that_cannot_be_marked_are_named(events, options, message):
    with pytest.raises(InputError, match=message):
        apply_events(frame(events), where, **options)


FILE = "user_id,item_id,what\na,x,view\na,x,buy\nb,y,view\nb,x,view\na,x,view\n"


def test_events_of_a_file(tmp_path):
    path = tmp_path / "shop.csv"
    path.write_text(FILE)
    data = files(path, event_column="what", target_event="buy", event_weights={"view": 0.5})
    # The pair (a, x) is kept once per event type: its later view, in file order.
    assert [data.event_names[code] for code in data.event] == ["buy", "view", "view", "view"]
    assert data.target.tolist() == [True, False, False, False]
    assert data.weight.tolist() == [1.0, 0.5, 0.5, 0.5]
    only = files(path, event_column="what", events=["view"])
    assert (only.event, only.target, only.weight, len(only)) == (None, None, None, 3)
    assert only.notes == {
        "rows of events that data.events does not keep, dropped": 1,
        "rows of the same user and item as a kept one, dropped": 1,
    }


def test_the_number_of_event_types_is_limited(tmp_path):
    (tmp_path / "many.csv").write_text("user_id,item_id,what\n" + "".join(f"a,{n},e{n}\n" for n in range(127)))
    data = files(tmp_path / "many.csv", event_column="what")
    assert [data.event_names[code] for code in data.event] == [f"e{n}" for n in range(127)]
    assert data.event_names == tuple(sorted(data.event_names)), "whatever the order of the rows"


def test_a_row_without_an_event_is_found_in_its_own_file(tmp_path):
    (tmp_path / "train.csv").write_text(FILE)
    (tmp_path / "test.csv").write_text(FILE.replace("a,x,view", "a,x,", 1))
    with pytest.raises(InputError, match=r"line 2 of .*test\.csv has no event"):
        files(train=tmp_path / "train.csv", test=tmp_path / "test.csv", event_column="what")
    with pytest.raises(InputError, match=r"need data\.event_column=COLUMN"):
        files(tmp_path / "train.csv", target_event="buy")


def test_the_command_line_takes_weights_by_name(compose):
    from jaxrec.settings import build, check

    given = ("data=files", "data.path=shop.csv", "data.event_column=what")
    tree = compose(*given, "data.event_weights={view: 0.1, buy: 1}", "data.events=[view, buy]")
    check(tree)
    assert build({**tree["data"], "_partial_": True}).keywords["event_weights"] == {"view": 0.1, "buy": 1}
    with pytest.raises(InputError, match=r"data\.event_weights=.*greater than or equal to 0"):
        check(compose(*given, "data.event_weights={view: -1}"))
    with pytest.raises(InputError, match=r"data\.event_weights=.*valid number"):
        check(compose(*given, "data.event_weights={view: much}"))
