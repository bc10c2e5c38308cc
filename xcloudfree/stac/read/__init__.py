"""Pixels of assets, read inside the task, and what failed."""
