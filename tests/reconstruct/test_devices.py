"""What a block costs, and what happens where memory ends."""

import numpy as np
import pytest
import torch

import xcloudfree as xcf
from tests.builders import make_bands, stacked
from xcloudfree.core.devices import resolved
from xcloudfree.core.radiometry import Calibration
from xcloudfree.exceptions import DeviceMemoryError, ModelError
from xcloudfree.models.carf import Carf
from xcloudfree.reconstruct.network import MICRO_BATCH, Network

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")


@pytest.fixture
def pixels(monkeypatch):
    """Pixels that reach the network."""
    read = []
    forward = Carf.forward

    def counted(self, optical, sar, **extra):
        read.append(optical.shape[0] * optical.shape[-2] * optical.shape[-1])
        return forward(self, optical, sar, **extra)

    monkeypatch.setattr(Carf, "forward", counted)
    return read


def one_cloud(side, cloud):
    """A clear scene with one square cloud."""
    ds = make_bands(dates=1, height=side, width=side)
    ground = make_bands(dates=1, height=side, width=side, seed=2)
    clear = [v for v in ds.data_vars if v.startswith("B")]
    for name in clear:
        values = np.full(ds[name].shape, 0.05 if name != "B10" else 0.001, "float32")
        values[:, 40 : 40 + cloud, 40 : 40 + cloud] = {"B10": 0.06, "B11": 0.3}.get(name, 0.6)
        ds[name] = ground[name].copy(data=values)
    return stacked(ds)


def test_a_small_cloud_costs_a_small_part_of_an_overcast_scene(pixels):
    model = xcf.models.load("carf-tiny")
    ds = one_cloud(512, 64)
    share = float(ds.cloudfree.mask().mean())
    assert 0.01 < share < 0.03
    ds.cloudfree.reconstruct(model=model)
    assert 0 < sum(pixels) < 0.2 * 512**2


def test_a_clear_date_decodes_no_window(pixels, monkeypatch):
    ds = one_cloud(128, 1)
    ds["s2"] = ds.s2 * 0 + 0.05
    decoded = []
    decode = Calibration.decode
    monkeypatch.setattr(
        Calibration, "decode", lambda self, x: decoded.append(x.size) or decode(self, x)
    )
    out = ds.cloudfree.reconstruct(model="carf-tiny")
    assert (out.provenance == 1).all()
    assert pixels == []
    assert sum(decoded) < ds.s2.size / 4


def test_what_does_not_fit_is_tried_in_halves(monkeypatch):
    monkeypatch.setitem(MICRO_BATCH, "cpu", 4)
    ds = stacked(make_bands(dates=3))
    expected = ds.cloudfree.reconstruct(model="carf-tiny", blend=None).s2
    forward = Network._forward
    sizes = []

    def limited(self, windows, device):
        sizes.append(len(windows))
        if len(windows) > 1:
            raise DeviceMemoryError("3 images do not fit into the memory of cuda")
        return forward(self, windows, device)

    monkeypatch.setattr(Network, "_forward", limited)
    with pytest.warns(UserWarning, match="going on with 1 at a time"):
        out = ds.chunk(time=3).cloudfree.reconstruct(model="carf-tiny", blend=None).s2.compute()
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert sizes[0] == 3


def test_a_single_image_that_does_not_fit_says_what_helps(monkeypatch):
    def full(self, *args, **extra):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Carf, "forward", full)
    with pytest.raises(DeviceMemoryError, match=r"ds\.chunk\(y=512, x=512\).*device='cpu'"):
        stacked(make_bands()).cloudfree.reconstruct(model="carf-tiny")


def test_the_device_is_chosen_where_the_task_runs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolved("auto") == "cuda"
    assert resolved("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolved("auto") == "cpu"
    with pytest.raises(ModelError, match="device='cpu'"):
        make_bands().cloudfree.reconstruct(device="cuda")


@pytest.mark.parametrize(("device", "expected"), [(None, {"GPU": 1}), ("cpu", {})])
def test_tasks_ask_for_a_gpu_where_the_cluster_declares_them(device, expected):
    from distributed import Client, LocalCluster

    ds = stacked(make_bands()).chunk(y=20, x=20, time=1)
    with (
        LocalCluster(
            n_workers=1, processes=False, resources={"GPU": 1}, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        out = ds.cloudfree.reconstruct(model="carf-tiny", device=device)
        kept = client.persist(out, optimize_graph=False)  # dask's fusing loses annotations
        client.gather(client.compute(kept.provenance.sum()))
        asked = {
            name: dict(task.resource_restrictions or {})
            for name, task in cluster.scheduler.tasks.items()
            if "reconstructblock" in str(name) and len(name) == 4 and name[0].count("-") == 1
        }
    assert len(asked) == 12
    assert all(a == expected for a in asked.values())
