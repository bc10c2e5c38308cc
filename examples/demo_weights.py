"""Fit and judge the shipped demonstration weights, ``carf-small-demo``.

Needs the folder of real data that the variable XCLOUDFREE_DATA names: SEN12MS-CR triplets and clear
Level-1C pairs. ``fit`` writes the weights, ``judge`` the tables of the model card; ``results.py``
makes those of the README and all others.

    python examples/demo_weights.py fit
    python examples/demo_weights.py fit --without-sar
    python examples/demo_weights.py judge
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import click
import numpy as np
import rasterio
import xarray as xr
from results_pages import put

import xcloudfree as xcf
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.judge.baselines import TrainingImage, fit_constant, fit_ridge
from xcloudfree.methods.idw import inverse_distance_weighting

DATA = Path(os.environ.get("XCLOUDFREE_DATA", "data"))
REPOSITORY = Path(__file__).parent.parent
WEIGHTS = REPOSITORY / "xcloudfree/models/weights"
NAME = "carf-small-demo"
WITHOUT = Path("out/carf-small-demo-without-sar.safetensors")

REGIONS = {
    "A": (316, 581, 746),
    "B": (1302,),
    "C": (2729,),
    "E": (4065, 4287, 4294, 4433, 4438),
    "F": (5254, 5278, 5349),
}
"""SEN12MS-CR triplets to fit on, by region."""

CLEAR = {
    "terramind_282D_485L_3_3": 1000,
    "terramind_38D_378R_2_3": 0,
    "terramind_433D_629L_3_1": 1000,
    "terramind_637U_59R_1_3": 0,
    "sen1floods11_Spain_7370579": 0,
}
"""Clear pairs to fit on under simulated clouds, and the offset of their numbers."""

UNSEEN = {"D": (3968,), "H": (6553, 6780)}
"""Triplets of the development regions; with patch 1970_fall_139_p839 they are what is judged."""

RECIPE = {
    "steps": 800,
    "batch": 8,
    "crop": 96,
    "learning_rate": 2e-4,
    "loss": "error",
    "alpha": 0.9,
    "simulated": 0.5,
    "shrinkage": 1.0,
    "seed": 0,
}


@click.group()
def main() -> None:
    """Fit or judge the demonstration weights."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)


@main.command()
@click.option("--without-sar", is_flag=True, help="The same without backscatter, for comparison.")
def fit(without_sar: bool) -> None:
    """Fit on the training regions."""
    model = xcf.models.create(
        "carf-small",
        base="prior",
        mask_input=True,
        cross="none" if without_sar else "gate",
    )
    fitted = xcf.fit(training_data(), model, device="cpu", **RECIPE)
    fitted.spec = fitted.spec.replace(
        name=NAME,
        demonstration=True,
        sar_quantity="sigma0",
        training_data=(
            "13 SEN12MS-CR triplets of 5 regions (sigma0) and 5 clear Level-1C images of 5 regions "
            "with Sentinel-1 (4 TerraMesh examples in gamma0, 1 Sen1Floods11) under simulated cloud"
        ),
        licence="Apache-2.0; fitted on modified Copernicus Sentinel data in public datasets whose "
        "licences for redistribution were not confirmed: CC BY 4.0 and CC BY-SA 4.0 are stated",
    )
    path = WITHOUT if without_sar else WEIGHTS / f"{NAME}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    click.echo(fitted.save(path))


@main.command()
def judge() -> None:
    """Compare with the trivial rows on patches of unseen regions."""
    scene, truth, mask = unseen()
    rows = estimates(scene, mask)
    result = xcf.evaluate(rows.pop(NAME), truth, mask=mask, observed=scene, others=rows).compute()
    text = tables(result)
    click.echo(text)
    model = xcf.models.load(NAME)
    model.spec = model.spec.replace(metrics=figures(result))
    model.save(WEIGHTS / f"{NAME}.safetensors")
    put(WEIGHTS / "MODEL_CARD.md", "judge", text)


def training_data() -> list[xr.Dataset]:
    """One dataset a region."""
    real = [triplets(ids) for ids in REGIONS.values()]
    return [*real, *(clear_pair(name, offset) for name, offset in CLEAR.items())]


def triplets(ids: tuple[int, ...]) -> xr.Dataset:
    """SEN12MS-CR triplets."""
    kinds = {"s2": "s2_cloudy", "s1": "s1", "target": "s2_cloudfree"}
    images = {
        variable: np.stack([read(DATA / "triplets" / str(i) / f"{kind}.tif") for i in ids])
        for variable, kind in kinds.items()
    }
    return patches(names=[str(i) for i in ids], **images)


def clear_pair(name: str, offset: int) -> xr.Dataset:
    """A clear image with Sentinel-1; the image is its own target."""
    (radar,) = (DATA / "pairs_l1c" / name).glob("s1_*.tif")
    s2 = read(DATA / "pairs_l1c" / name / "s2.tif").astype("int32") - offset
    s2 = np.clip(s2, 1, None).astype("uint16")[None]
    return patches(names=[name], s2=s2, s1=read(radar)[None].astype("float32"), target=s2)


def unseen() -> tuple[xr.Dataset, xr.Dataset, xr.DataArray]:
    """Cloudy patches of unseen regions, their truth, and the mask of eq. 13-16."""
    public = xcf.datasets.sen12mscr(DATA / "sen12mscr", seasons=["fall"], rois=[139])
    labelled = [
        triplets(ids).assign_coords(patch=[f"{g} {i}" for i in ids]) for g, ids in UNSEEN.items()
    ]
    public = public.drop_vars(["season", "roi", "number"]).assign_coords(patch=["p839"])
    both = xr.concat([*labelled, public.compute()], "patch", combine_attrs="override")
    scene = both.drop_vars("target")
    return scene, both[["target"]].rename(target="s2"), scene.cloudfree.mask()


def estimates(scene: xr.Dataset, mask: xr.DataArray) -> dict[str, xr.Dataset]:
    """Every row of the table as a reconstruction that keeps clear pixels."""
    train = [
        TrainingImage(target / 1e4, sar, group)
        for group, ds in zip([*REGIONS, *CLEAR], training_data(), strict=True)
        for target, sar in zip(ds.target.values.astype("float32"), ds.s1.values, strict=True)
    ]
    constant, ridge = fit_constant(train), fit_ridge(train)
    by_region = [
        np.mean([t.optical.mean((1, 2)) for t in train if t.group == g], 0)
        for g in dict.fromkeys(t.group for t in train)
    ]
    regions = np.mean(by_region, 0)
    rows = {
        "constant: mean of training patches": one_spectrum(constant),
        "constant: mean of training regions": one_spectrum(regions),
        "clear neighbours (inverse distance)": neighbours(constant),
        "ridge regression on SAR": lambda x, r, m: np.where(m, ridge.predict(r), x),
    }
    out = {
        name: filled(scene, lambda x, r, m, predict=predict: predict(x, r, m), mask)
        for name, predict in rows.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out[f"{NAME}, not feathered"] = filled(scene, network(NAME), mask)
        if WITHOUT.exists():
            plain = scene.cloudfree.reconstruct(model=WITHOUT, mask=mask)
            out["the same fitted without SAR"] = plain.drop_vars("provenance")
        out[NAME] = scene.cloudfree.reconstruct(model=NAME, mask=mask)
    return out


def network(name: str):
    """Prediction of the network under the mask, joined hard."""
    import torch

    model = xcf.models.load(name)

    def predict(x, r, m):
        optical, sar = model.normalise(x[None], r[None])
        hidden = torch.from_numpy(m[None, None].astype("float32"))
        with torch.inference_mode():
            guess = model.denormalise(model.network(optical, sar, mask=hidden))[0]
        return np.where(m, guess, x)

    return predict


def one_spectrum(spectrum):
    """One spectrum under the mask."""
    return lambda x, r, m: np.where(m, spectrum[:, None, None], x)


def neighbours(spectrum):
    """Inverse-distance mean of clear pixels, or a spectrum where there is none."""

    def predict(x, r, m):
        clear = ~m & ~np.isnan(x).any(0)
        if not clear.any():
            return one_spectrum(spectrum)(x, r, m)
        return inverse_distance_weighting(x, clear, radius=np.inf, nearest=np.inf)

    return predict


def filled(scene: xr.Dataset, predict, mask: xr.DataArray) -> xr.Dataset:
    """A row's estimate, patch by patch, as reflectance."""
    s2 = scene.s2.astype("float32") * 1e-4
    values = [
        predict(x, r, m) for x, r, m in zip(s2.values, scene.s1.values, mask.values, strict=True)
    ]
    out = s2.copy(data=np.stack(values).astype("float32"))
    out.attrs = {"units": "1", "processing_level": "TOA"}
    return xr.Dataset({"s2": out})


def figures(result: xr.Dataset) -> dict[str, float]:
    """Means over the patches for the specification of the weights."""
    own = result.sel(estimate="prediction", pixels="cloudy").mean("patch")
    return {f"cloudy pixels, unseen patches: {m}": round(float(own[m]), 4) for m in ("psnr", "mae")}


def tables(result: xr.Dataset) -> str:
    """PSNR of each patch, and the mean of every metric, as Markdown."""
    names = {"prediction": NAME}
    rows = [str(names.get(e, e)) for e in result.estimate.values]
    labels = [str(p) for p in result.patch.values]
    share = result["count"].sel(pixels="cloudy") / result["count"].sel(pixels="all")
    share = share.isel(estimate=-1).values
    head = [f"{p} ({100 * s:.0f} % cloud)" for p, s in zip(labels, share, strict=True)]
    lines = [
        "PSNR in dB, whole image / cloudy pixels (mask of eq. 13-16), clear pixels as observed:",
        "",
        "| | " + " | ".join([*head, "mean"]) + " |",
        "|---" * (len(head) + 2) + "|",
    ]
    for i, row in enumerate(rows):
        whole, cloudy = (result.psnr.isel(estimate=i).sel(pixels=p) for p in ("all", "cloudy"))
        cells = [f"{a:.2f} / {b:.2f}" for a, b in zip(whole.values, cloudy.values, strict=True)]
        cells.append(f"{float(whole.mean()):.2f} / {float(cloudy.mean()):.2f}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Mean over the patches, cloudy pixels:",
        "",
        "| | PSNR dB | SSIM | MAE | RMSE | SAM deg |",
        "|---|---|---|---|---|---|",
    ]
    cloudy = result.sel(pixels="cloudy").mean("patch")
    for i, row in enumerate(rows):
        one = cloudy.isel(estimate=i)
        lines.append(
            f"| {row} | {float(one.psnr):.2f} | {float(one.ssim):.3f} | {float(one.mae):.4f} "
            f"| {float(one.rmse):.4f} | {float(one.sam):.2f} |"
        )
    return "\n".join(lines)


def patches(names: list[str], s2, s1, target, bands=S2_BANDS, level="TOA") -> xr.Dataset:
    """Arrays as the dataset reader gives them."""
    attrs = {"units": "1", "scale_factor": 1e-4, "add_offset": 0.0, "nodata": 0}
    attrs["processing_level"] = level
    dims = ("patch", "band", "y", "x")
    return xr.Dataset(
        {
            "s2": (dims, s2, attrs),
            "s1": (("patch", "polarisation", "y", "x"), s1, {"units": "dB"}),
            "target": (dims, target, attrs),
        },
        coords={"patch": names, "band": list(bands), "polarisation": ["VV", "VH"]},
    )


def read(path: Path) -> np.ndarray:
    """All bands of a file."""
    with rasterio.open(path) as file:
        return file.read()


if __name__ == "__main__":
    main()
