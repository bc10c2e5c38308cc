"""A small STAC API over HTTP that takes property filters as told: well, not at all, or wrongly."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CORE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/collections",
]
QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"
FILTER = [
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
]


class Api:
    """What it serves, how it behaves, and what it was asked.

    ``filters``: "honour", "ignore" (all items, whatever was asked), "empty" (none), "refuse" (400).
    """

    def __init__(self, items, conforms=(), filters="honour", page=3):
        self.items, self.conforms, self.filters, self.page = (
            items,
            [*CORE, *conforms],
            filters,
            page,
        )
        self.asked = []
        self.url = ""

    def landing(self):
        link = {"type": "application/json"}
        return {
            "type": "Catalog",
            "id": "test",
            "stac_version": "1.0.0",
            "description": "test",
            "conformsTo": self.conforms,
            "links": [
                link | {"rel": "self", "href": self.url},
                link | {"rel": "root", "href": self.url},
                link | {"rel": "data", "href": f"{self.url}/collections"},
                link | {"rel": "search", "href": f"{self.url}/search", "method": "GET"},
                link | {"rel": "search", "href": f"{self.url}/search", "method": "POST"},
            ],
        }

    def collections(self):
        names = sorted({item["collection"] for item in self.items})
        extent = {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2014-01-01T00:00:00Z", None]]},
        }
        kind = {"type": "Collection", "stac_version": "1.0.0", "description": "x", "license": "x"}
        made = [kind | {"id": name, "extent": extent, "links": []} for name in names]
        return {"collections": made, "links": [{"rel": "self", "href": f"{self.url}/collections"}]}

    def search(self, body):
        self.asked.append(body)
        filtered = "query" in body or "filter" in body
        if filtered and self.filters == "refuse":
            return 400, {"code": "BadRequest", "description": "no filters here"}
        names = body.get("collections")
        found = [i for i in self.items if names is None or i["collection"] in names]
        if filtered and self.filters == "empty":
            found = []
        if filtered and self.filters == "honour":
            found = [item for item in found if self.meets(item["properties"], body)]
        start = int(body.get("token", 0))
        shown = found[start : start + self.page]
        links = []
        if start + self.page < len(found):
            follow = body | {"token": start + self.page}
            links = [
                {"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": follow}
            ]
        return 200, {"type": "FeatureCollection", "features": shown, "links": links}

    @staticmethod
    def meets(properties, body):
        """Only what the tests ask: cloud cover below a number."""
        if "query" in body:
            return properties.get("eo:cloud_cover", 1e9) < body["query"]["eo:cloud_cover"]["lt"]
        assert body["filter-lang"] == "cql2-json"
        assert body["filter"]["op"] == "<"
        return properties.get("eo:cloud_cover", 1e9) < body["filter"]["args"][1]


@contextmanager
def serve_api(api, monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status, content):
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            parts = urlsplit(self.path)
            if parts.path in ("", "/"):
                self.answer(200, api.landing())
            elif parts.path == "/collections":
                self.answer(200, api.collections())
            else:
                self.answer(*api.search({k: v[0] for k, v in parse_qs(parts.query).items()}))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*api.search(body))

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield api
        finally:
            server.shutdown()
