"""Simulated scenes, clouds laid over real ones, SEN12MS-CR."""

SETUP = """
import pathlib
from tests.builders import write_patch
datasets, sen12mscr = xcf.datasets, xcf.datasets.sen12mscr
root = pathlib.Path("root")
if not root.exists():
    for kind in ("s1", "s2", "s2_cloudy"):
        write_patch(root, kind, "spring", 1, 30, 5)
    write_patch(root, "s2_cloudy", "summer", 2, 31, 5)
"""

ROWS = [
    "xcf.datasets.simulate_scene(64)",
    "xcf.datasets.simulate_scene((8, 8), level='L2A')",
    "xcf.datasets.simulate_scene((8, 8), sun=(150, 120))",
    "xcf.datasets.simulate_scene((8, 8), seed='one')",
    "xcf.datasets.simulate_scene((8, 8), cover=3)",
    "xcf.datasets.simulate_scene((8, 8), dates=0)",
    "xcf.datasets.simulate_scene((8, 8), dates='soon')",
    "xcf.datasets.simulate_scene((8, 8), crs='EPSG:4326')",
    "xcf.datasets.simulate_scene((8, 8), crs='EPSG:99999999')",
    "datasets.simulate_clouds(ds, cover=3)",
    "datasets.simulate_clouds(ds, kind='fog')",
    "sen12mscr(root, incomplete='ignore')",
    "sen12mscr(root, seasons=['autumn'])",
    "sen12mscr(root, seasons=['summer'])",
]
