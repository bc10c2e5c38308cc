"""Small networks that move kernel-fusion of one date towards the usual spectrum of the ground.

    python examples/one_date_networks.py prepare   # estimates of all cases; resumes in out/one-date
    python examples/one_date_networks.py judge     # every region left out in turn

Needs XCLOUDFREE_DATA. Corrections are constant in cells of 16 px, so that errors can be summed by
cell once and networks be fitted on these sums. The usual spectrum is the median over the regions
that a network is fitted on.
"""

import warnings
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from results_pages import put
from scipy.ndimage import gaussian_filter
from torch import nn
from training_data import NEVER_FITTED, cases

from xcloudfree.core.predictor import Series
from xcloudfree.methods.kernel_fusion import KernelFusion

KEPT = Path("out/one-date")
SIDE, CELL = 256, 16
"""Largest side of a case, and side of a cell, in pixels."""

WIDTHS = (1, 3)
"""Standard deviations in cells of the means of visible pixels."""

SEEN = 0.02
"""Share of visible pixels from which their mean counts."""

DOWN, UP, UNLIKE = (0, 0.25, 0.5, 0.75, 1), (0, 0.1, 0.2, 0.3, 0.5), (0.1, 0.15, 0.25)
"""Constants that are tried for a rule: shares of a step down and up, and see `rule`."""

STEPS, RATE, DECAY, PER_CASE = 200, 2e-2, 1e-2, 48
HINGE = 2.0
"""Weight of being worse than kernel-fusion, besides the error itself."""

BASE = "kernel-fusion, PSNR in dB"
VISIBLE, INFRARED = slice(1, 4), slice(-2, None)
KINDS = ("real", "day removed", "pasted", "perfect")


class Part(NamedTuple):
    """Hidden cells of a case; arrays (cell, band) unless said."""

    region: str
    kind: str
    mean: NDArray  # estimate of kernel fusion
    unsure: NDArray  # its deviation
    shares: NDArray  # of visible pixels within WIDTHS and in the cell (cell, 3)
    near: NDArray  # mean of the visible pixels within the first width
    wide: NDArray  # and within the second
    error: NDArray  # truth less estimate
    rest: NDArray  # squares that no shift of the cell removes (cell)
    count: NDArray  # hidden pixels (cell)


@click.group()
def main() -> None:
    """Prepare or judge."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    torch.set_num_threads(1)


LEVEL = click.option("--level", type=click.Choice(["TOA", "BOA"]), default="TOA")


@main.command()
@LEVEL
def prepare(level: str) -> None:
    """Estimate every case with kernel fusion; those on disk are not done again."""
    folder = KEPT / level
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases(level)):
        path = folder / f"{number:03d}.npz"
        if path.exists():
            continue
        cloudy, truth = (a[:, :SIDE, :SIDE] for a in (case.cloudy, case.truth))
        radar = None if case.radar is None else case.radar[:, :SIDE, :SIDE]
        mask = case.mask()[:SIDE, :SIDE]
        found = cells_of(cloudy, truth, mask, *fused(cloudy, radar, mask))
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, region=case.region, kind=case.kind, **found)
        partial.replace(path)
        click.echo(f"{number} {case.region} {case.name}")


@main.command()
@LEVEL
@click.option("--page", type=click.Path(path_type=Path), help="With the two markers in it.")
def judge(level: str, page: Path | None) -> None:
    """Gain in PSNR of the hidden pixels, each region left out of the fit."""
    parts = read(KEPT / level)
    kinds = tuple(kind for kind in KINDS if any(part.kind == kind for part in parts))
    regions = sorted({part.region for part in parts if part.kind == kinds[0]})
    gains: dict[Any, list[float]] = defaultdict(list)
    for region in regions:
        inside = [part for part in parts if part.region == region]
        rest = [part for part in parts if part.region not in (region, *NEVER_FITTED)]
        spectrum = usual(rest)
        rows = {
            "a quarter of the way": lambda part, s=spectrum: 0.25 * (s - part.mean),
        }
        chosen = {f"{kinds[0]} clouds": kinds[:1]} | (
            {"all kinds": kinds} if len(kinds) > 1 else {}
        )
        rows |= {f"rule, {w}": best_rule(rest, spectrum, some) for w, some in chosen.items()}
        rows |= {f"network, {w}": fitted(rest, spectrum, some) for w, some in chosen.items()}
        for part in inside:
            gains[BASE, part.kind, region].append(psnr(part))
        for part, (row, move) in product(inside, rows.items()):
            gains[row, part.kind, region].append(gain(part, move(part)))
        means = [np.mean(gains[row, kinds[0], region]) for row in rows]
        click.echo(f"{region} " + " ".join(f"{mean:+.2f}" for mean in means))
    text = table(gains, [BASE, *rows], regions, kinds)
    click.echo(text)
    if page is not None:
        put(page, f"one-date-{level}", text)


def fused(cloudy: NDArray, radar: NDArray | None, mask: NDArray) -> tuple[NDArray, NDArray]:
    """Estimate and deviation of kernel fusion, (band, y, x)."""
    shown = None if radar is None else radar[None]
    series = Series(cloudy[None], mask[None], mask[None], shown, np.zeros(1))
    method = KernelFusion()
    answer = method.predict(series, [method.conclude(method.measure(series, ()), ())])
    assert answer.deviation is not None
    return answer.mean[0], answer.deviation[0]


def cells_of(
    cloudy: NDArray, truth: NDArray, mask: NDArray, mean: NDArray, deviation: NDArray
) -> dict[str, NDArray]:
    """What the networks read of the hidden cells, and sums of the errors."""
    height, width = (n // CELL * CELL for n in mask.shape)
    hidden = mask & np.isfinite(mean).all(0)

    def summed(planes: NDArray) -> NDArray:
        cut = planes[:, :height, :width].astype("float64")
        return cut.reshape(len(cut), height // CELL, CELL, width // CELL, CELL).sum((2, 4))

    count, shown = summed(hidden[None]), summed(~mask[None])
    wrong = np.where(hidden, truth - mean, 0)
    error = summed(wrong) / np.maximum(count, 1)
    around = [within(summed(np.where(mask, 0, cloudy)), shown, s) for s in WIDTHS]
    planes = {
        "mean": summed(np.where(hidden, mean, 0)) / np.maximum(count, 1),
        "unsure": summed(np.where(hidden, deviation, 0)) / np.maximum(count, 1),
        "shares": np.concatenate([*(share for share, _ in around), shown / CELL**2]),
        "near": around[0][1],
        "wide": around[1][1],
        "error": error,
        "rest": (summed(wrong**2) - count * error**2).sum(0, keepdims=True),
        "count": count,
    }
    kept = count[0] >= CELL / 2
    return {name: plane[:, kept].T.astype("float32") for name, plane in planes.items()}


def within(sums: NDArray, shown: NDArray, width: float) -> tuple[NDArray, NDArray]:
    """Share of visible pixels around each cell, and their mean."""
    options = {"mode": "constant", "truncate": 2}
    sums, shown, whole = (
        np.stack([gaussian_filter(plane, width, **options) for plane in planes])
        for planes in (sums, shown, np.full_like(shown, CELL**2))
    )
    return shown / whole, sums / np.maximum(shown, 1e-3)


def read(folder: Path) -> list[Part]:
    """Stored cases that hide something."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9][0-9].npz")):
        with np.load(path) as file:
            part = Part(**{name: file[name] for name in Part._fields})
        if len(part.count):
            rest, count = part.rest[:, 0], part.count[:, 0]
            names = {"region": str(part.region), "kind": str(part.kind)}
            found.append(part._replace(**names, rest=rest, count=count))
    return found


def usual(parts: list[Part]) -> NDArray:
    """Median over regions of the mean spectrum beneath the clouds."""
    regions = defaultdict(list)
    for part in parts:
        regions[part.region].append((part.mean + part.error).mean(0))
    return np.median([np.mean(spectra, 0) for spectra in regions.values()], 0)


def gain(part: Part, moved: NDArray) -> float:
    """Gain in PSNR when the estimate is moved."""
    before, after = (
        (part.count[:, None] * (part.error - step) ** 2).sum() + part.rest.sum()
        for step in (0, moved)
    )
    return float(10 * np.log10(before / after))


def psnr(part: Part) -> float:
    """PSNR of the estimate in dB."""
    squares = (part.count[:, None] * part.error**2).sum() + part.rest.sum()
    return float(-10 * np.log10(squares / part.count.sum() / part.error.shape[1]))


def rule(part: Part, spectrum: NDArray, down: float, up: float, unlike: float) -> NDArray:
    """Step down or up, by the share of hidden pixels around; small for ground that is unlike."""
    away = spectrum - part.mean
    distance = np.sqrt((away**2).mean(1, keepdims=True))
    hidden = 1 - part.shares[:, 1:2]
    return hidden * np.where(away < 0, down, up) * away / (1 + (distance / unlike) ** 2)


def best_rule(parts: list[Part], spectrum: NDArray, kinds: tuple[str, ...]) -> Any:
    """The rule with the best gain over the regions of some kinds, each kind equally."""

    def score(constants: tuple[float, ...]) -> float:
        found = defaultdict(list)
        for part in parts:
            if part.kind in kinds:
                moved = rule(part, spectrum, *constants)
                found[part.kind, part.region].append(gain(part, moved))
        by_kind = [[np.mean(g) for (k, _), g in found.items() if k == kind] for kind in kinds]
        return float(np.mean([np.mean(m) + HINGE * np.mean(np.minimum(m, 0)) for m in by_kind]))

    constants = max(product(DOWN, UP, UNLIKE), key=score)
    return lambda part: rule(part, spectrum, *constants)


class Gate(nn.Module):
    """The share of the way towards the spectrum; bands share the weights."""

    def __init__(self, spectrum: NDArray, visible: slice = VISIBLE, hidden: int = 6) -> None:
        super().__init__()
        self.visible = visible
        self.spectrum = nn.Parameter(torch.tensor(spectrum, dtype=torch.float32))  # a copy
        self.layers = nn.Sequential(nn.Linear(13, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        nn.init.zeros_(self.layers[2].weight)
        nn.init.constant_(self.layers[2].bias, -1.0)
        self.unlike = nn.Parameter(torch.tensor(0.1))

    def forward(self, part: Part) -> torch.Tensor:
        """Shift of each cell and band."""
        mean, unsure, shares, near, wide = part[2:7]
        away, unsure = self.spectrum - mean, (20 * unsure).clamp(max=4)
        enough = (shares > SEEN).float()
        haze = 20 * enough[:, :1] * enough[:, 1:2] * (near - wide).clamp(-0.1, 0.1)
        other = 10 * enough[:, 1:2] * (mean - wide).clamp(-0.2, 0.2)
        distance = (away**2).mean(1, keepdim=True).clamp(min=1e-12).sqrt()
        common = torch.cat([
            10 * away[:, self.visible].mean(1, keepdim=True),
            10 * away[:, INFRARED].mean(1, keepdim=True),
            10 * distance, 2 * shares - 1, unsure.mean(1, keepdim=True),
            *(x[:, self.visible].mean(1, keepdim=True) for x in (haze, other)),
        ], 1)  # fmt: skip
        own = torch.stack([10 * away, unsure, haze, other], 2)
        common = common[:, None].expand(*own.shape[:2], -1)
        share = torch.sigmoid(self.layers(torch.cat([common, own], 2))[..., 0])
        return share * away / (1 + (distance / self.unlike) ** 2)


def fitted(
    parts: list[Part], spectrum: NDArray, kinds: tuple[str, ...], visible: slice = VISIBLE
) -> Any:
    """Fit a gate on some cells of each case; kinds and their regions count equally."""
    torch.manual_seed(0)
    rng, chosen = np.random.default_rng(0), [part for part in parts if part.kind in kinds]
    rows = [rng.permutation(len(part.count))[:PER_CASE] for part in chosen]
    drawn = [
        part._replace(**{name: getattr(part, name)[r] for name in Part._fields[2:]})
        for part, r in zip(chosen, rows, strict=True)
    ]
    joined = tensors(drawn)
    case = torch.from_numpy(np.repeat(np.arange(len(drawn)), [len(r) for r in rows]))
    keys = [(part.kind, part.region) for part in drawn]
    per_kind = {kind: len({key for key in keys if key[0] == kind}) for kind in kinds}
    weight = torch.tensor([1 / per_kind[key[0]] / keys.count(key) / len(kinds) for key in keys])
    gate, zero = Gate(spectrum, visible), torch.zeros(len(drawn))

    def squares(moved: torch.Tensor) -> torch.Tensor:
        each = joined.count * ((joined.error - moved) ** 2).sum(1) + joined.rest
        return zero.index_add(0, case, each).log()

    base = squares(torch.zeros_like(joined.error))
    optimiser = torch.optim.AdamW(gate.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        worse = squares(gate(joined)) - base
        loss = (weight * (worse + HINGE * worse.clamp(min=0))).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return lambda part: gate(tensors([part])).detach().numpy()


def tensors(parts: list[Part]) -> Part:
    """Cells of several cases in one."""
    names = Part._fields[2:]
    joined = {n: torch.from_numpy(np.concatenate([getattr(p, n) for p in parts])) for n in names}
    return Part("", "", **joined)


def table(
    gains: dict[Any, list[float]], rows: list[str], regions: list[str], kinds: tuple[str, ...]
) -> str:
    """Mean gain and least gain of a region, by kind of clouds; by region for two kinds."""

    def shown(row: str, values: list[float]) -> list[str]:
        return [f"{v:.2f}" if row == BASE else f"{v:+.2f}" for v in values]

    lines = ["| | " + " | ".join(f"{kind}, mean | least" for kind in kinds) + " |"]
    lines.append("|---" * (1 + 2 * len(kinds)) + "|")
    for row in rows:
        values: list[float] = []
        for kind in kinds:
            keys = [(row, kind, region) for region in regions]
            means = [float(np.mean(gains[key])) for key in keys if key in gains]
            values += [float(np.mean(means)), min(means)]
        lines.append(f"| {row} | " + " | ".join(shown(row, values)) + " |")
    lines += ["", "| | " + " | ".join(regions) + " |", "|---" * (1 + len(regions)) + "|"]
    for kind, row in product(kinds[:2], rows):
        keys = [(row, kind, region) for region in regions]
        values = [float(np.mean(gains[key])) if key in gains else np.nan for key in keys]
        cells = ("" if "nan" in cell else cell for cell in shown(row, values))
        lines.append(f"| {kind}: {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
