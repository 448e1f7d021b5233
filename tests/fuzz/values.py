"""Values that programs often handle wrongly, and damage of files."""

from hypothesis import strategies as st

NUMBERS = [
    "0", "1", "2", "-1", "007", "1.0", "3.5", "1e3", "-0.0", "1e400", "nan", "inf", "-inf", "1,5", " 4 ", "+7", "1_000",
    "9007199254740993", "2147483648", "9223372036854775807", "9223372036854775808", "1" + "0" * 30, "3e8", "0x10", "٣",
]  # fmt: skip
TIMES = [
    "881250949", "1e12", "2020-01-02", "2020-01-02 03:04:05", "2020-01-02T03:04:05Z", "02/01/2020", "13/13/2020", "now",
    "0001-01-01", "9999-12-31", "1677-09-21", "253402300800000", "-1", "12:30",
]  # fmt: skip
TEXTS = [
    "", " ", "a", "b", "NA", "None", "null", "true", '"', '""', '"a', 'a"b', "a,b", "a\tb", "a\nb", "a\r\nb", "\0", "ż",
    "ﬃ", "\u202e", "\ufeff", "'", "a|b", "|", "=1+1", "..", "/", "${x}", "a" * 300, "\U0001f600", "_target_", "#",
]  # fmt: skip

cells = st.sampled_from([*NUMBERS, *TIMES, *TEXTS]) | st.text(max_size=8) | st.integers().map(str)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**30, -1, 0, 1, 2**31, 2**63, 1e308])
    | st.sampled_from(TEXTS)
    | st.text(max_size=5)
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(TEXTS) | st.text(), inner, max_size=4),
    max_leaves=8,
)
damages = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "insert", "delete", "cut"]),
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=4) | st.sampled_from([b'"', b"\n", b",", b"\0", b"{", b"9", b"-", b"\xff"]),
    ),
    max_size=3,
)
