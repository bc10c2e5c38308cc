"""Classical methods: names and options."""

SETUP = """
methods = xcf.methods
"""

ROWS = [
    "methods.get('median-30d', window=10)",
    "methods.get('idw', widow=3)",
    "ds = xr.concat([ds, ds], 'time').sortby('time')\n"
    "ds.cloudfree.reconstruct(model='whittaker', mask=ds.B03 > 0.2)",
]
