"""A fit that was killed goes on to the same weights; checkpoints know what they belong to."""

import csv
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

import xcloudfree as xcf
from tests.builders import QUICK, fields
from xcloudfree.exceptions import CloudFreeError, DataError, WeightsError
from xcloudfree.train import Recipe
from xcloudfree.train.samples import PatchSamples

FEW = QUICK | {"steps": 6, "recipe": Recipe(every=2)}

NETWORKS = {
    "carf-tiny": {},
    "uncrtaints": {"width": 16, "decoder_blocks": 1},
    "simulation-fusion-gan-resnet": {"features": 8, "blocks": 1},
    "diffusion-tiny": {"features": 8, "blocks": 1},
}
"""One of each kind of fitting: plain, with variance, against an opponent with dropout, bridge."""


class Killed(Exception):  # noqa: N818
    """Stands for a kill: nothing of the loop runs after it."""


def killed_at(monkeypatch, step):
    """Samples of this step are the last thing that is asked for."""
    original, calls = PatchSamples.draw, []

    def draw(self, rng, size):
        calls.append(size)
        if len(calls) > step:
            raise Killed
        return original(self, rng, size)

    monkeypatch.setattr(PatchSamples, "draw", draw)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_killed_and_resumed_equals_undisturbed(tmp_path, monkeypatch, name):
    patches, model = fields(), xcf.models.create(name, **NETWORKS[name])
    whole = xcf.fit(patches, model, **FEW)
    with monkeypatch.context() as patch:
        killed_at(patch, 6)  # one draw is for the identity, so about the fifth step
        with pytest.raises(Killed):
            xcf.fit(patches, model, checkpoints=tmp_path / "kept", **FEW)
    assert (tmp_path / "kept").is_dir()
    resumed = xcf.fit(patches, model, checkpoints=tmp_path / "kept", **FEW)
    assert resumed.digest == whole.digest


def test_a_finished_fit_returns_its_weights_at_once(tmp_path, monkeypatch):
    patches = fields()
    first = xcf.fit(patches, "carf-tiny", checkpoints=tmp_path, **FEW)
    killed_at(monkeypatch, 1)
    assert xcf.fit(patches, "carf-tiny", checkpoints=tmp_path, **FEW).digest == first.digest


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    patches = fields()
    xcf.fit(patches, "carf-tiny", checkpoints=tmp_path, **QUICK)
    with pytest.raises(DataError, match=r"differs in model \(.*another folder"):
        xcf.fit(patches, "carf-small-f4", checkpoints=tmp_path, **QUICK)
    with pytest.raises(DataError, match=r"differs in data \("):
        xcf.fit(fields(seed=5), "carf-tiny", checkpoints=tmp_path, **QUICK)
    with pytest.raises(DataError, match=r"learning_rate \(0.0002 there, 0.001 here\)"):
        xcf.fit(patches, "carf-tiny", checkpoints=tmp_path, learning_rate=1e-3, **QUICK)
    threads = xcf.fit(patches, "carf-tiny", checkpoints=tmp_path, recipe=Recipe(threads=3), **QUICK)
    assert threads.spec.trained


def test_a_damaged_checkpoint_is_refused(tmp_path):
    xcf.fit(fields(), "carf-tiny", checkpoints=tmp_path, **QUICK)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="no readable checkpoint"):
        xcf.fit(fields(), "carf-tiny", checkpoints=tmp_path, **QUICK)


def test_threads_do_not_change_what_is_drawn():
    one, many = (
        xcf.fit(fields(), "carf-tiny", recipe=Recipe(threads=n), **QUICK).digest for n in (0, 3)
    )
    assert one == many


def test_layers_that_draw_follow_the_seed():
    """Dropout and the states of the bridge, whatever was drawn before."""
    import torch

    model = xcf.models.create("diffusion-tiny", features=8, blocks=1)
    torch.manual_seed(1)
    one = xcf.fit(fields(), model, **QUICK)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert xcf.fit(fields(), model, **QUICK).digest == one.digest
    assert (torch.get_rng_state() == state).all()
    assert xcf.fit(fields(), model, seed=3, **QUICK).digest != one.digest


def test_the_journal_survives_a_kill(tmp_path, monkeypatch):
    patches, folder = fields(), tmp_path / "log"
    with monkeypatch.context() as patch:
        killed_at(patch, 6)
        with pytest.raises(Killed):
            xcf.fit(patches, "carf-tiny", checkpoints=tmp_path / "kept", log=folder, **FEW)
    xcf.fit(patches, "carf-tiny", checkpoints=tmp_path / "kept", log=folder, **FEW)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(6))
    assert all(float(row["loss"]) > 0 for row in rows)
    assert list(folder.glob("events.out.tfevents.*"))
    pictures = sorted(folder.glob("samples-*.png"))
    assert [p.name for p in pictures] == [f"samples-{n:06d}.png" for n in (1, 3, 5)]
    with rasterio.open(pictures[0]) as picture:
        assert picture.shape == (2 * 32, 3 * 32)
        cloudy, _, target = np.split(picture.read(1), 3, axis=1)
        assert cloudy.max() == 255
        assert target.max() == int(255 * 0.12 / 0.3)


def test_lightning_is_named_where_it_is_missing_and_imported_by_nothing_else(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("xcloudfree.train.loop")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("xcloudfree.train.loop", raising=False)
    for name in [n for n in sys.modules if n.partition(".")[0] == "lightning"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(CloudFreeError, match=r"pip install 'xcloudfree\[train\]'"):
        xcf.fit(fields(), "carf-tiny", **QUICK)
    code = "import sys, xcloudfree.train; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SEVERAL = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import xcloudfree as xcf
from tests.builders import fields
from xcloudfree.train import Recipe
if __name__ == "__main__":
    model = xcf.fit(
        fields(), "carf-tiny", steps=2, batch=2, crop=32, device="cpu",
        recipe=Recipe(devices={devices}), progress=False,
    )
    Path({folder!r}, "rank" + os.environ.get("LOCAL_RANK", "0")).write_text(model.digest)
    while len(list(Path({folder!r}).iterdir())) < {devices}:
        time.sleep(0.1)
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(tmp_path):
    found = []
    for devices in (2, 1):
        script, folder = tmp_path / f"several{devices}.py", tmp_path / str(devices)
        folder.mkdir()
        here = str(Path(__file__).parents[2])
        script.write_text(SEVERAL.format(here=here, devices=devices, folder=str(folder)))
        subprocess.run([sys.executable, str(script)], check=True, timeout=600)
        digests = [p.read_text() for p in sorted(folder.iterdir())]
        assert len(digests) == devices
        found.append(set(digests))
    assert len(found[0]) == 1
    assert found[0] != found[1]  # each process draws its own samples


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import xcloudfree as xcf
from tests.builders import fields
from xcloudfree.train import Recipe
model = xcf.fit(
    fields(), "carf-small", steps={steps}, batch=2, crop=32, checkpoints={folder!r},
    recipe=Recipe(every=10), progress=False, seed=4,
)
print(model.digest)
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [200])
def test_carf_small_killed_by_the_system_and_resumed(tmp_path, steps):
    """Killed wherever it is, then equal to the undisturbed one; and so is a second run."""
    here = str(Path(__file__).parents[2])

    def command(folder):
        code = textwrap.dedent(SCRIPT).format(here=here, steps=steps, folder=str(tmp_path / folder))
        return [sys.executable, "-c", code]

    def digest(folder):
        done = subprocess.run(command(folder), capture_output=True, text=True, check=True)
        return done.stdout.split()[-1]

    whole = digest("whole")
    process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL)
    file = tmp_path / "killed/checkpoint.safetensors"
    while step_of(file) < steps // 2:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert steps // 2 <= step_of(file) < steps
    assert digest("killed") == whole
    assert digest("again") == whole


def step_of(file):
    from safetensors import safe_open

    if not file.is_file():
        return 0
    with safe_open(file, framework="np") as opened:
        return json.loads(opened.metadata()["fit"])["step"]
