"""The plan of windows, on literal numbers."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xcloudfree.core.windows import Halo, Span, Tiles, pieces, span, spans


def test_span_moves_out_to_the_grid_before_the_halo():
    # 173 -> 160 on the grid, then 3 strides for a reach of 42
    assert span(173, 346, 500, halo=42, stride=16) == Span(173, 346, 112, 400)


def test_a_margin_is_rounded_up_to_the_grid():
    assert Halo(58, 16).around(9) == Halo(74, 16)
    assert Halo(58, 16).around(16) == Halo(74, 16)
    assert Halo(58, 16).around(17) == Halo(90, 16)
    assert Halo(5).around(3) == Halo(8)


def test_span_ends_at_the_border_of_the_scene():
    assert span(0, 96, 100, halo=42, stride=16) == Span(0, 96, 0, 100)


def test_core_is_relative_to_what_is_read():
    assert span(173, 346, 500, halo=42, stride=16).core == slice(61, 234)


def test_one_pixel_edge_chunk():
    assert spans((64, 64, 1), halo=5, stride=4)[-1] == Span(128, 129, 120, 129)


def test_pieces_across_three_chunks():
    assert pieces(60, 130, (64, 64, 1, 20)) == [
        (0, slice(60, 64)),
        (1, slice(0, 64)),
        (2, slice(0, 1)),
        (3, slice(0, 1)),
    ]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 70), st.integers(1, 32))
def test_windows_cover_the_axis_and_hold_the_halo(chunks, halo, stride):
    size = sum(chunks)
    plan = spans(chunks, halo, stride)
    assert [s.stop - s.start for s in plan] == chunks
    for s in plan:
        assert s.read_start % stride == 0
        assert s.read_start <= max(0, s.start - halo)
        assert s.read_stop >= min(size, s.stop + halo)
        assert s.read_stop % stride == 0 or s.read_stop == size
        got = pieces(s.read_start, s.read_stop, chunks)
        assert sum(p.stop - p.start for _, p in got) == s.read_stop - s.read_start


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.integers(2, 40),
    st.data(),
)
def test_tiles_of_a_window_are_the_tiles_of_the_scene(chunks, side, data):
    """Every block sees the scene's own tiles, and all that touch it and its margin."""
    overlap = data.draw(st.integers(0, side // 2))
    margin = data.draw(st.integers(0, 20))
    tiles, size = Tiles(side, overlap, margin), sum(chunks)
    scene = [(o, min(o + side, size)) for o in tiles.origins(size)]
    assert scene[0][0] == 0
    assert scene[-1][1] == size
    assert all(b[0] <= a[1] - overlap for a, b in pairwise(scene))
    for s in tiles.spans(chunks):
        length = s.read_stop - s.read_start
        own = [
            (s.read_start + o, min(s.read_start + o + side, s.read_stop))
            for o in tiles.origins(length)
        ]
        assert set(own) <= set(scene)
        touching = {t for t in scene if t[0] < s.stop + margin and t[1] > s.start - margin}
        assert touching <= set(own)
        assert s.read_start <= max(0, s.start - margin)
        assert s.read_stop >= min(size, s.stop + margin)


@given(st.integers(2, 60), st.integers(1, 300), st.data())
def test_weights_of_overlapping_tiles_are_positive_and_meet_evenly(side, size, data):
    overlap = data.draw(st.integers(0, side // 2))
    tiles = Tiles(side, overlap)
    total = np.zeros(size)
    for origin in tiles.origins(size):
        weights = tiles.weights(min(side, size))
        assert (weights > 0).all()
        total[origin : origin + side] += weights
    regular = slice(overlap, max(overlap, size - side - overlap))
    np.testing.assert_allclose(total[regular], 1, rtol=1e-6)
