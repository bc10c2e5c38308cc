"""Masks and models of other packages, found by their entry points and imported when asked for.

A package that has, in its ``pyproject.toml``::

    [project.entry-points."xcloudfree.masks"]
    my-mask = "my_package:MASK"

    [project.entry-points."xcloudfree.models"]
    my-net = "my_package:ARCHITECTURE"
    my-weights = "my_package:WEIGHTS"

serves ``ds.cloudfree.mask("my-mask")``, ``xcf.models.create("my-net")`` and
``ds.cloudfree.reconstruct(model="my-weights")``. A mask is a
:class:`~xcloudfree.masks.adapters.MaskPlugin`; a model an
:class:`~xcloudfree.models.networks.Architecture`, or the path of a file that ``model.save`` wrote.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from xcloudfree.exceptions import PluginError

Kind = Literal["masks", "models"]

BUNDLED: dict[Kind, dict[str, str]] = {
    "masks": {
        "s2cloudless": "xcloudfree.masks.s2cloudless:MASK",
        "omnicloudmask": "xcloudfree.masks.omnicloudmask:MASK",
    },
    "models": {},
}
"""Adapters that come with the library, for packages that do not."""

PACKAGES = {"s2cloudless": "s2cloudless", "omnicloudmask": "omnicloudmask"}
"""Modules that the bundled adapters import when they are used."""


@dataclass(frozen=True)
class Plugin:
    """Something that another package offers.

    Parameters
    ----------
    kind : {"masks", "models"}
        What it is.
    name : str
        What users call it.
    target : str
        ``"module:attribute"``.
    distribution : str
        Package that offers it, with its version.
    """

    kind: Kind
    name: str
    target: str
    distribution: str

    def load(self) -> Any:
        """Import it.

        Returns
        -------
        object
            What the entry point names.

        Raises
        ------
        PluginError
            If that fails, for whatever reason.
        """
        module, _, attribute = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in filter(None, attribute.split(".")):
                found = getattr(found, part)
        except Exception as error:  # the code of others may raise anything
            raise PluginError(
                f"the plug-in {self.name!r} of {self.distribution} ({self.target}) cannot be "
                f"imported, {type(error).__name__}: {error}; ask its authors, or remove it with "
                f"`pip uninstall {self.distribution.split()[0]}`"
            ) from error
        return found


def plugins(kind: Kind) -> list[Plugin]:
    """Everything that is offered, bundled adapters first; imports none of it.

    Parameters
    ----------
    kind : {"masks", "models"}
        Which.

    Returns
    -------
    list of Plugin
    """
    own = [Plugin(kind, name, target, "xcloudfree") for name, target in BUNDLED[kind].items()]
    return own + [
        Plugin(kind, entry.name, entry.value, _distribution(entry))
        for entry in metadata.entry_points(group=f"xcloudfree.{kind}")
    ]


def names(kind: Kind) -> list[str]:
    """Names that plug-ins offer.

    Parameters
    ----------
    kind : {"masks", "models"}
        Which.

    Returns
    -------
    list of str
        Sorted; one that two packages claim is among them, and refused when it is asked for.

    Examples
    --------
    >>> {"s2cloudless", "omnicloudmask"} <= set(names("masks"))
    True
    """
    return sorted({plugin.name for plugin in plugins(kind)})


def find(kind: Kind, name: str) -> Plugin | None:
    """The plug-in of a name.

    Parameters
    ----------
    kind : {"masks", "models"}
        Which.
    name : str
        What users call it.

    Returns
    -------
    Plugin or None

    Raises
    ------
    PluginError
        If several packages claim the name.
    """
    claims = [plugin for plugin in plugins(kind) if plugin.name == name]
    if len({claim.target for claim in claims}) > 1 and claims[0].distribution != "xcloudfree":
        raise PluginError(_clash(claims))
    return claims[0] if claims else None


def problems(kind: Kind, built_in: Collection[str] = ()) -> list[str]:
    """What is wrong with the plug-ins that are installed; imports all of them.

    Parameters
    ----------
    kind : {"masks", "models"}
        Which.
    built_in : collection of str
        Names of the library's own, which come first.

    Returns
    -------
    list of str
        One sentence each.
    """
    found = []
    reserved = {*built_in, *BUNDLED[kind]}
    for name in names(kind):
        claims = [plugin for plugin in plugins(kind) if plugin.name == name]
        others = [claim for claim in claims if claim.distribution != "xcloudfree"]
        if name in reserved and others:
            found.append(
                f"{others[0].distribution} offers {name!r} in xcloudfree.{kind}, which is a name "
                f"of xcloudfree itself: its own is used, rename the entry point"
            )
            continue
        if len({claim.target for claim in claims}) > 1:
            found.append(_clash(claims))
            continue
        if others:
            try:
                others[0].load()
            except PluginError as error:
                found.append(str(error))
    return found


def _clash(claims: list[Plugin]) -> str:
    who = " and ".join(sorted({claim.distribution for claim in claims}))
    return (
        f"{who} both offer {claims[0].name!r} in xcloudfree.{claims[0].kind}; keep one of them "
        f"with `pip uninstall {claims[-1].distribution.split()[0]}`"
    )


def _distribution(entry: metadata.EntryPoint) -> str:
    found = entry.dist
    return "an unnamed package" if found is None else f"{found.name} {found.version}"
