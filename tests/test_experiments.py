"""The experiments' file, and the tables that are made of stored rows."""

import json
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def experiments(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import experiments as module

    yield module
    del sys.modules["experiments"]


def test_every_fit_of_the_file_can_be_built(experiments):
    import xcloudfree as xcf
    from xcloudfree.train.objective import choose_loss

    file = EXAMPLES / "experiments.yaml"
    fits = [t for t in experiments.tasks(file) if "fit" in t]
    for task in {json.dumps([t["model"], t["options"], t["fit"]]): t for t in fits}.values():
        model = xcf.models.create(task["model"], **task["options"])
        choose_loss(task["fit"].get("loss"), model.spec, task["fit"]["crop"])
    listed = yaml.safe_load(file.read_text())["experiments"]
    assert all(len(e["seeds"]) >= 3 for n, e in listed.items() if n != "systems")


def test_seeds_are_compared_pairwise_and_what_is_missing_is_said(experiments, tmp_path):
    file = tmp_path / "few.yaml"
    file.write_text(
        "common: {steps: 1}\n"
        "experiments: {weights: {title: T, note: '', hold_out: [[D]], seeds: [0, 1, 2], runs: {\n"
        "  high: {model: carf-tiny}, low: {model: carf-tiny, fit: {alpha: 0.5}}}}}\n"
    )
    for task in experiments.tasks(file):
        low, seed = "alpha" in task["fit"], task["seed"]
        if low and seed == 2:
            continue
        values = {"psnr": 20.0 + seed - 0.5 * low, "mae": 0.1, "sam": 5.0, "cloud": 0.4}
        row = {"task": task, "patches": {"D 1": values}, "cpu_seconds": 1.0}
        experiments.place(tmp_path, task).write_text(json.dumps(row))
    (section,) = (
        experiments.section(n, e, file, tmp_path)
        for n, e in yaml.safe_load(file.read_text())["experiments"].items()
    )
    assert "1 fits are not done yet" in section
    assert "| high | 3 | 21.00 ± 1.00 |" in section
    assert "| low | 2 | 20.00 ± 0.71 | 0.1000 ± 0.0000 | 5.00 ± 0.00 | -0.50, -0.50 |" in section
