"""A catalog on this machine: COGs over HTTP with range requests, and a STAC API beside them.

With this everything can be tried and tested offline, over the same protocols as the real thing.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import ProxyHandler, build_opener

from xcloudfree.exceptions import CatalogError
from xcloudfree.stac.publish import publish

__all__ = ["LocalCatalog", "Request", "publish", "serve"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True)
class Request:
    """One request that the file server answered."""

    method: str
    path: str
    range: str | None
    status: int


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


class _FileHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    catalog: LocalCatalog

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet; the log is a list."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        wanted = self.headers.get("Range")
        file = (self.root / path.lstrip("/")).resolve()
        fault = next((s for end, s in self.catalog.faults.items() if path.endswith(end)), None)
        if fault is not None or not file.is_relative_to(self.root) or not file.is_file():
            self._reply(fault or 404, path, wanted, b"", {}, 0)
            return
        size = file.stat().st_size
        first, last, status = 0, size - 1, 200
        match = _RANGE.match(wanted or "")
        if match and any(match.groups()):
            start, stop = match.groups()
            if start:
                first, last = int(start), min(int(stop or last), size - 1)
            else:
                first = max(size - int(stop), 0)
            status = 206 if first <= last else 416
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if status == 416:
            self._reply(416, path, wanted, b"", headers | {"Content-Range": f"bytes */{size}"}, 0)
            return
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        length = last - first + 1
        content = b""
        if body:
            with file.open("rb") as source:
                source.seek(first)
                content = source.read(length)
        self._reply(status, path, wanted, content, headers, length)

    def _reply(
        self,
        status: int,
        path: str,
        wanted: str | None,
        content: bytes,
        headers: dict[str, str],
        length: int,
    ) -> None:
        self.catalog.requests.append(Request(self.command, path, wanted, status))
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)


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
        stack.enter_context(_without_proxy())
        catalog = LocalCatalog("", "")
        handler = type("FileHandler", (_FileHandler,), {"root": folder, "catalog": catalog})
        files = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        files.daemon_threads = True
        threading.Thread(target=files.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(files.shutdown)
        catalog.files_url = f"http://127.0.0.1:{files.server_address[1]}"
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
def _without_proxy() -> Iterator[None]:
    """Keep requests to the loopback away from any proxy of this process."""
    before = {key: os.environ.get(key) for key in ("no_proxy", "NO_PROXY")}
    hosts = [h for h in (before["no_proxy"] or before["NO_PROXY"] or "").split(",") if h]
    os.environ.update(dict.fromkeys(before, ",".join([*hosts, "127.0.0.1", "localhost"])))
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextmanager
def _api(program: str, files: list[Path], scratch: Path, attempts: int = 3) -> Iterator[str]:
    log = scratch / "rustac.log"
    for _ in range(attempts):
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


def _answers(url: str, process: subprocess.Popen[bytes], seconds: float = 20) -> bool:
    opener = build_opener(ProxyHandler({}))
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            time.sleep(0.05)
    return False
