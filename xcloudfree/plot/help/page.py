"""Content of the help page: what was recognised, what fits, and next steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.masks.scores import AUTO
from xcloudfree.plot.help.findings import Finding, counted, findings, guarded
from xcloudfree.plot.help.suitability import Verdict, judge_masks, judge_methods, judge_models
from xcloudfree.reconstruct.choice import best_model

WELL_KNOWN = ("kernel-fusion", "area-regression", "linear-time", "kriging", "idw")
"""Classical methods to name first, best first."""

BEHIND_CLEAR = ("carf-small-demo", "carf-small-l2a-demo", "carf-small-l2a-10-demo")
"""Shipped networks that are worse than the clear pixels around, according to their cards."""


@dataclass(frozen=True)
class Page:
    """Everything on the help page."""

    title: str
    rows: list[Finding]
    masks: list[Verdict] = field(default_factory=list)
    models: list[Verdict] = field(default_factory=list)
    methods: list[Verdict] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)  # next steps and their results
    best: str = ""  # the default model of reconstruct()

    @property
    def missing(self) -> list[Finding]:
        """Rows with a call that fixes them."""
        return [row for row in self.rows if row.fix]


def page(obj: Any) -> Page:
    """Describe a Dataset or DataArray; never fails, never computes."""
    scene = guarded("problem", read, obj)
    if isinstance(scene, Finding):
        return Page("nothing recognised", [scene])
    masks, models, methods = (_judged(f, scene) for f in (judge_masks, judge_models, judge_methods))
    contents = Page(_title(scene), findings(scene), masks, models, methods)
    if scene.optical is not None:
        contents = replace(contents, best=best_model(scene)[0])
    lazy = ", lazy" if scene.template().chunks is not None else ""
    return replace(contents, calls=_calls(contents, lazy, scene.source.sizes.get("time", 1)))


def _judged(judge: Callable[[Scene], list[Verdict]], scene: Scene) -> list[Verdict]:
    try:
        return judge(scene)
    except Exception as error:  # a help page never fails
        return [Verdict("unknown", f"{type(error).__name__}: {error}")]


def _title(scene: Scene) -> str:
    sizes = [counted(scene.source.sizes[dim], str(dim)) for dim in scene.lead]
    bands = 0 if scene.optical is None else len(scene.optical.names)
    parts = [f"{bands} optical band{'s' if bands != 1 else ''}"]
    parts += [" ".join(scene.sar.names)] if scene.sar else []
    return ", ".join([*parts, *sizes, f"{scene.shape[0]} x {scene.shape[1]} px"])


def _calls(contents: Page, lazy: str, dates: int) -> list[tuple[str, str]]:
    if any(row.label == "provenance" for row in contents.rows):
        return [
            ("ds.cloudfree.plot()", "pictures of it"),
            ('xcf.io.to_zarr(ds, "out.zarr")', "block by block, resumable"),
            ("xcf.evaluate(ds, truth)", "against a clear image"),
        ]
    if "reflectance" in (row.label for row in contents.missing):
        return []  # nothing works before units are declared
    mask = next((v.name for v in contents.masks if v.fits), None)
    network = next((v.name for v in contents.models if v.fits), None)
    calls = []
    if mask:
        default = mask == AUTO
        calls.append((f"ds.cloudfree.mask({'' if default else repr(mask)})", "occluded"))
        masked = [] if default else [f"mask={mask!r}"]
        if contents.best:
            call = f"ds.cloudfree.reconstruct({', '.join(masked)})"
            calls.append((call, f"filled by {contents.best}{lazy}"))
        if network and network not in BEHIND_CLEAR:
            call = f"ds.cloudfree.reconstruct({', '.join([repr(network), *masked])})"
            calls.append((call, f"by a network{lazy}"))
        if contents.best and dates > 2:
            call = f"ds.cloudfree.judge({', '.join(masked)})"
            calls.append((call, "the best method for this area"))
    if any(row.label == "optical" and not row.fix for row in contents.rows):
        calls.append(("ds.cloudfree.plot()", "a picture"))
    return calls
