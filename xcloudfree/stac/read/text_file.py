"""Reading a text file wherever rasters are read from: on disk, over HTTP, in object storage."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

import rasterio
from rasterio.errors import RasterioIOError

from xcloudfree.stac.read.signing import without_secrets

_BLOCK: Final = 1 << 16
_RAW_BAND: Final = (
    '<VRTDataset rasterXSize="{size}" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1" '
    'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">{path}</SourceFilename>'
    "<ImageOffset>{start}</ImageOffset><PixelOffset>1</PixelOffset>"
    "<LineOffset>{size}</LineOffset></VRTRasterBand></VRTDataset>"
)
_PREFIXES: Final = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiadls/"}


def read_text(address: str) -> bytes:
    """A text file, over the same paths and with the same credentials as rasters.

    Parameters
    ----------
    address : str
        Path, ``https://`` or ``s3://`` address, signed.

    Returns
    -------
    bytes

    Raises
    ------
    RasterioIOError
        It cannot be read.
    """
    scheme, separator, rest = address.partition("://")
    if scheme == "file":
        address = re.sub(r"^/(?=[A-Za-z]:)", "", rest)  # of Windows: file:///C:/...
    elif separator:
        address = _PREFIXES[scheme] + rest if scheme in _PREFIXES else f"/vsicurl/{address}"
    out, size = b"", _BLOCK
    with rasterio.Env(GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE="ALL"):
        while size:  # GDAL reads any file as a band of bytes, with zeros a little beyond its end
            band = _RAW_BAND.format(size=size, start=len(out), path=escape(address))
            try:
                with rasterio.open(band, driver="VRT", sharing=False) as source:
                    text = bytes(source.read(1).tobytes()).rstrip(b"\0")
            except RasterioIOError as error:
                if "too small" not in str(error):
                    raise RasterioIOError(without_secrets(error)) from None
                size //= 2
                continue
            out += text
            if len(text) < size:
                break
    return out
