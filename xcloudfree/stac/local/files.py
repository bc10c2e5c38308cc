"""A folder over HTTP with range requests, on the loopback only: how COGs are read from afar."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

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
    """Answers GET and HEAD for the files of one folder, whole or by range.

    :func:`serve_files` makes a subclass with the attributes below. Override :meth:`answer` to
    answer otherwise.
    """

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
        """Path that is asked for, without the query."""
        return unquote(urlsplit(self.path).path)

    def answer(self, *, body: bool) -> None:
        """Answer one request.

        Parameters
        ----------
        body : bool
            Whether the content is wanted too.
        """
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
        """Send one answer and note it.

        Parameters
        ----------
        status : int
            Status.
        content : bytes
            Content.
        headers : mapping, optional
            Headers besides the length.
        length : int
            Length that is announced.
        """
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
    folder: str | Path,
    handler: type[FileHandler] = FileHandler,
    **attributes: Any,
) -> Iterator[tuple[str, list[Request]]]:
    """Serve the files of a folder.

    Parameters
    ----------
    folder : path-like
        Folder.
    handler : type
        :class:`FileHandler`, or what it is derived from.
    **attributes
        Attributes of the handler.

    Yields
    ------
    tuple of (str, list of Request)
        Address of the folder, and every request so far.
    """
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
