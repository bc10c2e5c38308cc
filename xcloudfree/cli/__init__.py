"""The command line: each command reads its options and makes one call."""

# importing them registers their commands
from xcloudfree.cli import judging, models, products, scenes
from xcloudfree.cli.group import main

__all__ = ["judging", "main", "models", "products", "scenes"]
