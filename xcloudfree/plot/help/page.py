"""Content of the help page: what was recognised, what fits, and next steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from xcloudfree.core.bands import RGB
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.masks.scores import AUTO
from xcloudfree.plot.help.findings import Finding, counted, findings, guarded
from xcloudfree.plot.help.suitability import Verdict, judge_masks, judge_methods, judge_models
from xcloudfree.reconstruct.choice import best_model

WELL_KNOWN = ("kernel-fusion", "area-regression", "linear-time", "kriging", "idw")
"""Classical methods to name first, best first."""

BEHIND_CLEAR = ("carf-small-demo",)
"""Shipped networks that are worse than the clear pixels around, according to their cards."""


@dataclass(frozen=True)
class Step:
    """A next step: the call, the same on the command line, and its result."""

    call: str
    command: str
    result: str


@dataclass(frozen=True)
class Page:
    """Everything on the help page."""

    title: str
    rows: list[Finding]
    masks: list[Verdict] = field(default_factory=list)
    models: list[Verdict] = field(default_factory=list)
    methods: list[Verdict] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
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
    return replace(contents, steps=_steps(contents, scene))


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


def _steps(contents: Page, scene: Scene) -> list[Step]:
    """What to do next with a scene, as calls and as commands."""
    lazy = ", lazy" if scene.template().chunks is not None else ""
    coloured = scene.optical is not None and set(RGB) <= set(scene.optical.names)
    plot = [Step("ds.cloudfree.plot()", "plot SCENE picture.png", "a picture")] * coloured
    if any(row.label == "provenance" for row in contents.rows):
        return [
            *plot,
            Step('xcf.io.to_zarr(ds, "out.zarr")', "", "block by block, resumable"),
            Step("xcf.evaluate(ds, truth)", "evaluate SCENE TRUTH", "against a clear image"),
        ]
    if "reflectance" in (row.label for row in contents.missing):
        return []  # nothing works before units are declared
    mask = next((v.name for v in contents.masks if v.fits), None)
    network = next((v.name for v in contents.models if v.fits), None)
    steps = []
    if mask:
        default = mask == AUTO
        named, option = ("", "") if default else (f"mask={mask!r}", f" --mask {mask}")
        call = f"ds.cloudfree.mask({'' if default else repr(mask)})"
        steps.append(Step(call, f"mask SCENE mask.zarr{option}", "occluded"))
        if contents.best:
            result = f"filled by {contents.best}{lazy}"
            call, command = f"ds.cloudfree.reconstruct({named})", "reconstruct SCENE out.zarr"
            steps.append(Step(call, command + option, result))
        if network and network not in BEHIND_CLEAR:
            call = f"ds.cloudfree.reconstruct({', '.join(filter(None, [repr(network), named]))})"
            command = f"reconstruct SCENE out.zarr --model {network}{option}"
            steps.append(Step(call, command, f"by a network{lazy}"))
        if contents.best and scene.source.sizes.get("time", 1) > 2:
            result = "the best method for this area"
            steps.append(Step(f"ds.cloudfree.judge({named})", f"judge SCENE{option}", result))
    return steps + plot
