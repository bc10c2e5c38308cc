"""Masks and models of other packages, found by their entry points and imported on use.

A package that has, in its ``pyproject.toml``::

    [project.entry-points."xcloudfree.masks"]
    my-mask = "my_package:MASK"

    [project.entry-points."xcloudfree.models"]
    my-net = "my_package:ARCHITECTURE"
    my-weights = "my_package:WEIGHTS"

provides ``ds.cloudfree.mask("my-mask")``, ``xcf.models.create("my-net")`` and
``ds.cloudfree.reconstruct(model="my-weights")``. A mask is a
:class:`~xcloudfree.masks.adapters.MaskPlugin`; a model an
:class:`~xcloudfree.models.networks.Architecture`, or the path of a file written by ``model.save``.
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
"""Adapters that come with the library, for packages without entry points."""

PACKAGES = {"s2cloudless": "s2cloudless", "omnicloudmask": "omnicloudmask"}
"""Modules that the bundled adapters import on use."""


@dataclass(frozen=True)
class Plugin:
    """A mask or model of another package."""

    kind: Kind
    name: str  # name for users
    target: str  # "module:attribute"
    distribution: str  # package that provides it, with its version

    def load(self) -> Any:
        """Import it."""
        module, _, attribute = self.target.partition(":")
        try:
            loaded: Any = importlib.import_module(module)
            for part in filter(None, attribute.split(".")):
                loaded = getattr(loaded, part)
        except Exception as error:  # third-party code may raise anything
            raise PluginError(
                f"the plug-in {self.name!r} of {self.distribution} ({self.target}) cannot be "
                f"imported, {type(error).__name__}: {error}",
                fix="ask its authors, or remove it with "
                f"`pip uninstall {self.distribution.split()[0]}`",
            ) from error
        return loaded


def plugins(kind: Kind) -> list[Plugin]:
    """All available plug-ins, bundled adapters first; imports none of them."""
    bundled = [Plugin(kind, name, target, "xcloudfree") for name, target in BUNDLED[kind].items()]
    return bundled + [
        Plugin(kind, entry.name, entry.value, _distribution(entry))
        for entry in metadata.entry_points(group=f"xcloudfree.{kind}")
    ]


def names(kind: Kind) -> list[str]:
    """Names of plug-ins, sorted, including those that two packages claim.

    >>> {"s2cloudless", "omnicloudmask"} <= set(names("masks"))
    True
    """
    return sorted({plugin.name for plugin in plugins(kind)})


def third_party_names() -> dict[Kind, list[str]]:
    """Names of the plug-ins of other packages by kind, from one search of the environment."""
    entries = metadata.entry_points()
    kinds: tuple[Kind, ...] = ("masks", "models")
    return {
        kind: sorted(set(entries.select(group=f"xcloudfree.{kind}").names) - set(BUNDLED[kind]))
        for kind in kinds
    }


def find(kind: Kind, name: str) -> Plugin | None:
    """The plug-in of a name; raises an error if several packages claim it."""
    if name in BUNDLED[kind]:  # built-in names take precedence, so the search ends here
        return Plugin(kind, name, BUNDLED[kind][name], "xcloudfree")
    claims = [plugin for plugin in plugins(kind) if plugin.name == name]
    if len({claim.target for claim in claims}) > 1:
        raise _clash(claims)
    return claims[0] if claims else None


def problems(kind: Kind, built_in: Collection[str] = ()) -> list[str]:
    """Problems of the installed plug-ins, a sentence each; imports all of them."""
    messages = []
    claims: dict[str, list[Plugin]] = {}
    for plugin in plugins(kind):
        if plugin.distribution != "xcloudfree":
            claims.setdefault(plugin.name, []).append(plugin)
    for name, others in sorted(claims.items()):
        if name in built_in or name in BUNDLED[kind]:
            messages.append(
                f"{others[0].distribution} offers {name!r} in xcloudfree.{kind}, which is a name "
                f"of xcloudfree itself, which takes precedence: rename the entry point"
            )
        elif len({claim.target for claim in others}) > 1:
            messages.append(str(_clash(others)))
        else:
            try:
                others[0].load()
            except PluginError as error:
                messages.append(str(error))
    return messages


def _clash(claims: list[Plugin]) -> PluginError:
    who = " and ".join(sorted({claim.distribution for claim in claims}))
    return PluginError(
        f"{who} both offer {claims[0].name!r} in xcloudfree.{claims[0].kind}",
        fix=f"keep one of them with `pip uninstall {claims[-1].distribution.split()[0]}`",
    )


def _distribution(entry: metadata.EntryPoint) -> str:
    package = entry.dist
    return "an unnamed package" if package is None else f"{package.name} {package.version}"
