"""Public datasets in their own layouts, and simulated scenes for trials."""

from xcloudfree.datasets.overlay import simulate_clouds
from xcloudfree.datasets.sen12mscr import sen12mscr
from xcloudfree.datasets.simulate import simulate_layers, simulate_scene, simulate_truth

__all__ = ["sen12mscr", "simulate_clouds", "simulate_layers", "simulate_scene", "simulate_truth"]
