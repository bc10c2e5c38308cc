"""The progress bar: who sees it, what it counts, and that it changes nothing."""

import io
import sys
from threading import Thread

import numpy as np

import xcloudfree as xcf
from xcloudfree.core.progress import Progress, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


class OutStream(io.StringIO):
    """Named as the stream of a notebook, which is no terminal."""


OutStream.__module__ = "ipykernel.iostream"


def watched(monkeypatch, stream=Terminal):
    """An error stream that somebody watches; pytest sets its own before each test."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", stream())
    return sys.stderr


def run(**options):
    with Progress("writing", 4, **options) as bar:
        for _ in range(4):
            bar.step("note")
    return bar


def test_it_is_drawn_in_a_terminal_and_in_a_notebook_alike(monkeypatch):
    shown = []
    for stream in (Terminal, OutStream):
        screen = watched(monkeypatch, stream)
        run()
        shown.append(screen.getvalue().rstrip())
    assert "writing 100%|" in shown[0]
    assert shown[0].endswith("4/4, 00:00, 00:00 left, note")
    assert shown[0] == shown[1]


def test_pipes_and_logs_stay_silent_unless_asked(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run()
    assert sys.stderr.getvalue() == ""
    run(show=True)
    assert "4/4" in sys.stderr.getvalue()


def test_a_terminal_stays_silent_on_request(monkeypatch):
    screen = watched(monkeypatch)
    run(show=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    # tqdm reads its environment when it is imported
    monkeypatch.delitem(sys.modules, "tqdm")
    for name in [n for n in sys.modules if n.startswith("tqdm.")]:
        monkeypatch.delitem(sys.modules, name)
    run()
    assert screen.getvalue() == ""


def test_the_time_left_does_not_count_other_work(monkeypatch):
    watched(monkeypatch)
    bar = Progress("summing", 2)
    bar._bar.start_t -= 3600  # an hour of sums
    bar.step()
    bar.step()
    bar.begin("writing", 10, done=4)
    bar.step()
    told = bar._bar.format_dict
    assert (bar.count, told["n"], told["total"], told["initial"]) == (5, 5, 10, 4)
    assert told["elapsed"] < 60


def test_a_store_counts_its_blocks_and_not_the_sums_before_them(monkeypatch, tmp_path):
    screen = watched(monkeypatch)
    ds = xcf.datasets.simulate_scene((64, 64), dates=4, cover=0.4, seed=1)
    lazy = ds.chunk(y=32, x=32).cloudfree.reconstruct("area-regression", mask="score")
    xcf.io.to_zarr(lazy, tmp_path / "out.zarr")
    lines = screen.getvalue().replace("\r", "\n")
    assert "summing up the scene" in lines
    last = lines.rstrip().splitlines()[-1]
    assert last.startswith("writing out.zarr 100%")
    assert "| 4/4," in last  # blocks of 32 x 32 px


def test_only_the_outermost_of_several_loops_draws(monkeypatch):
    watched(monkeypatch)
    drawn = []

    class Bar(Progress):
        def __init__(self, label, total, **options):
            super().__init__(label, total, **options)
            if self._bar is not None:
                drawn.append(label)

    monkeypatch.setattr("xcloudfree.core.progress.Progress", Bar)
    for _ in track([1], "one item"):
        for _ in track([1, 2], "outer"):
            assert list(track([3, 4], "inner")) == [3, 4]
    assert drawn == ["outer"]
    thread = Thread(target=lambda: list(track([1, 2], "in a thread")))
    thread.start()
    thread.join()
    assert drawn == ["outer"]


def test_a_bar_changes_no_result(monkeypatch):
    ds = xcf.datasets.simulate_scene((48, 48), dates=5, cover=0.4, seed=1)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    silent = ds.cloudfree.reconstruct("linear-time", mask="score")
    assert sys.stderr.getvalue() == ""
    watched(monkeypatch)
    shown = ds.cloudfree.reconstruct("linear-time", mask="score")
    np.testing.assert_array_equal(silent.to_dataarray(), shown.to_dataarray())
