"""A Hugging Face Hub on this machine: repositories, commits of small files, downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class FakeHub:
    """What the Hub holds and what it was asked.

    Parameters
    ----------
    token : str
        The only token with which it may be written.
    """

    token: str
    endpoint: str = ""
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def tag(self, repository: str, name: str) -> None:
        """Keep what is on main now as a revision of its own."""
        self.revisions[f"{repository}@{name}"] = dict(self.revisions[f"{repository}@main"])


@contextmanager
def serving(token: str) -> Iterator[FakeHub]:
    """Run the Hub on a free port of the loopback interface."""
    hub = FakeHub(token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def json(self, value: object, status: int = 200) -> None:
            self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.requests.append(("POST", self.path))
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                said = f"{self.headers.get('Authorization')} is wrong"  # as a careless server would
                return self.answer(401, b"", X_Error_Message=said)
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts == ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked.get('organization') or 'me'}/{asked['name']}"
                hub.private[name] = asked.get("visibility") == "private" or bool(
                    asked.get("private")
                )
                hub.revisions.setdefault(f"{name}@main", {})
                return self.json({"url": f"{hub.endpoint}/{name}", "id": name})
            if parts[-2:-1] == ["preupload"]:
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                return self.json({"files": files})
            if parts[-2:-1] == ["commit"]:
                stored = hub.revisions[f"{parts[2]}/{parts[3]}@{unquote(parts[-1])}"]
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        stored[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                return self.json(
                    {
                        "commitUrl": f"{hub.endpoint}/{parts[2]}/{parts[3]}/commit/{'1' * 40}",
                        "commitOid": "1" * 40,
                        "success": True,
                    }
                )
            return self.json({})

        def do_GET(self) -> None:
            hub.requests.append((self.command, self.path))
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"] and parts[4:5] == ["revision"]:
                return self.json({"id": "/".join(parts[2:4]), "xetEnabled": False})
            if parts[2:3] != ["resolve"]:
                return self.answer(404)
            owner, name, _, revision, *path = parts
            files = hub.revisions.get(f"{owner}/{name}@{unquote(revision)}")
            if files is None:
                return self.answer(404, X_Error_Code="RepoNotFound")
            content = files.get("/".join(path))
            if content is None:
                return self.answer(404, X_Error_Code="EntryNotFound")
            digest = hashlib.sha1(content).hexdigest()
            return self.answer(200, content, ETag=f'"{digest}"', X_Repo_Commit=digest)

        do_HEAD = do_GET  # noqa: N815

    return Handler
