"""The command line: each command reads its options and makes one call."""

from xcloudfree.cli import (
    judging,
    models,
    products,
    remake,
    scenes,
)  # importing them registers their commands
from xcloudfree.cli.group import main

__all__ = ["judging", "main", "models", "products", "remake", "scenes"]
