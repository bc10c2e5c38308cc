"""What a release consists of says the same in every file."""

import re
import tomllib
from pathlib import Path

import pytest

import xcloudfree as xcf

ROOT = Path(__file__).parent.parent
yaml = pytest.importorskip("yaml")


def test_version_and_dependencies_are_those_of_the_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = yaml.safe_load((ROOT / ".github/conda/recipe.yaml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert recipe["context"]["version"] == citation["version"] == xcf.__version__
    wanted = {
        re.sub(r"\[.*?\]", "", name).replace("torch", "pytorch").replace(">=", " >=")
        for name in project["dependencies"]
    }
    assert wanted == {name for name in recipe["requirements"]["run"] if "python >" not in name}


def test_settings_of_the_services_can_be_read():
    files = [*ROOT.glob(".*.yaml"), *ROOT.glob(".github/**/*.y*ml")]
    assert len(files) > 7
    for file in files:
        assert yaml.safe_load(file.read_text())
