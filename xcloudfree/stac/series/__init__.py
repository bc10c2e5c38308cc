"""Items as calibrated series of scenes, each paired with radar."""
