"""Filters against the API that most providers run: stac-fastapi over pgstac and PostGIS."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from contextlib import contextmanager
from pathlib import Path

import pystac_client
import pytest

from tests import archive
from xcloudfree import stac
from xcloudfree.exceptions import CatalogWarning
from xcloudfree.stac.search.catalog import Source
from xcloudfree.stac.search.query import Query, checked_conditions, portable

pytestmark = pytest.mark.network

ITEMS = 40  # several pages of the API's default of ten


def programs():
    """Folder of initdb and pg_ctl, or skip."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").is_file() and (place / "pg_ctl").is_file():
            extension = place.parent / "share" / "extension" / "postgis.control"
            shared = Path("/usr/share/postgresql") / place.parent.name / "extension"
            if extension.is_file() or (shared / "postgis.control").is_file():
                return place
    pytest.skip(
        "PostgreSQL with PostGIS is not installed (apt-get install postgresql-15-postgis-3)"
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-500:]}{done.stderr[-1500:]}")


@contextmanager
def cluster():
    """A PostgreSQL of its own; it refuses to run as root, so another user has to be there."""
    place, port = programs(), free_port()
    user = []
    if os.geteuid() == 0:
        if shutil.which("runuser") is None or "postgres" not in Path("/etc/passwd").read_text():
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = ["runuser", "-u", "postgres", "--"]
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        Path(folder).chmod(0o755)  # that of pytest is open to its own user only
        if user:
            shutil.chown(data, "postgres")
        settings = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
        run([*user, place / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"])
        control = [*user, place / "pg_ctl", "-D", data]
        run([*control, "-l", data / "server.log", "-w", "-o", settings, "start"])
        try:
            yield port
        finally:
            run([*control, "-m", "immediate", "stop"])


@contextmanager
def application(environment):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        end = time.monotonic() + 60
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(f"{url}/_mgmt/ping", timeout=2):
                    break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def items():
    made = []
    for n in range(ITEMS):
        extra = {} if n == 7 else {"eo:cloud_cover": 2.5 * n}
        item = archive.made_up(
            f"S2{'AB'[n % 2]}_MSIL2A_{n:03d}",
            "sentinel-2-l2a",
            f"2025-06-{1 + n % 28:02d}T10:{n:02d}:31Z",
            {"B02": {"href": "https://archive.invalid/B02.tif", "type": "image/tiff"}},
            platform=f"sentinel-2{'ab'[n % 2]}",
            **{"proj:code": "EPSG:32632", "s2:processing_baseline": "05.11"} | extra,
        )
        made.append(item | {"stac_version": "1.0.0"})
    return made


@pytest.fixture(scope="module")
def url():
    pytest.importorskip("stac_fastapi.pgstac", reason="pip install stac-fastapi.pgstac uvicorn")
    pytest.importorskip("uvicorn", reason="pip install uvicorn")
    pytest.importorskip("psycopg", reason="pip install 'pypgstac[psycopg]'")
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods
    from pypgstac.migrate import Migrate

    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = ",".join(filter(None, [before, "127.0.0.1"]))
    try:
        with cluster() as port:
            dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            with PgstacDB(dsn=dsn) as database:
                Migrate(database).run_migration()
                loader = Loader(db=database)
                loader.load_collections([archive.collection(items()[0])], Methods.insert)
                loader.load_items(items(), Methods.insert)
            login = {"USER": "postgres", "PASS": "x", "PASSWORD": "x", "DBNAME": "postgres"}
            login |= {"HOST": "127.0.0.1", "HOST_READER": "127.0.0.1", "HOST_WRITER": "127.0.0.1"}
            environment = {f"POSTGRES_{key}": value for key, value in login.items()}
            environment |= {"POSTGRES_PORT": str(port), "PGHOST": "127.0.0.1", "PGPORT": str(port)}
            environment |= {"PGUSER": "postgres", "PGPASSWORD": "x", "PGDATABASE": "postgres"}
            with application(environment) as address:
                yield address
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before


def names(found):
    return sorted(item.id for item in found)


def meeting(test):
    return sorted(i["id"] for i in items() if test(i["properties"]))


CONDITIONS = [
    ({"eo:cloud_cover": {"lt": 20}}, lambda p: p.get("eo:cloud_cover", 99) < 20),
    ({"eo:cloud_cover": {"gte": 20, "lte": 50}}, lambda p: 20 <= p.get("eo:cloud_cover", 99) <= 50),
    ({"platform": "sentinel-2b"}, lambda p: p["platform"] == "sentinel-2b"),
    ({"platform": {"in": ["sentinel-2a"]}}, lambda p: p["platform"] == "sentinel-2a"),
    ({"platform": {"startsWith": "sentinel-2a"}}, lambda p: p["platform"] == "sentinel-2a"),
    (
        {"platform": {"neq": "sentinel-2a"}, "eo:cloud_cover": {"gt": 90}},
        lambda p: p["platform"] != "sentinel-2a" and p.get("eo:cloud_cover", 0) > 90,
    ),
]


@pytest.mark.parametrize("dialect", ["query", "cql2"])
@pytest.mark.parametrize(("condition", "test"), CONDITIONS)
def test_the_server_and_we_mean_the_same(url, monkeypatch, dialect, condition, test):
    """What the server returns is what the conditions say, in both dialects, over all pages."""
    source = Source(url)
    assert source._dialect() in ("query", "cql2")
    monkeypatch.setattr(Source, "_dialect", lambda self: dialect)
    conditions = checked_conditions("query", condition)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CatalogWarning)
        found = source.items(Query(), ["sentinel-2-l2a"], conditions)
    assert names(found) == meeting(test)
    if portable(conditions) == conditions:  # then so before anything was applied here
        asked = list(source._candidates(Query(), ["sentinel-2-l2a"], dialect, conditions))
        assert names(asked) == meeting(test)


def test_all_pages_without_a_condition(url):
    assert len(Source(url).items(Query(), None)) == ITEMS
    assert len(Source(pystac_client.Client.open(url)).items(Query(), ["sentinel-2-l2a"])) == ITEMS


def test_area_and_time(url):
    inside = Query.of((10.3, 47.7, 10.5, 48), None, "2025-06-03")
    assert names(Source(url).items(inside, None)) == meeting(
        lambda p: p["datetime"].startswith("2025-06-03")
    )
    assert Source(url).items(Query.of((20, 47, 21, 48), None, None), None) == []


def test_items_without_the_property_are_told_of(url, monkeypatch):
    monkeypatch.setattr(Source, "_dialect", lambda self: "")
    conditions = checked_conditions("query", {"eo:cloud_cover": {"lt": 20}})
    with pytest.warns(CatalogWarning, match=r"1 of 40 items without 'eo:cloud_cover'"):
        found = Source(url).items(Query(), None, conditions)
    assert len(found) == 7


def test_load_with_a_condition(url):
    ds = stac.load(
        url,
        polarisations=(),
        query={"eo:cloud_cover": {"lt": 6}},
        crs="EPSG:32632",
        resolution=10,
        bbox=(10.34, 47.83, 10.35, 47.84),
    )
    assert list(ds.time.dt.day.values) == [1, 2, 3]
