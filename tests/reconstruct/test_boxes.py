"""Boxes hold every wanted pixel and what the network needs around it, at less cost than one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudfree.core.windows import boxes


def clouds(draw, shape):
    wanted = np.zeros(shape, bool)
    for _ in range(draw(st.integers(0, 5))):
        y, x = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        wanted[y : y + draw(st.integers(1, 90)), x : x + draw(st.integers(1, 90))] = True
    return wanted


@settings(deadline=None)
@given(st.data())
def test_boxes_cover_what_is_wanted_with_its_halo(data):
    shape = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
    halo, stride = data.draw(st.integers(0, 120)), data.draw(st.sampled_from([1, 4, 16, 32, 64]))
    wanted = clouds(data.draw, shape)
    found = boxes(wanted, halo, stride)
    covered = np.zeros(shape, int)
    for box in found:
        for s, size in zip(box, shape, strict=True):
            assert s.read_start % stride == 0
            assert s.read_start <= max(0, s.start - halo)
            assert s.read_stop >= min(size, s.stop + halo)
        covered[box[0].start : box[0].stop, box[1].start : box[1].stop] += 1
    assert (covered[wanted] == 1).all()
    assert covered.max(initial=0) <= 1
    assert bool(found) == wanted.any()


def test_two_clouds_far_apart_cost_two_small_boxes():
    wanted = np.zeros((1024, 1024), bool)
    wanted[:64, :64] = wanted[-64:, -64:] = True
    read = [
        (y.read_stop - y.read_start) * (x.read_stop - x.read_start)
        for y, x in boxes(wanted, halo=48, stride=16)
    ]
    assert read == [112 * 112, 112 * 112]


def test_clouds_close_to_each_other_share_a_box():
    wanted = np.zeros((256, 256), bool)
    wanted[96:112, 96:112] = wanted[128:144, 128:144] = True
    assert len(boxes(wanted, halo=48, stride=16)) == 1
