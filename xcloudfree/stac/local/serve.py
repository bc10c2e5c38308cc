"""A catalog on this machine: COGs over HTTP with range requests, and a STAC API beside them.

With this everything can be tried and tested offline, over the same protocols as the real thing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from xcloudfree.exceptions import CatalogError
from xcloudfree.stac.local.files import FileHandler, Request, serve_files
from xcloudfree.stac.local.publish import publish

__all__ = ["LocalCatalog", "Request", "publish", "serve"]


@dataclass
class LocalCatalog:
    """A catalog that is being served.

    Attributes
    ----------
    url : str
        Address of the STAC API.
    files_url : str
        Address of the folder.
    requests : list of Request
        Every request for a file so far.
    faults : dict
        Status to answer for files whose path ends with the key, ``{"B04.tif": 503}``.
    """

    url: str
    files_url: str
    requests: list[Request] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)


class _FileHandler(FileHandler):
    catalog: ClassVar[LocalCatalog]

    def answer(self, *, body: bool) -> None:
        faults = self.catalog.faults.items()
        fault = next((status for end, status in faults if self.asked.endswith(end)), None)
        if fault is None:
            super().answer(body=body)
        else:
            self.reply(fault)


@contextmanager
def serve(folder: str | Path) -> Iterator[LocalCatalog]:
    """Serve what :func:`publish` wrote: the files, and a STAC API over them, on the loopback only.

    Parameters
    ----------
    folder : path-like
        Folder with COGs, ``collections/*.json`` and ``items/*.json``.

    Yields
    ------
    LocalCatalog

    Raises
    ------
    CatalogError
        The folder holds no items, or the STAC server does not start.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = publish(scene, folder)
    ...     with serve(folder) as catalog:
    ...         ds = xcf.stac.load(catalog.url, like=scene).compute()
    >>> bool(abs(ds.B04 - scene.B04.values).max() < 1e-4)
    True
    """
    folder = Path(folder).resolve()
    collections = sorted((folder / "collections").glob("*.json"))
    features = [json.loads(p.read_text("utf-8")) for p in sorted((folder / "items").glob("*.json"))]
    if not features:
        raise CatalogError(
            f"No items in {folder}. Publish some first: publish(ds, {str(folder)!r})."
        )
    program = _rustac()
    with ExitStack() as stack:
        catalog = LocalCatalog("", "")
        catalog.files_url, catalog.requests = stack.enter_context(
            serve_files(folder, _FileHandler, catalog=catalog)
        )
        for feature in features:
            for asset in feature["assets"].values():
                if asset["href"].startswith("./"):
                    asset["href"] = catalog.files_url + asset["href"].removeprefix(".")
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listing = scratch / "items.json"
        listing.write_text(
            json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
        )
        catalog.url = stack.enter_context(_api(program, [*collections, listing], scratch))
        yield catalog


def _rustac() -> str:
    name = "rustac.exe" if os.name == "nt" else "rustac"
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which("rustac")
    if found is None:
        raise CatalogError(
            "The local STAC API needs the program rustac: pip install 'xcloudfree[demo]'."
        )
    return found


@contextmanager
def _api(program: str, files: list[Path], scratch: Path) -> Iterator[str]:
    log = scratch / "rustac.log"
    for _ in range(3):  # another process may take the port first
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [program, "serve", "-a", address, *map(str, files)], stdout=sink, stderr=sink
            )
        try:
            if _answers(f"http://{address}/", process):
                yield f"http://{address}"
                return
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    raise CatalogError(
        f"rustac did not start: {log.read_text(errors='replace')[-500:].strip()}. "
        "Install it anew: pip install --force-reinstall 'xcloudfree[demo]'."
    )


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    opener = build_opener(ProxyHandler({}))
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            time.sleep(0.05)
    return False
