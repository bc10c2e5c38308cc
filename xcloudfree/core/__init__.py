"""Shared foundations: bands, scenes, grids, units, blocks and windows."""
