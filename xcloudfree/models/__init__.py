"""Models: list, load and make them by name. Imports torch only on use."""

from __future__ import annotations

import builtins
import dataclasses
import fnmatch
from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcloudfree.core import plugins as registry
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import ModelError
from xcloudfree.models.shipped import FOLDER, read_spec
from xcloudfree.models.spec import ModelSpec
from xcloudfree.models.variants import ALIASES, ANY_BANDS, VARIANTS
from xcloudfree.models.weights_file import check_file

if TYPE_CHECKING:
    from xcloudfree.models.config import NetworkConfig
    from xcloudfree.models.hub import from_pretrained, save_pretrained
    from xcloudfree.models.mlm import to_stac_mlm
    from xcloudfree.models.model import Model
    from xcloudfree.models.published.conversion import convert

__all__ = [
    "ModelSpec",
    "convert",
    "create",
    "from_pretrained",
    "known",
    "list",
    "load",
    "save",
    "save_pretrained",
    "to_stac_mlm",
]

_WITH_TORCH = {
    "convert": "published.conversion",
    "from_pretrained": "hub",
    "save_pretrained": "hub",
    "to_stac_mlm": "mlm",
}


def list(pattern: str = "*") -> builtins.list[str]:
    """List the names that :func:`load`, ``reconstruct`` and ``fit`` accept.

    Parameters
    ----------
    pattern : str
        Shell-style pattern.

    Returns
    -------
    list of str
        Shipped weights, untrained variants, and models of plug-ins
        (:mod:`xcloudfree.core.plugins`), sorted.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> xcf.models.list("dsen2cr*")
    ['dsen2cr', 'dsen2cr-small']
    """
    return sorted(fnmatch.filter(_library_names() | {*registry.names("models")}, pattern))


def _library_names() -> set[str]:
    return {*VARIANTS, *ALIASES, *(path.stem for path in FOLDER.glob("*.safetensors"))}


def load(source: str | Path, *, optical_bands: Sequence[str] | None = None) -> Model:
    """Load a model by name or from a file.

    Parameters
    ----------
    source : str or Path
        A name of :func:`list`, or a file written by ``model.save``.
    optical_bands : sequence of str, optional
        Other bands than those of the weights, for networks that treat each band separately; for a
        name without weights, the bands of the untrained network.

    Returns
    -------
    Model
        With ``.spec``, ``.network``, ``.normalise``, ``.denormalise`` and ``.save``. A name without
        shipped weights gives an untrained network.

    Raises
    ------
    ModelError
        If there is no such name, or its weights belong to other bands.
    WeightsError
        If the file cannot be read.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> xcf.models.load("carf-tiny").spec.trained
    False
    >>> xcf.models.load("carf-tiny", optical_bands=["B02", "B03"]).spec.optical_bands
    ('B02', 'B03')
    """
    if not isinstance(source, (str, PathLike)):
        raise ModelError(
            f"a model is loaded by a name or path, not by a {type(source).__name__}",
            fix="call xcloudfree.models.load(...) with one of xcloudfree.models.list()",
            option="see `xcloudfree models list`",
        )
    path = _weights(source)
    if path is None:
        bands: dict[str, Any] = {} if optical_bands is None else {"optical_bands": optical_bands}
        return create(str(source), **bands)
    from xcloudfree.models.model import Model

    model = Model.read(path)
    return model if optical_bands is None else model.for_bands(optical_bands)


def declared(source: Any) -> ModelSpec | None:
    """Bands, level and backscatter of a model, without torch; None if only torch can answer."""
    spec: ModelSpec | None = getattr(source, "spec", None)
    if isinstance(source, (str, Path)):
        path, name = _weights(source), str(source)
        if path is not None:
            check_file(path)
            spec = read_spec(path)
        elif (key := ALIASES.get(name, name)) in VARIANTS:
            family, changes = VARIANTS[key]
            described = {field: changes[field] for field in _DESCRIPTION if field in changes}
            spec = ModelSpec(name, family, {}, stride=1, reach=None, **described)
    return None if spec is None or spec.architecture in ANY_BANDS else spec


def has_weights(source: str | Path) -> bool:
    """Whether a name or path refers to a weights file, fitted or not."""
    return _weights(source) is not None


def _weights(source: str | Path) -> Path | None:
    """The file of a name or path; None if there are no weights."""
    if _is_path(source):
        return Path(source)
    shipped = FOLDER / f"{source}.safetensors"
    if shipped.exists():
        return shipped
    if source not in VARIANTS and source not in ALIASES:
        plugin = registry.find("models", str(source))
        offered = None if plugin is None else plugin.load()
        if isinstance(offered, (str, Path)):
            return Path(offered)
    return None


def _is_path(source: str | Path) -> bool:
    path = Path(source)
    return isinstance(source, Path) or bool(path.suffix) or path.is_file() or len(path.parts) > 1


def known(source: str | Path) -> bool:
    """Return whether a source is a name of :func:`list`, or a path, even of a missing file.

    Parameters
    ----------
    source : str or Path
        As for :func:`load`.

    Returns
    -------
    bool

    Examples
    --------
    >>> known("carf-small-demo"), known("mine.safetensors"), known("idw")
    (True, True, False)
    """
    return _is_path(source) or source in _library_names() or source in registry.names("models")


def save(model: Model, path: str | Path) -> Path:
    """Write a model to a file, like ``model.save(path)``.

    Parameters
    ----------
    model : Model
        Model to write.
    path : str or Path
        Usually ``*.safetensors``.

    Returns
    -------
    Path
        The file, which :func:`load` reads.

    Raises
    ------
    WeightsError
        If the folder does not exist, or `path` is a folder.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xcf.models.save(xcf.models.load("carf-tiny"), folder + "/mine.safetensors").name
    'mine.safetensors'
    """
    return model.save(path)


def create(name: str = "carf-small", *, seed: int = 0, **options: Any) -> Model:
    """Make an untrained model.

    Parameters
    ----------
    name : str
        A variant of :func:`list`.
    seed : int
        Seed of the initial weights.
    **options
        Changes to the specification (``optical_bands``, ``polarisations``, ``level``,
        ``sar_quantity``, ``normalisation``) and to the hyper-parameters of the architecture, such
        as those of :class:`~xcloudfree.models.carf.CarfConfig` (``cross``, ``mask_input``, ...).

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such variant or no such option.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> model = xcf.models.create("carf-tiny", cross="none", optical_bands=("B02", "B03", "B04"))
    >>> model.spec.optical_bands
    ('B02', 'B03', 'B04')
    """
    key = ALIASES.get(name, name)
    if key not in VARIANTS and key not in registry.names("models"):
        if key in _library_names():
            raise ModelError(
                f"{name!r} are fitted weights, but create() makes untrained networks",
                fix=f"call xcloudfree.models.load({name!r})",
            )
        raise ModelError(
            f"there is no model {name!r}{did_you_mean(name, list())}",
            fix="see the names in xcloudfree.models.list()",
            option="see `xcloudfree models list`",
        )
    import torch

    from xcloudfree.models import networks
    from xcloudfree.models.model import Model

    family, changes = VARIANTS.get(key, (key, {}))
    options = {**changes, **options}
    if "context" in options:
        parts = options["context"]
        options["context"] = [parts] if isinstance(parts, str) else builtins.list(parts)
    architecture = networks.architecture(family)
    fields = [*_DESCRIPTION, *(one.name for one in dataclasses.fields(architecture.config))]
    if wrong := [option for option in options if option not in fields]:
        raise ModelError(
            f"{family} cannot be built with {wrong[0]!r}{did_you_mean(wrong[0], fields)}, which "
            "is not an option of it",
            fix=f"call xcloudfree.models.create({name!r}, ...) with some of "
            f"{builtins.list(dict.fromkeys(fields))}",
            option="choose another with --model",
        )
    described = {
        "normalisation": architecture.normalisation,
        **{field: options.pop(field) for field in _DESCRIPTION if field in options},
    }
    for field in ("optical_bands", "polarisations"):
        if field in described:
            names = described[field]
            described[field] = (names,) if isinstance(names, str) else tuple(names)
    spec = ModelSpec(name, family, {}, stride=1, reach=None, **described)
    _check_description(spec)
    options = {
        "optical_bands": len(spec.optical_bands),
        "sar_bands": len(spec.polarisations),
        **options,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = networks.build(family, options)
    config: NetworkConfig = network.config  # type: ignore[assignment]
    if not config.reads(PRESETS[spec.normalisation]):
        raise ModelError(
            f"{family} with {options} does not read what normalisation={spec.normalisation!r} "
            "gives",
            fix=f"call xcloudfree.models.create({name!r}) without these options, or set both",
        )
    return Model(spec.replace(options=options, **config.declared()), network)


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(f"xcloudfree.models.{_WITH_TORCH[name]}"), name)
    raise AttributeError(f"module 'xcloudfree.models' has no attribute {name!r}")


_DESCRIPTION = ("optical_bands", "polarisations", "level", "sar_quantity", "normalisation")


def _check_description(spec: ModelSpec) -> None:
    for field, (good, choices) in spec.choices().items():
        if not good:
            given = getattr(spec, field)
            names = [given] if isinstance(given, str) else given
            near = next((did_you_mean(n, choices) for n in names if n not in choices), "")
            raise ModelError(
                f"{field} is {given!r}{near} but may only contain {choices}",
                fix=f"call xcloudfree.models.create(..., {field}=...)",
                option=f"--{field.replace('_', '-')} with some of these",
            )
