"""The parser of compiled programs, on programs short enough to count by hand."""

from textwrap import dedent

import pytest

from jaxrec.compiled import hlo


def program(text: str) -> hlo.Program:
    return hlo.parse(dedent(text))


def test_shapes_with_layouts_tiles_and_memory_spaces():
    array, on_chip, flag = hlo.shapes_of("(f32[2,3]{1,0:T(8,128)}, bf16[4]{0:T(1024)S(1)}, /*index=2*/pred[])")
    assert array == ("f32", (2, 3), 0)
    assert array.bytes == 24
    assert on_chip == ("bf16", (4,), 1)
    assert on_chip.bytes == 8
    assert (flag.dims, flag.bytes) == ((), 1)


def test_instructions_of_the_entry():
    read = program("""\
        HloModule m

        ENTRY %main (p: f32[4,8], q: f32[8,2]) -> f32[4,2] {
          %p = f32[4,8]{1,0} parameter(0), sharding={replicated}
          %q = f32[8,2]{1,0} parameter(1)
          ROOT %dot.1 = f32[4,2]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
        }
    """)
    root = read.entry.root
    assert (root.op, root.operands, root.bytes) == ("dot", ("p", "q"), 32)
    assert root.integers("lhs_contracting_dims") == (1,)
    assert [x.name for x in read.entry.parameters] == ["p", "q"]
    assert read.entry.users["p"] == [root]


LOOP = """\
    HloModule m

    %compare (a: s32[], b: s32[]) -> pred[] {{
      %a = s32[] parameter(0)
      %b = s32[] parameter(1)
      ROOT %lt = pred[] compare(%a, %b), direction=LT
    }}

    %body (state: (s32[], f32[4])) -> (s32[], f32[4]) {{
      ROOT %state = (s32[], f32[4]{{0}}) parameter(0)
    }}

    %condition (state.1: (s32[], f32[4])) -> pred[] {{
      %limit = s32[] {limit}
      %state.1 = (s32[], f32[4]{{0}}) parameter(0)
      %i = s32[] get-tuple-element(%state.1), index=0
      ROOT %test = pred[] {test}
    }}

    ENTRY %main (start: (s32[], f32[4])) -> (s32[], f32[4]) {{
      %start = (s32[], f32[4]{{0}}) parameter(0)
      ROOT %loop = (s32[], f32[4]{{0}}) while(%start), condition=%condition, body=%body{known}
    }}
"""


@pytest.mark.parametrize(
    ("limit", "test", "known", "trips"),
    [
        ("constant(7)", "compare(%i, %limit), direction=LT", "", 7),
        ("constant(7)", "fusion(%i, %limit), kind=kLoop, calls=%compare", "", 7),
        ("constant(7)", "compare(%i, %limit), direction=GT", "", None),
        ("get-tuple-element(%state.1), index=0", "compare(%i, %limit), direction=LT", "", None),
        ("constant(7)", "compare(%i, %limit), direction=GT", ', backend_config={"known_trip_count":{"n":"9"}}', 9),
    ],
)
def test_trip_counts(limit, test, known, trips):
    read = program(LOOP.format(limit=limit, test=test, known=known))
    assert read.trips(read.entry.root) == trips
    (body,) = read.called(read.entry.root, "body")
    assert body.name == "body"
