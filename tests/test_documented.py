"""Every public name has a docstring with an example, and stands in the API reference."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import xcloudfree as xcf
from xcloudfree.accessor import CloudFreeAccessor

pytest.importorskip("torch")

ROOT = Path(xcf.__file__).parent.parent
PAGES = ("docs/api.rst",)
REFERRED = re.compile(r"see :func:`([\w.]+)`")
SECTIONS = re.compile(r"^( *)(\w[\w ]*)\n\1-+$", re.MULTILINE)


def modules():
    """The library and its public modules: what users reach by a dot."""
    yield "", xcf
    for name in xcf.__all__:
        member = getattr(xcf, name)
        if inspect.ismodule(member) and name != "accessor":
            yield f"{name}.", member


def public():
    """Every public function and class by the name that users call it."""
    found = {}
    for prefix, module in modules():
        own = [
            name
            for name, member in vars(module).items()
            if not name.startswith("_") and getattr(member, "__module__", "") == module.__name__
        ]
        for name in getattr(module, "__all__", own):
            member = getattr(module, name)
            if inspect.isfunction(member) or inspect.isclass(member):
                found[prefix + name] = member
    for name, member in vars(CloudFreeAccessor).items():
        if not name.startswith("_"):
            found[f"Dataset.cloudfree.{name}"] = member
    return found


PUBLIC = public()
FUNCTIONS = {n: m for n, m in PUBLIC.items() if not n.startswith("exceptions.")}


def sections(member):
    return {match.group(2) for match in SECTIONS.finditer(inspect.getdoc(member) or "")}


def parameters(member):
    if inspect.isclass(member) and "__init__" not in vars(member):
        return []
    if isinstance(member, property):
        return []
    return [p for p in inspect.signature(member).parameters if p not in ("self", "cls")]


def test_the_list_is_that_of_the_library():
    assert {"fit", "evaluate", "stac.load", "models.convert", "io.to_zarr"} <= set(PUBLIC)
    assert {"Dataset.cloudfree.mask", "Dataset.cloudfree.reconstruct"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_a_docstring(name):
    text = inspect.getdoc(PUBLIC[name])
    assert text
    assert text.split("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_docstring_shows_an_example(name):
    text = inspect.getdoc(FUNCTIONS[name])
    assert "Examples" in sections(FUNCTIONS[name])
    assert ">>>" in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_docstring_says_what_goes_in_and_what_comes_out(name):
    member = FUNCTIONS[name]
    own = parameters(member)
    referred = REFERRED.search(inspect.getdoc(member).split("\n")[0])
    if name.startswith("Dataset.") and referred:
        behind = import_module(referred[1].rpartition(".")[0])
        function = getattr(behind, referred[1].rpartition(".")[2])
        assert parameters(function)[1:] == own
        member = function
    text, found = inspect.getdoc(member), sections(member)
    missing = [p for p in own if not re.search(rf"\b{p}\b.*(:|$)", text, re.MULTILINE)]
    assert not missing
    assert not own or found & {"Parameters", "Attributes"}
    if inspect.isfunction(member) and inspect.signature(member).return_annotation != "None":
        assert found & {"Returns", "Yields"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_stands_in_the_reference(name):
    listed = {line.strip() for page in PAGES for line in (ROOT / page).read_text().splitlines()}
    assert name in listed


def test_the_reference_lists_nothing_that_is_not_there():
    lines = (ROOT / "docs/api.rst").read_text().splitlines()
    listed = [x.strip() for x in lines if re.fullmatch(r"   [a-zA-Z][\w.]+", x)]
    assert listed
    for name in listed:
        target = xcf
        if name.startswith("Dataset.cloudfree."):
            target, name = CloudFreeAccessor, name.removeprefix("Dataset.cloudfree.")
        for part in name.split("."):
            if inspect.ismodule(target) and not hasattr(target, part):
                import_module(f"{target.__name__}.{part}")
            target = getattr(target, part)
        assert callable(target) or isinstance(target, property)
