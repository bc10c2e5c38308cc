"""Fit and judge carf-series, the network that corrects kernel-fusion of a series.

    python examples/series_network.py prepare   # kernel-fusion of hidden dates; resumes
    python examples/series_network.py fit       # each region left out, then all; resumes
    python examples/series_network.py judge     # the tables of docs/results.md and of the card

Needs XCLOUDFREE_DATA. Everything is kept in out/series-network. The dates: series_cases.py.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import series_cases
import torch
from numpy.typing import NDArray
from results_pages import put
from series_cases import KEPT, SITES, cases
from torch import nn

import xcloudfree as xcf
from xcloudfree.models.model import Model
from xcloudfree.train.hidden_dates import HiddenDate, Sample
from xcloudfree.train.series_objective import DROPPED, penalties

NAME = "carf-series"
WEIGHTS = Path(xcf.models.__file__).parent / "weights"

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Bands that the specification names; the weights belong to none."""

STEPS, RATE, DECAY, AT_ONCE, PIXELS = 400, 4e-3, 1e-2, 12, 64

TRUST = 0.8
"""Share of the fitted change that is made, chosen on these regions left out in turn."""


@click.group()
def main() -> None:
    """Prepare, fit or judge."""
    torch.set_num_threads(1)


@main.command()
@click.argument("sites", nargs=-1)
def prepare(sites: tuple[str, ...]) -> None:
    """Estimate hidden dates with kernel-fusion; those on disk are not done again."""
    for name in sites or SITES:
        series_cases.prepare(name)


Kind = tuple[str, bool]
"""Region, and whether all of a date is hidden."""


def samples(names: list[str]) -> list[tuple[Kind, Sample]]:
    """Samples of all hidden dates of some sites."""
    rng, out = np.random.default_rng(1), []
    for name in names:
        for case in cases(name):
            found = case.date.sample(rng)
            if found is not None:
                out.append(((SITES[name].region, case.full), found))
    return out


def fitted(parts: list[tuple[Kind, Sample]], seed: int = 0) -> Model:
    """A network fitted on some samples; regions and kinds are drawn equally often."""
    model = xcf.models.create("series-attention", seed=seed, level="BOA")
    rng, network = np.random.default_rng(seed), model.network.train()
    by_kind = defaultdict(list)
    for kind, part in parts:
        by_kind[kind].append(part)
    kinds = list(by_kind)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=STEPS, pct_start=0.15
    )
    for _ in range(STEPS):
        loss = torch.zeros(())
        for _ in range(AT_ONCE):
            same = by_kind[kinds[rng.integers(len(kinds))]]
            part = same[rng.integers(len(same))]
            some, error, size = part.of(torch.from_numpy(rng.integers(0, len(part.error), PIXELS)))
            kept = torch.rand(some.known.shape) > rng.uniform(0, DROPPED)
            change = network.correct(some._replace(known=some.known & kept), bounded=False)
            loss = sum(penalties(change, error, size), start=loss)
        optimiser.zero_grad()
        (loss / AT_ONCE).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        for weight in network.share[-1].parameters():
            weight.mul_(TRUST)
    network.eval()
    return model


@main.command()
def fit() -> None:
    """Fit with each region left out, and with all; what is on disk is not fitted again."""
    parts = samples(list(SITES))
    regions = [*dict.fromkeys(site.region for site in SITES.values()), ""]
    for region in regions:
        path = model_of(region)
        if path.exists():
            continue
        model = fitted([(kind, part) for kind, part in parts if kind[0] != region])
        model.spec = model.spec.replace(
            name=NAME,
            trained=True,
            training_data=(
                f"{len(SITES)} series of {len(regions) - 1} regions (WorldCereal, Tervuren, "
                "BioMassters, Bolzano, Boadella, SEN12MS-CR-TS), clear dates hidden"
                + (f"; without {region}" if region else "")
            ),
            licence="Apache-2.0; fitted on modified Copernicus Sentinel data in public datasets "
            "whose licences for redistribution were not confirmed",
        )
        click.echo(model.save(path))


def model_of(region: str) -> Path:
    """Weights that were fitted without a region; with all of them for ""."""
    name = f"without {region}" if region else NAME
    return KEPT / f"{name.replace(' ', '-').lower()}.safetensors"


@main.command()
def judge() -> None:
    """Gain on the hidden pixels of each region, with the weights fitted without it."""
    gains: dict[tuple[str, bool, int], list[tuple[float, float]]] = defaultdict(list)
    for name, site in SITES.items():
        model = xcf.models.load(model_of(site.region))
        for case in cases(name):
            before, after = (
                -10 * np.log10(np.square((a - case.date.truth)[:, case.date.judged]).mean())
                for a in (case.date.mean, corrected(model, case.date))
            )
            gains[name, case.full, case.gap].append((before, after - before))
    means = {key: np.mean(values, 0) for key, values in gains.items()}
    text = table(means, {key: len(values) for key, values in gains.items()})
    click.echo(text)
    put(Path("docs/results.md"), "series-network", text)
    put(WEIGHTS / f"{NAME}.md", "judge", text)
    model = xcf.models.load(model_of("")).for_bands(BANDS)
    model.spec = model.spec.replace(metrics=figures(means))
    click.echo(model.save(WEIGHTS / f"{NAME}.safetensors"))


def corrected(model: Model, date: HiddenDate) -> NDArray[np.float32]:
    """The network's estimate of a hidden date."""
    given = {k: v[None] for k, v in date.tensors().items()}
    known = given["known"][:, None].float()
    context = torch.cat([given["mean"], 10 * given["size"], known], 1)
    with torch.inference_mode():
        out = model.network(
            given["mean"], given["mean"][:, :0], mask=given["hidden"][:, None].float(),
            context=context, others=given["others"], shown=given["shown"].float(),
            apart=given["apart"],
        )  # fmt: skip
    return out[0].numpy()


def figures(means: dict[tuple[str, bool, int], NDArray]) -> dict[str, float]:
    """Means over regions left out for the specification of the weights."""
    found = {}
    for full, words in ((False, "partly"), (True, "wholly")):
        sites: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for (name, whole, _), (_, gain) in means.items():
            if whole == full:
                sites[SITES[name].region][name].append(gain)
        regions = [np.mean([np.mean(g) for g in each.values()]) for each in sites.values()]
        worst = min(gain for (_, whole, _), (_, gain) in means.items() if whole == full)
        found[f"{words} hidden, regions left out: gain in dB over kernel-fusion"] = round(
            float(np.mean(regions)), 3
        )
        found[f"{words} hidden, worst site and gap"] = round(float(worst), 3)
    return found


def table(means: dict[tuple[str, bool, int], NDArray], counts: dict[Any, int]) -> str:
    """PSNR of kernel-fusion and gain of the network, by site, kind and gap."""
    lines = ["| site | hidden | dates | gap in days | kernel-fusion, dB | gain, dB |", "|---|" * 6]
    lines[1] = "|---" * 6 + "|"
    for name, site in SITES.items():
        for full in (False, True):
            gaps = [gap for gap in site.gaps if (name, full, gap) in means]
            if gaps:
                before, gain = zip(*(means[name, full, gap] for gap in gaps), strict=True)
                cells = [
                    site.region + (" (second place)" if name == "fin2" else ""),
                    "wholly" if full else "partly",
                    " / ".join(str(counts[name, full, gap]) for gap in gaps),
                    " / ".join(map(str, gaps)),
                    " / ".join(f"{v:.2f}" for v in before),
                    " / ".join(f"{v:+.2f}" for v in gain),
                ]
                lines.append("| " + " | ".join(cells) + " |")
    told = figures(means)
    lines += ["", "; ".join(f"{name}: {value:+.2f}" for name, value in told.items()) + "."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
