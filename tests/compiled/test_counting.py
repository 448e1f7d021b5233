"""Costs of compiled programs against counts by hand: kernels, arithmetic, bytes, branches and loops."""

from textwrap import dedent

import pytest

from jaxrec.compiled import hlo
from jaxrec.compiled.counting import Counts, count
from jaxrec.compiled.prediction import predict
from jaxrec.compiled.targets import Rates


def counted(text: str) -> Counts:
    return count(hlo.parse(dedent(text)))


def of_entry(*lines: str, before: str = "") -> Counts:
    body = "\n".join(f"  {line}" for line in lines)
    return counted(f"{dedent(before)}ENTRY %main (unused: f32[]) -> f32[] {{\n{body}\n}}\n")


FUSED = """\
    %fused (a: f32[8,4], b: f32[8,4]) -> f32[8,4] {
      %a = f32[8,4]{1,0} parameter(0)
      %b = f32[8,4]{1,0} parameter(1)
      %e = f32[8,4]{1,0} exponential(%a)
      ROOT %sum = f32[8,4]{1,0} add(%e, %b)
    }

"""
TWO = ("%p = f32[8,4]{1,0} parameter(0)", "%q = f32[8,4]{1,0} parameter(1)")


def test_a_fusion_is_one_kernel_that_reads_and_writes_once():
    counts = of_entry(*TWO, "ROOT %f = f32[8,4]{1,0} fusion(%p, %q), kind=kLoop, calls=%fused", before=FUSED)
    (kernel,) = counts.kernels
    assert (kernel.elementwise, kernel.transcendental, kernel.products) == (32, 32, 0)
    assert kernel.bytes == 3 * 8 * 4 * 4
    assert counts.flops == 64


def test_values_that_stay_on_the_chip_are_not_traffic():
    counts = of_entry(*TWO, "ROOT %s = f32[8,4]{1,0:T(8,128)S(1)} add(%p, %q)")
    assert counts.total("bytes") == 2 * 8 * 4 * 4


@pytest.mark.parametrize(
    ("line", "flops"),
    [
        ("dot(%p, %q), lhs_batch_dims={0}, lhs_contracting_dims={1}, rhs_batch_dims={0}", 2 * 8 * 4),
        (
            'custom-call(%p, %q), custom_call_target="__cublas$gemm", '
            'backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}',
            2 * 8 * 4,
        ),
        ("convolution(%p, %q), dim_labels=bf_oi->bf", 2 * 8 * 4),
        # A batch of 8 as a dilated window: one tap of the window counts for each output.
        ("convolution(%p, %q), window={size=8 stride=7 lhs_dilate=8}, dim_labels=0f_0i->0f", 2 * 8 * 4),
    ],
)
def test_products(line, flops):
    counts = of_entry(*TWO, f"ROOT %r = f32[8]{{0}} {line}")
    assert counts.total("products") == flops


def test_rows_are_read_and_updated_in_place():
    counts = of_entry(
        "%table = f32[1000,4]{1,0} parameter(0)",
        "%ids = s32[3,1]{1,0} parameter(1)",
        "%rows = f32[3,4]{1,0} gather(%table, %ids), index_vector_dim=1",
        "ROOT %new = f32[1000,4]{1,0} scatter(%table, %ids, %rows), index_vector_dim=1, to_apply=%sum",
    )
    gather, scatter = counts.kernels
    assert gather.bytes == 3 * 4 * 4 + 3 * 4 + 3 * 4 * 4  # rows, ids, result
    assert scatter.bytes == 3 * 4 + 3 * 4 * 4 + 2 * 3 * 4 * 4  # ids, updates, rows read and written
    assert scatter.scattered == 12


def test_a_fusion_reads_only_the_slice_it_takes_and_writes_only_its_update():
    fused = """\
        %fused (all: f32[100,4], at: s32[], row: f32[1,4]) -> f32[100,4] {
          %all = f32[100,4]{1,0} parameter(0)
          %at = s32[] parameter(1)
          %row = f32[1,4]{1,0} parameter(2)
          %zero = s32[] constant(0)
          %old = f32[1,4]{1,0} dynamic-slice(%all, %at, %zero), dynamic_slice_sizes={1,4}
          %new = f32[1,4]{1,0} add(%old, %row)
          ROOT %done = f32[100,4]{1,0} dynamic-update-slice(%all, %new, %at, %zero)
        }

    """
    counts = of_entry(
        "%p = f32[100,4]{1,0} parameter(0)",
        "%i = s32[] parameter(1)",
        "%r = f32[1,4]{1,0} parameter(2)",
        "ROOT %f = f32[100,4]{1,0} fusion(%p, %i, %r), kind=kLoop, calls=%fused",
        before=fused,
    )
    assert counts.total("bytes") == 16 + 4 + 16 + 2 * 16  # slice, position, row, and the update twice


NESTED = """\
    %inner (s: (s32[], f32[8])) -> (s32[], f32[8]) {
      %s = (s32[], f32[8]{0}) parameter(0)
      %x = f32[8]{0} get-tuple-element(%s), index=1
      %y = f32[8]{0} negate(%x)
      %z = f32[8]{0} sort(%y), dimensions={0}, to_apply=%less
      %i = s32[] get-tuple-element(%s), index=0
      ROOT %t = (s32[], f32[8]{0}) tuple(%i, %z)
    }

    %inner_condition (s: (s32[], f32[8])) -> pred[] {
      %s = (s32[], f32[8]{0}) parameter(0)
      %x = f32[8]{0} get-tuple-element(%s), index=1
      ROOT %any = pred[] reduce(%x), dimensions={0}, to_apply=%or
    }

    %light (b: f32[8]) -> f32[8] {
      ROOT %b = f32[8]{0} parameter(0)
    }

    %heavy (b: f32[8]) -> f32[8] {
      %b = f32[8]{0} parameter(0)
      ROOT %n = f32[8]{0} negate(%b)
    }

    %body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
      %s = (s32[], f32[8]{0}) parameter(0)
      %w = (s32[], f32[8]{0}) while(%s), condition=%inner_condition, body=%inner
      %x = f32[8]{0} get-tuple-element(%w), index=1
      %p = pred[] constant(true)
      %c = f32[8]{0} conditional(%p, %x, %x), branch_computations={%light, %heavy}
      %r = f32[8]{0} all-reduce(%c), replica_groups={{0,1}}, to_apply=%sum
      %o = token[] outfeed(%r)
      %i = s32[] get-tuple-element(%s), index=0
      ROOT %t = (s32[], f32[8]{0}) tuple(%i, %r)
    }

    %condition (s: (s32[], f32[8])) -> pred[] {
      %s = (s32[], f32[8]{0}) parameter(0)
      %i = s32[] get-tuple-element(%s), index=0
      %five = s32[] constant(5)
      ROOT %lt = pred[] compare(%i, %five), direction=LT
    }

"""


def test_operations_in_loops_count_once_an_iteration_and_waits_for_data_are_counted():
    counts = of_entry(
        "%p = (s32[], f32[8]{0}) parameter(0)",
        "ROOT %w = (s32[], f32[8]{0}) while(%p), condition=%condition, body=%body",
        before=NESTED,
    )
    # Each of 5 iterations: negate, sort and the test of the inner loop once; negate of the branch; all-reduce; outfeed.
    assert counts.n_kernels == 5 * 6
    assert (counts.branches, counts.loops, counts.transfers, counts.sorts) == (5, 5, 5, 5)
    assert counts.collectives == {"all-reduce": 5}
    assert counts.total("communicated") == 5 * 32


def test_asynchronous_copies_are_traffic_but_not_kernels():
    counts = of_entry(
        "%p = f32[8]{0} parameter(0)",
        "%s = (f32[8]{0:S(1)}, f32[8]{0}, u32[]) copy-start(%p)",
        "ROOT %d = f32[8]{0:S(1)} copy-done(%s)",
    )
    assert counts.n_kernels == 0
    assert counts.total("bytes") == 32


def test_a_kernel_takes_its_launch_plus_the_larger_of_arithmetic_and_memory_time():
    rates = Rates(1.0, elementwise=8.0, transcendental=4.0, scattered=1.0, bytes=64.0, communicated=1.0, launch=3.0)
    counts = of_entry(
        *TWO,
        "%f = f32[8,4]{1,0} fusion(%p, %q), kind=kLoop, calls=%fused",
        "ROOT %g = f32[8,4]{1,0} add(%f, %q)",
        before=FUSED,
    )
    time = predict(counts, rates)
    # First kernel: 32 / 8 + 32 / 4 = 12 s of arithmetic, 384 / 64 = 6 s of memory; second: 4 s and 6 s.
    assert time.seconds == (3 + 12) + (3 + 6)
    assert (time.arithmetic, time.memory, time.launches) == (16, 12, 6)
    assert time.bound == "arithmetic"
