"""A small world for fitting: fields whose reflectance follows from backscatter, half hidden."""

import numpy as np
import xarray as xr

from xcloudfree.core.bands import S2_BANDS

QUICK = {"steps": 3, "batch": 2, "crop": 32, "progress": False}


def fields(count=3, seed=0):
    """Patches of 48 px with a bright cloud over columns 20 and up."""
    rng = np.random.default_rng(seed)
    field = np.kron(rng.integers(0, 2, (count, 6, 6)), np.ones((8, 8)))
    truth = np.repeat((0.04 + 0.08 * field)[:, None], 13, 1).astype("float32")
    truth[:, 10] = 0.002
    radar = np.stack([-18 + 10 * field, -25 + 10 * field], 1).astype("float32")
    cloudy = truth.copy()
    cloudy[..., :, 20:] = 0.7
    cloudy[:, 10, :, 20:], cloudy[:, 11, :, 20:] = 0.1, 0.4
    attrs = {"units": "1", "processing_level": "TOA"}
    dims = ("patch", "band", "y", "x")
    return xr.Dataset(
        {
            "s2": (dims, cloudy, attrs),
            "s1": (
                ("patch", "polarisation", "y", "x"),
                radar,
                {"units": "dB", "quantity": "gamma0"},
            ),
            "target": (dims, truth, attrs),
        },
        coords={"band": list(S2_BANDS), "polarisation": ["VV", "VH"]},
    )


def series(dates=6, seed=0):
    """One field through time; a cloud covers the right half on every other date."""
    one = fields(1, seed).isel(patch=0)
    truth, cloudy = one.target, one.s2
    images = [cloudy if i % 2 else truth + 0.002 * i for i in range(dates)]
    days = np.datetime64("2024-06-01", "ns") + 5 * np.arange(dates) * np.timedelta64(1, "D")
    coords = {"time": days, "y": 10.0 * np.arange(48)[::-1], "x": 10.0 * np.arange(48)}
    s2 = xr.concat(images, "time").transpose("time", "band", "y", "x")
    s1 = xr.concat([one.s1] * dates, "time")
    out = xr.Dataset({"s2": s2.astype("float32"), "s1": s1}).assign_coords(coords)
    out.s2.attrs, out.s1.attrs = one.s2.attrs, one.s1.attrs
    return out
