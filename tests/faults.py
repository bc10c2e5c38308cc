"""Put small faults into a copy of the package, one at a time, and see whether the tests notice.

    python tests/faults.py [NUMBER ...]

Prints caught or missed for each fault, and ends with 1 if one was missed or its text is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LIMIT = 900
"""Seconds after which the tests of a fault count as failed: it may have made a loop endless."""


class Fault(NamedTuple):
    """A fault, and the test files that should notice it."""

    file: str  # in the package
    before: str  # a text that the file has once
    after: str
    tests: str  # in the folder of the tests, separated by spaces


FAULTS = [
    # ------------------------------------------------------------------ core
    Fault(  # radar of -inf hides that of the other half of a pass
        "core/passes.py",
        "(*missing, np.inf, -np.inf)",
        "(*missing, np.inf)",
        "core/test_passes.py",
    ),
    Fault(  # where no half has data, the last one is kept
        "core/passes.py",
        "out.where(_present(out, missing) | ~_present(other, missing), other)",
        "out.where(_present(out, missing), other)",
        "core/test_passes.py",
    ),
    Fault(  # a part of a chunk that a block beside it reads is not cut off
        "core/windows.py",
        "chunk != block and 2 *",
        "chunk > block and 2 *",
        "reconstruct/test_series_blocks.py",
    ),
    Fault(  # small chunks are processed one by one
        "core/blocks.py",
        "merged(c, most)",
        "merged(c, 0)",
        "reconstruct/test_series_blocks.py",
    ),
    Fault(  # seconds since 1970 are read as days since an unknown day
        "core/times.py",
        '_SINCE_1970 = ("D", "s",',
        '_SINCE_1970 = ("D",',
        "core/test_scene.py",
    ),
    Fault(  # a file that could not be written stays half written
        "core/files.py",
        "        yield partial\n",
        "        yield target\n",
        "core/test_files.py",
    ),
    Fault(  # what stays as it is waits in memory for its neighbours
        "core/graphs.py",
        "if made and (here in early or node.func is part_of):",
        "if made and node.func is part_of:",
        "core/test_graphs.py",
    ),
    Fault(  # freed memory stays with the process
        "core/devices.py",
        "        function(0)",
        "        pass",
        "core/test_threads.py",
    ),
    Fault(  # parts of chunks keep the whole chunk in memory
        "core/lazy_blocks.py",
        "chunk[..., y, x].copy()",
        "chunk[..., y, x]",
        "reconstruct/test_series_blocks.py",
    ),
    Fault(  # the time left counts the work before
        "core/progress.py",
        "self._bar.reset(total)",
        "self._bar.total = total",
        "core/test_progress.py",
    ),
    Fault(  # loops inside others draw bars of their own
        "core/progress.py",
        "if show is False or _open.get() or not",
        "if show is False or not",
        "core/test_progress.py",
    ),
    Fault(  # the time of a dry run is that of its window
        "cli/plan.py",
        "else wall) / share",
        "else wall)",
        "cli/test_cli.py",
    ),
    Fault(  # a window begins off the grid of the scene
        "core/windows.py",
        "low = start // stride * stride - margin",
        "low = start - margin",
        "core/test_windows.py",
    ),
    Fault(  # the last tile ends beyond the scene
        "core/windows.py",
        "last = max(0, size - self.side)",
        "last = max(0, size - self.side + 1)",
        "core/test_windows.py",
    ),
    Fault(  # the last pixel of a window is not read
        "core/windows.py",
        "min(stop - offset, length)",
        "min(stop - offset - 1, length)",
        "core/test_windows.py",
    ),
    Fault(  # the halo of a mask or of feathering is rounded down to the grid
        "core/windows.py",
        "Halo(self.pixels + -(-margin // self.stride)",
        "Halo(self.pixels + (margin // self.stride)",
        "core/test_windows.py",
    ),
    Fault(  # no data of 0 counts as a measurement
        "core/radiometry.py",
        "if number is None or np.isnan(number):",
        "if not number or np.isnan(number):",
        "core/test_radiometry.py core/test_scene.py",
    ),
    Fault(  # the offset has the wrong sign
        "core/radiometry.py",
        "out = out * np.float32(self.scale) + np.float32(self.offset)",
        "out = out * np.float32(self.scale) - np.float32(self.offset)",
        "core/test_radiometry.py core/test_scene.py",
    ),
    Fault(  # reflectance is cut off to whole numbers, not rounded
        "core/radiometry.py",
        "np.rint(np.where(empty, 0, stored))",
        "np.floor(np.where(empty, 0, stored))",
        "core/test_radiometry.py core/test_scene.py",
    ),
    Fault(  # the bands of a deviation are in order of their names
        "core/restore.py",
        "coords={**coords, dim: names}",
        "coords={**coords, dim: sorted(names)}",
        "methods/test_methods.py",
    ),
    Fault(  # a common name means another band
        "core/bands.py",
        '"B11": ("swir16", "swir_2"),\n    "B12": ("swir22", "swir_3"),',
        '"B11": ("swir22", "swir_3"),\n    "B12": ("swir16", "swir_2"),',
        "core/test_scene.py stac/test_providers.py",
    ),
    # ------------------------------------------------------------------ masks
    Fault(  # snow is hidden as haze
        "masks/haze_network.py",
        'out &= ~(planes["B03"] > SNOW * planes["B11"])',
        "pass",
        "masks/test_haze.py",
    ),
    Fault(  # a row is rounded differently beside others
        "masks/haze_network.py",
        "x = np.rint(np.asarray(x, np.float64) * EXACT) / EXACT @ weight + bias",
        "x = (np.asarray(x, np.float32) @ weight.astype(np.float32)) + bias",
        "masks/test_haze.py",
    ),
    Fault(  # a block reads less around it than the haze mask needs
        "masks/haze.py",
        "plan=Halo(kernel.SHARE + kernel.GROWN)",
        "plan=Halo(kernel.NARROW)",
        "masks/test_haze.py",
    ),
    Fault(  # a score at the threshold is cloud
        "masks/scores.py",
        "np.greater(b02, kind(limits.cloud[0]), out=out)",
        "np.greater_equal(b02, kind(limits.cloud[0]), out=out)",
        "masks/test_scores.py",
    ),
    Fault(  # the shadow of the scene classification is not hidden
        "masks/scores.py",
        "OCCLUDED_CLASSES = (3, 8, 9, 10)",
        "OCCLUDED_CLASSES = (8, 9, 10)",
        "masks/test_masks.py masks/test_scores.py",
    ),
    Fault(  # a mask is extended by a pixel less
        "masks/scores.py",
        "isqrt(radius**2 - dy**2) + 1)",
        "isqrt(radius**2 - dy**2))",
        "masks/test_scores.py",
    ),
    Fault(  # what neither cloud nor shade explains may be both
        "masks/matched_filter.py",
        "explained < EXPLAINED * total",
        "explained < 0 * total",
        "masks/test_series.py",
    ),
    Fault(  # shade of one more date that looks alike lasts
        "masks/matched_filter.py",
        "(run >= RUN)",
        "(run >= 1)",
        "masks/test_series.py",
    ),
    Fault(  # each pixel alone says whether its darkness lasts
        "masks/transients.py",
        "lasting = dark & _most(found.lasting, dark)",
        "lasting = dark & found.lasting",
        "masks/test_series.py",
    ),
    Fault(  # shadow is looked for towards the sun
        "masks/shadow_geometry.py",
        "-metres * math.sin(azimuth), -metres * math.cos(azimuth)",
        "metres * math.sin(azimuth), metres * math.cos(azimuth)",
        "masks/test_shadow.py",
    ),
    Fault(  # land that is dark on every date is shadow
        "masks/shadow_geometry.py",
        "after[where[alike & (found > 0)]] &= ~np.uint8(DARK)",
        "after[where[alike & (found < 0)]] &= ~np.uint8(DARK)",
        "masks/test_shadow.py",
    ),
    # ------------------------------------------------------------------ stac
    Fault(  # a GeoTIFF may have another file read in its place
        "stac/read/access.py",
        "if any(word in dataset.tags(ns=space)",
        "if False and any(word in dataset.tags(ns=space)",
        "stac/test_hostile.py",
    ),
    Fault(  # the comparison of two orbits counts its second direction with the wrong sign
        "stac/series/orbits.py",
        "(b, a, -1.0)",
        "(b, a, 1.0)",
        "stac/test_orbits.py",
    ),
    Fault(  # an area beyond the 180th meridian stays on one side
        "stac/search/area.py",
        "out.append(beyond.transform(lambda x, y, *_: ([v - 360 for v in x], y)))",
        "out.append(beyond)",
        "stac/test_areas.py stac/test_search.py",
    ),
    Fault(  # blocks of a clipped series begin at the corner of the area
        "stac/read/clip.py",
        "Affine(STEP, 0, STEP * left, 0, STEP, STEP * top)",
        "Affine(STEP, 0, 0, 0, STEP, 0)",
        "stac/test_areas.py",
    ),
    Fault(  # the first processing baseline with an offset has none
        "stac/rules/harmonise.py",
        "offset = BASELINE_OFFSET if baseline >= 4 else 0.0",
        "offset = BASELINE_OFFSET if baseline > 4 else 0.0",
        "stac/test_harmonise.py stac/test_providers.py",
    ),
    Fault(  # an offset that was applied is applied again
        "stac/rules/harmonise.py",
        "None if flag is None else (0.0,",
        "None if flag is None else (BASELINE_OFFSET,",
        "stac/test_harmonise.py stac/test_providers.py",
    ),
    Fault(  # the gap between the sensors has the wrong sign
        "stac/series/pairing.py",
        "nat if one is None else one.time - t for",
        "nat if one is None else t - one.time for",
        "stac/test_pairing.py",
    ),
    Fault(  # a pass that is just near enough is left out
        "stac/series/pairing.py",
        "if gap <= max_gap]",
        "if gap < max_gap]",
        "stac/test_pairing.py",
    ),
    Fault(  # no data of the first slice hides what the second shows
        "stac/series/pairing.py",
        "out.notnull() & (out != nodata)",
        "out.notnull()",
        "stac/test_pairing.py",
    ),
    # ------------------------------------------------------------------ methods
    Fault(  # dates without radar leave holes in the dates around them
        "methods/area_regression.py",
        "clear & np.isfinite(radar).all(1)",
        "clear",
        "methods/test_area_regression.py",
    ),
    Fault(  # of the last clear date and the next the farther one is taken
        "methods/interpolation.py",
        "np.where(share <= 0.5, either.before, either.after)",
        "np.where(share > 0.5, either.before, either.after)",
        "methods/test_temporal.py",
    ),
    Fault(  # a date at the edge of the gap is used
        "methods/interpolation.py",
        'np.searchsorted(days, days - gap, "left") - 1',
        'np.searchsorted(days, days - gap, "right") - 1',
        "methods/test_temporal.py",
    ),
    Fault(  # the smoothness is ignored
        "methods/whittaker.py",
        "roughness = [smoothness * d for d in penalty_bands(days)]",
        "roughness = [3000.0 * d for d in penalty_bands(days)]",
        "methods/test_temporal.py methods/test_options.py",
    ),
    Fault(  # two images of one time are let through
        "methods/whittaker.py",
        "if len(set(days)) < len(days):",
        "if len(set(days)) > len(days):",
        "methods/test_strict.py",
    ),
    Fault(  # the offset of a date is measured on its clouds too
        "methods/temporal.py",
        "counts = clear[dates] & np.isfinite(difference).all(1)",
        "counts = np.isfinite(difference).all(1)",
        "methods/test_methods.py",
    ),
    Fault(  # the penalty of the regression is ignored
        "methods/regression.py",
        " + penalty * np.eye(len(scale))",
        "",
        "judge/test_baselines.py",
    ),
    Fault(  # weights fall with twice the power of the distance
        "methods/idw.py",
        "np.power(batch.square, -power / 2,",
        "np.power(batch.square, -power,",
        "methods/test_idw.py",
    ),
    Fault(  # what is hidden to learn from it stays visible
        "methods/leave_out.py",
        "clear[list(dates)] &= ~hidden",
        "clear[list(dates)] &= True",
        "train/test_context_samples.py",
    ),
    # ------------------------------------------------------------------ models
    Fault(  # a clear pixel gets the spectrum of the prior, a hidden one its cloud
        "models/carf.py",
        "base = torch.where(mask > 0.5, self.prior(sar), optical)",
        "base = torch.where(mask > 0.5, optical, self.prior(sar))",
        "models/test_models.py",
    ),
    Fault(  # a cell that hangs over the border is seen
        "models/parts.py",
        "masked = bias + MASKED * hidden[edge]",
        "masked = bias + 0 * hidden[edge]",
        "models/test_models.py",
    ),
    Fault(  # the reach leaves out the last convolutions
        "models/carf.py",
        "cells = 3  # last convolution",
        "cells = 0  # last convolution",
        "models/test_models.py",
    ),
    # ------------------------------------------------------------------ reconstruct
    Fault(  # the filter of speckle averages on the other side of an edge
        "methods/speckle.py",
        "np.abs(shifted[one] - shifted[0, 0]) <= np.abs(shifted[other] - shifted[0, 0])",
        "np.abs(shifted[one] - shifted[0, 0]) > np.abs(shifted[other] - shifted[0, 0])",
        "reconstruct/test_speckle.py",
    ),
    Fault(  # feathering reads the rims of clouds
        "reconstruct/compose.py",
        "clear, 2 * margin + 1,",
        "clear, 1,",
        "reconstruct/test_compose.py",
    ),
    Fault(  # feathering reads cloudy values
        "reconstruct/compose.py",
        "valid & ~hidden & told)",
        "valid & told)",
        "reconstruct/test_compose.py",
    ),
    Fault(  # the flags of what was filled and what was not are swapped
        "reconstruct/compose.py",
        "provenance[wanted & ~filled] = Provenance.UNRECONSTRUCTABLE",
        "provenance[wanted & ~filled] = Provenance.RECONSTRUCTED",
        "reconstruct/test_compose.py",
    ),
    Fault(  # no data is flagged as observed
        "reconstruct/compose.py",
        "provenance[~valid[core]] = Provenance.NODATA",
        "provenance[~valid[core]] = Provenance.OBSERVED",
        "reconstruct/test_compose.py",
    ),
    Fault(  # results of dates out of order go to other dates
        "core/predictor.py",
        'results = [r[np.argsort(order, kind="stable")] for r in results]',
        "results = [r[order] for r in results]",
        "methods/test_methods.py",
    ),
    Fault(  # the time between the sensors counts in full
        "reconstruct/dates.py",
        'np.timedelta64(2, "D")',
        'np.timedelta64(1, "D")',
        "reconstruct/test_tiles_dates.py",
    ),
    Fault(  # a network sees what is clear as hidden
        "reconstruct/network.py",
        "np.stack([w.hidden[None] for w in windows])",
        "np.stack([~w.hidden[None] for w in windows])",
        "reconstruct/test_reconstruct.py",
    ),
    # ------------------------------------------------------------------ io
    Fault(  # wholly hidden dates take nothing but the regression
        "methods/kernel_fusion/engine.py",
        "return base + (share.mT[..., None] * others).sum(0)",
        "return base",
        "methods/test_kernel_fusion.py",
    ),
    Fault(  # shade is looked for in the direction of cloud
        "methods/kernel_fusion/engine.py",
        "dark = -mean.index_select",
        "dark = mean.index_select",
        "methods/test_kernel_fusion.py",
    ),
    Fault(  # errors are read from dates that may have read the target
        "methods/kernel_fusion/persistence.py",
        "(far > GAPS[level]) & (far <= GAPS[LONGER[level]])",
        "far > GAPS[level]",
        "methods/test_persistence.py",
    ),
    Fault(  # a resumed write skips all blocks
        "io/zarr_store.py",
        "skip=lambda index: grid.key(index) in there,",
        "skip=lambda index: bool(there),",
        "io/test_store.py",
    ),
    Fault(  # a flipped bit in a store is a value
        "io/layout.py",
        "checksum=True",
        "checksum=False",
        "io/test_faults.py",
    ),
    Fault(  # a zipped store that changed is read as if it had not
        "io/ledger.py",
        "return Path(store.path)\n",
        "return None\n",
        "io/test_faults.py",
    ),
    Fault(  # a torn line of the ledger counts
        "io/ledger.py",
        "if lines[-1]:",
        "if not lines[-1]:",
        "io/test_store.py",
    ),
    Fault(  # reflectance may become the number for no data
        "io/encoding.py",
        "~((numbers > nodata) &",
        "~((numbers >= nodata) &",
        "io/test_store.py",
    ),
    # ------------------------------------------------------------------ plot, cli
    Fault(  # what stands beside an image is of another date
        "plot/view.py",
        "matches = np.flatnonzero(_day(labels.values) == _day(self.label))",
        "matches = np.flatnonzero(_day(labels.values) != _day(self.label))",
        "plot/test_plot.py",
    ),
    Fault(  # a picture shows the first date, whatever is asked for
        "plot/view.py",
        "(index,) = nearest(coordinate, [time])",
        "nearest(coordinate, [time])",
        "plot/test_plot.py",
    ),
    Fault(  # the mask of the command line is not extended
        "cli/scenes.py",
        "made = opened.cloudfree.mask(method, **options)",
        'made = opened.cloudfree.mask(method, **options | {"dilate": 0})',
        "cli/test_cli.py",
    ),
    Fault(  # the seam is feathered although that was declined
        "cli/scenes.py",
        'options["blend"] = None if no_blend else "feather"',
        'options["blend"] = "feather"',
        "cli/test_cli.py",
    ),
    # ------------------------------------------------------------------ datasets, train, judge
    Fault(  # the noise of a simulation ignores the seed
        "datasets/simulate.py",
        "np.random.default_rng([seed, n, stamp])",
        "np.random.default_rng([0, n, stamp])",
        "datasets/test_simulate.py",
    ),
    Fault(  # a loss learns the clear pixels of another date
        "train/losses.py",
        "goal = mask * target + (1 - mask) * cloudy",
        "goal = mask * cloudy + (1 - mask) * target",
        "train/test_losses.py",
    ),
    Fault(  # errors count as much where the input is clear
        "train/adversary.py",
        "(self._distortion(valid) * error).sum()",
        "error.sum()",
        "train/test_fit_adversaries.py",
    ),
    Fault(  # a pixel that is coded as clear is restored as well
        "models/distortion_coding.py",
        "return optical + code * (torch.tanh",
        "return optical + (1 - code) * (torch.tanh",
        "models/test_distortion_coding.py",
    ),
    Fault(  # a network of one date is fitted where the estimate that it corrects is missing
        "train/samples.py",
        "np.where(known, images[1], np.float32(np.nan))",
        "images[1]",
        "train/test_fit_samples.py",
    ),
    Fault(  # the other images of a pass show the truth while a network is fitted
        "train/series_samples.py",
        "clear[same_pass(place.days, date)] &= ~gone",
        "clear[date] &= ~gone",
        "train/test_context_samples.py",
    ),
    Fault(  # a fit reads the dates that it is judged on
        "train/series_fitting.py",
        "order=series.order[~held_out]",
        "order=series.order[: (~held_out).sum()]",
        "train/test_fit_all_dates.py",
    ),
    Fault(  # a hidden date is seen by the network that is fitted
        "train/hidden_dates.py",
        "max(gap, PASS)",
        "-1",
        "train/test_fit_all_dates.py",
    ),
    Fault(  # layers draw the same whatever the seed
        "train/loop.py",
        "[self.settings.seed, step, self.global_rank]",
        "[0, step, self.global_rank]",
        "train/test_fit_samples.py",
    ),
    Fault(  # the twins of a hidden date show the truth
        "judge/protocols.py",
        "away = same_pass(days, date) | (",
        "away = (days == days[date]) | (",
        "judge/test_benchmark.py",
    ),
    Fault(  # a pixel that the prediction lacks counts
        "judge/metrics.py",
        "valid &= ~(np.isnan(p) | np.isnan(t))",
        "valid &= ~np.isnan(t)",
        "judge/test_metrics.py judge/test_evaluate.py",
    ),
    Fault(  # too dark counts as too bright
        "judge/scene_table.py",
        "difference = one - other",
        "difference = other - one",
        "judge/test_own_scene.py",
    ),
    # ------------------------------------------------------------------ intervals
    Fault(  # the date at the end of a gap is seen when ground is hidden again
        "reconstruct/hiding.py",
        "(np.abs(when - when[date]) <= GAPS[level])",
        "(np.abs(when - when[date]) < GAPS[level])",
        "reconstruct/test_intervals.py",
    ),
    Fault(  # a date counts by its pixels
        "reconstruct/conformal.py",
        "weight = _seasonal(days, each)[:, place] / np.maximum(count, PIXELS)[place]",
        "weight = _seasonal(days, each)[:, place]",
        "reconstruct/test_intervals.py",
    ),
    Fault(  # what lies outside of bounds costs half
        "judge/intervals.py",
        "width + 2 / (1 - level) * outside",
        "width + 1 / (1 - level) * outside",
        "judge/test_intervals.py",
    ),
    Fault(  # space and time vary independently
        "methods/spacetime_kriging.py",
        "return np.asarray(s + t - self.product * s * t)",
        "return np.asarray(s + t)",
        "methods/test_spacetime_kriging.py",
    ),
    Fault(  # a pixel without one band loses the others
        "reconstruct/any_time.py",
        'missing = scene.reflectance().isnull().all("band")',
        'missing = scene.reflectance().isnull().any("band")',
        "reconstruct/test_any_time.py",
    ),
]


def noticed(folder: Path, fault: Fault) -> bool:
    """Whether one of the tests of a fault fails in the copy that has it."""
    path = folder / "xcloudfree" / fault.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace(fault.before, fault.after), encoding="utf-8")
    try:
        return fails(folder, fault.tests.split())
    finally:
        path.write_text(sound, encoding="utf-8")


def fails(folder: Path, files: Iterable[str]) -> bool:
    """Whether a test of some files fails in the copy."""
    words = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-m", "not slow"]
    words += ["-p", "no:cacheprovider", *(f"tests/{name}" for name in files)]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            words, cwd=folder, env={**os.environ, **threads}, capture_output=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1):  # 1: some tests failed; others are no answer
        raise RuntimeError(done.stdout.decode()[-2000:])
    return done.returncode == 1


def main() -> int:
    """Try the faults that the command line names, by default all."""
    numbers = [int(word) for word in sys.argv[1:]] or range(1, len(FAULTS) + 1)
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("xcloudfree", "tests"):
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for part in ("docs", "examples", "pyproject.toml"):
            (folder / part).symlink_to(ROOT / part)
        files = sorted({name for n in numbers for name in FAULTS[n - 1].tests.split()})
        if fails(folder, files):
            print("the tests fail without any fault, so they say nothing")
            return 1
        for number in numbers:
            fault, start = FAULTS[number - 1], time.monotonic()
            text = (folder / "xcloudfree" / fault.file).read_text(encoding="utf-8")
            if text.count(fault.before) != 1:
                result = "not there once"
            else:
                result = "caught" if noticed(folder, fault) else "missed"
            if result != "caught":
                missed.append(number)
            seconds = time.monotonic() - start
            print(
                f"{number:3} {result:7} {seconds:4.0f} s  {fault.file}: {fault.after!r}", flush=True
            )
    print(f"{len(missed)} of {len(numbers)} are not caught: {missed}" if missed else "all caught")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
