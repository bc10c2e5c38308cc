"""What every room needs: bands, scenes, grids, units, blocks and windows."""
