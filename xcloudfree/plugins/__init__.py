"""Masks and models of other packages, found by their entry points and imported when asked for.

A package that has, in its ``pyproject.toml``::

    [project.entry-points."xcloudfree.masks"]
    my-mask = "my_package:MASK"

    [project.entry-points."xcloudfree.models"]
    my-net = "my_package:ARCHITECTURE"
    my-weights = "my_package:WEIGHTS"

serves ``ds.cloudfree.mask("my-mask")``, ``xcf.models.create("my-net")`` and
``ds.cloudfree.reconstruct(model="my-weights")``. A mask is a
:class:`~xcloudfree.plugins.masks.MaskPlugin`; a model an
:class:`~xcloudfree.models.networks.Architecture`, or the path of a file that ``model.save`` wrote.
"""

from xcloudfree.plugins.registry import Plugin, names, problems

__all__ = ["Plugin", "names", "problems"]
