"""Every block of Python in the documentation runs, or at least calls what there is as it can be.

Blocks of one page run one after the other, as a reader would copy them. Catalogs are replaced by
one on this machine, files that a page opens are made, a cluster is threads of this process. Cells
of notebooks are run by the site's build (``make docs``) and only checked here.
"""

import ast
import inspect
import sys
import types
from contextlib import contextmanager

import distributed
import pytest
import rioxarray  # noqa: F401
import xarray as xr

import xcloudfree as xcf
from tests import forms
from tests.fences import blocks, pages
from xcloudfree.accessor import CloudFreeAccessor

PAGES = pages()
RUN = [page for page in PAGES if any(b.kind == "run" for b in blocks(page))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
LEVEL_2A = [name for name in xcf.bands.S2_BANDS if name != "B10"]
WILDCARD = ast.dump(ast.Constant(...))


def test_pages_are_found():
    assert {"README.md", "docs/concepts.md", "docs/guides/geotiffs.md"} <= set(PAGES)
    assert {block.kind for block in BLOCKS} == {"run", "doctest", "cell", "not run"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: f"{b.page}:{b.line}")
def test_calls_have_the_signatures_that_there_are(block):
    for call in block.calls:
        function = called(call.func)
        if function is None:
            continue
        given = [None for a in call.args if ast.dump(a) != WILDCARD]
        names = [k.arg for k in call.keywords]
        elided = len(given) < len(call.args)
        if any(isinstance(a, ast.Starred) for a in call.args) or None in names:
            continue
        signature = inspect.signature(function)
        bind = signature.bind_partial if elided else signature.bind
        bind(*given, **dict.fromkeys(names))


def called(node):
    """The function of this library that a call names, or None."""
    path = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id in ("xcf", "xcloudfree") and path:
        target = xcf
    elif "cloudfree" in path and path[-1] != "cloudfree":
        path = path[path.index("cloudfree") + 1 :]
        target = CloudFreeAccessor(None)
    else:
        return None
    for name in path:
        target = getattr(target, name)
    return target


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", RUN)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "planetary_computer", _module(sign=_sign))
    known = vars(types.ModuleType("__main__"))
    with PREPARED.get(page, _nothing)(tmp_path, monkeypatch) as made:
        known.update(made)
        for block in blocks(page):
            if block.kind == "run":
                place = f"{page}, line {block.line}"
                exec(compile("\n" * block.line + block.code, place, "exec"), known)


def _module(**members):
    module = types.ModuleType("stand_in")
    vars(module).update(members)
    return module


def _sign(address):
    return address


@contextmanager
def _nothing(folder, monkeypatch):
    yield {}


@contextmanager
def _catalog(folder, monkeypatch, level="BOA"):
    """A catalog here in place of whatever address a page names; a file of weights beside it."""
    scene = xcf.datasets.simulate_scene((64, 64), dates=3, cover=0.3, seed=2, level=level)
    if level == "BOA":
        scene["SCL"] = _classes(scene)
        start = xcf.models.create(
            "carf-tiny", optical_bands=LEVEL_2A, level="BOA", sar_quantity="gamma0", base="prior"
        )
        start.save(folder / "mine.safetensors")
    xcf.stac.publish(scene, folder / "catalog")
    with xcf.stac.serve(folder / "catalog") as local:
        load = xcf.stac.load

        def stand_in(catalog, **options):
            inspect.signature(load).bind(catalog, **options)
            kept = {k: v for k, v in options.items() if k in ("chunks", "on_error")}
            return load(local.url, like=scene, **kept)

        monkeypatch.setattr(xcf.stac, "load", stand_in)
        yield {"url": local.url}


def _classes(scene):
    classes = xr.where(scene.B02 > 0.25, 9, 4).astype("uint8")
    return classes.assign_attrs(grid_mapping="spatial_ref")


@contextmanager
def _series(folder, monkeypatch):
    scene = xcf.datasets.simulate_scene((64, 64), dates=4, cover=0.3, seed=2, level="BOA")
    yield {"ds": scene.assign(SCL=_classes(scene))}


@contextmanager
def _catalogs(folder, monkeypatch):
    from xcloudfree.stac.rules import providers

    monkeypatch.setattr(providers, "_own", [], raising=False)
    with _catalog(folder, monkeypatch, level="TOA") as made:
        yield made


@contextmanager
def _geotiffs(folder, monkeypatch):
    scene = xcf.datasets.simulate_scene((96, 96), cover=0.3, seed=2, level="BOA").isel(time=0)
    numbers = (scene[LEVEL_2A] * 1e4 + 1000).round().astype("uint16")
    (folder / "field").mkdir()
    images = {"s2": numbers.to_dataarray("band"), "s1": scene[["VV", "VH"]].to_dataarray("band")}
    images |= {name: numbers[name] for name in ("B02", "B03", "B04", "B08")}
    images |= {name: scene[name] for name in ("VV", "VH")}
    for name, image in images.items():
        image = image.drop_attrs().rio.write_crs(scene.rio.crs)
        image.rio.to_raster(folder / f"field/{name}.tif")
    yield {}


@contextmanager
def _forms(folder, monkeypatch):
    yield forms.everything(folder)


@contextmanager
def _sen12mscr(folder, monkeypatch):
    scene = xcf.datasets.simulate_scene((256, 256), dates=2, cover=0.4, seed=2)
    truth = xcf.datasets.simulate_truth((256, 256), dates=2, cover=0.4, seed=2)
    optical = list(xcf.bands.S2_BANDS)
    kinds = {"s1": scene[["VV", "VH"]], "s2_cloudy": scene[optical], "s2": truth[optical]}
    for kind, images in kinds.items():
        place = folder / f"SEN12MS-CR/ROIs1868_fall_{kind}/{kind}_1"
        place.mkdir(parents=True)
        for i in range(2):
            image = images.isel(time=i).to_dataarray("band").drop_attrs()
            if kind != "s1":
                image = (image.clip(0) * 1e4).round().astype("uint16")
            image.rio.to_raster(place / f"ROIs1868_fall_{kind}_1_p{i}.tif")
    yield {}


@contextmanager
def _stored(folder, monkeypatch):
    scene = xcf.datasets.simulate_scene((96, 96), cover=0.3, seed=2)
    xcf.io.to_zarr(scene.chunk(y=64, x=64), folder / "scene.zarr", progress=False)

    class Client(distributed.Client):
        def __init__(self, **options):
            super().__init__(**options, processes=False)

    monkeypatch.setattr(distributed, "Client", Client)
    yield {}


@contextmanager
def _checkpoint(folder, monkeypatch):
    import torch

    network = xcf.models.create("uncrtaints", seed=1).network
    torch.save({"state_dict": network.state_dict()}, folder / "model.pth.tar")
    yield {"scene": xcf.datasets.simulate_scene((64, 64), cover=0.3, seed=2)}


PREPARED = {
    "README.md": _catalog,
    "docs/start.md": _catalog,
    "docs/catalogs.md": _catalogs,
    "docs/guides/geotiffs.md": _geotiffs,
    "docs/guides/forms.md": _forms,
    "docs/guides/sen12mscr.md": _sen12mscr,
    "docs/guides/large_areas.md": _stored,
    "docs/guides/checkpoints.md": _checkpoint,
}
