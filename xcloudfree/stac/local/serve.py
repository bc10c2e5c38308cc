"""A catalog on your own machine: COGs over HTTP with range requests, and a STAC API.

It lets you try and test everything offline, over the same protocols as a real catalog.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import ProxyHandler, build_opener

from xcloudfree.exceptions import CatalogError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True)
class Request:
    """One request that the file server answered."""

    method: str
    path: str
    range: str | None
    status: int
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class FileHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of one folder, whole or by range."""

    protocol_version = "HTTP/1.1"
    root: ClassVar[Path]
    requests: ClassVar[list[Request]]

    def do_GET(self) -> None:
        """Answer with the content."""
        self.answer(body=True)

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self.answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet; the log is a list."""

    @property
    def asked(self) -> str:
        """Requested path, without the query."""
        return unquote(urlsplit(self.path).path)

    def answer(self, *, body: bool) -> None:
        """Answer one request."""
        file = (self.root / self.asked.lstrip("/")).resolve()
        if not file.is_relative_to(self.root) or not file.is_file():
            self.reply(404)
            return
        size = file.stat().st_size
        first, last, status = 0, size - 1, 200
        match = _RANGE.match(self.headers.get("Range") or "")
        if match and any(match.groups()):
            start, stop = match.groups()
            if start:
                first, last = int(start), min(int(stop or last), size - 1)
            else:
                first = max(size - int(stop), 0)
            status = 206 if first <= last else 416
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if status == 416:
            self.reply(416, headers=headers | {"Content-Range": f"bytes */{size}"})
            return
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        length = last - first + 1
        self.reply(status, self.part(file, first, length) if body else b"", headers, length)

    def part(self, file: Path, first: int, length: int) -> bytes:
        """Part of a file, from one byte on."""
        with file.open("rb") as source:
            source.seek(first)
            return source.read(length)

    def reply(
        self,
        status: int,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        length: int = 0,
    ) -> None:
        """Send one answer and log it."""
        query = urlsplit(self.path).query
        wanted = self.headers.get("Range")
        own = {key.lower(): value for key, value in self.headers.items()}
        self.requests.append(Request(self.command, self.asked, wanted, status, query, own))
        try:
            self.send_response(status)
            for key, value in {**(headers or {}), "Content-Length": str(length)}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the client has gone
            self.close_connection = True


@contextmanager
def serve_files(
    folder: str | Path, handler: type[FileHandler] = FileHandler, **attributes: Any
) -> Iterator[tuple[str, list[Request]]]:
    """Serve the files of a folder."""
    requests: list[Request] = []
    own = {"root": Path(folder).resolve(), "requests": requests, **attributes}
    kind = type("Handler", (handler,), own)
    with _without_proxy(), ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()


def _without_proxy() -> AbstractContextManager[Any]:
    """Keep requests to the loopback away from any proxy of this process."""
    before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = ",".join([*filter(None, before.split(",")), "127.0.0.1", "localhost"])
    return patch.dict(os.environ, no_proxy=hosts, NO_PROXY=hosts)


@dataclass
class LocalCatalog:
    """A catalog that is being served."""

    url: str  # of the STAC API
    files_url: str
    requests: list[Request] = field(default_factory=list)  # for files, so far
    faults: dict[str, int] = field(default_factory=dict)  # status by end of path, {"B04.tif": 503}


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
    """Serve the output of :func:`publish`: the files, and a STAC API, on the loopback only.

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
        The folder contains no items, or the STAC server does not start.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = xcf.stac.publish(scene, folder)
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
            f"No items in {folder}", fix=f"publish some first: publish(ds, {str(folder)!r})"
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
            "The local STAC API needs the program rustac",
            fix="install it with pip install 'xcloudfree[demo]'",
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
        f"rustac did not start: {log.read_text(errors='replace')[-500:].strip()}",
        fix="install it again: pip install --force-reinstall 'xcloudfree[demo]'",
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
