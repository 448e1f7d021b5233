import pytest

from jaxrec.errors import InputError, named


def test_a_message_is_one_line_whatever_it_contains():
    assert str(InputError("data.parquet is unreadable (no header\nno footer\n): write it again")) == (
        "data.parquet is unreadable (no header no footer ): write it again"
    )


def test_an_error_is_named():
    with pytest.raises(InputError, match=r"^run 3: too large$"), named("run 3"):
        raise InputError("too large")
