"""The help page as a value: what was found, what fits, what to call next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.plot.help.findings import Finding, counted, findings, refusal
from xcloudfree.plot.help.reading import DEFAULT_MODEL
from xcloudfree.plot.help.suitability import Verdict, judge_masks, judge_methods, judge_models

WELL_KNOWN = ("area-regression", "whittaker", "linear-time", "kriging", "idw")
"""Classical methods that are named first, best first."""

BEHIND_CLEAR = ("carf-small-l2a-demo", "carf-small-l2a-10-demo")
"""Shipped networks that are behind what the clear pixels around say, by their cards."""


@dataclass(frozen=True)
class Page:
    """Everything that the page tells.

    Parameters
    ----------
    title : str
        One line.
    rows : list of Finding
        What was found.
    masks, models, methods : list of Verdict
        What can be used, and why the others cannot.
    calls : list of tuple of (str, str)
        What can be called next, and what it gives.
    """

    title: str
    rows: list[Finding]
    masks: list[Verdict]
    models: list[Verdict]
    methods: list[Verdict]
    calls: list[tuple[str, str]]


def page(obj: Any) -> Page:
    """Look at an object; never fails, never computes.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.

    Returns
    -------
    Page
    """
    try:
        scene = read(obj)
    except CloudFreeError as error:
        return Page("nothing recognised", [refusal("problem", error)], [], [], [], [])
    except Exception as error:  # a help page never fails
        row = Finding("problem", f"{type(error).__name__}: {error}")
        return Page("nothing recognised", [row], [], [], [], [])
    rows = findings(scene)
    masks, models, methods = (_safe(j, scene) for j in (judge_masks, judge_models, judge_methods))
    lazy = ", lazy" if scene.template().chunks is not None else ""
    calls = _calls(rows, masks, models, methods, lazy)
    return Page(_title(scene), rows, masks, models, methods, calls)


def _safe(judge: Callable[[Scene], list[Verdict]], scene: Scene) -> list[Verdict]:
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


def _calls(
    rows: list[Finding],
    masks: list[Verdict],
    models: list[Verdict],
    methods: list[Verdict],
    lazy: str,
) -> list[tuple[str, str]]:
    if any(row.label == "provenance" for row in rows):
        return [
            ("ds.cloudfree.plot()", "pictures of it"),
            ('xcf.io.to_zarr(ds, "out.zarr")', "block by block, resumable"),
            ("xcf.evaluate(ds, truth)", "against a clear image"),
        ]
    if any(row.label == "reflectance" and row.call for row in rows):
        return []
    calls = []
    ready = next((m.name for m in masks if m.fits), None)
    named = "" if ready in (None, "score") else f"mask={ready!r}"
    if ready:
        calls.append((f"ds.cloudfree.mask({'' if ready == 'score' else repr(ready)})", "occluded"))
    network = next((m.name for m in models if m.fits), None)
    fitting = {m.name for m in methods if m.fits}
    method = next((name for name in WELL_KNOWN if name in fitting), None)
    offers = []
    if ready and network:
        model = "" if network == DEFAULT_MODEL else f"model={network!r}"
        words = ", ".join(filter(None, (model, named)))
        offers.append((f"ds.cloudfree.reconstruct({words})", f"by {network}{lazy}"))
    if ready and method:
        words = ", ".join(filter(None, (f"model={method!r}", named)))
        offers.append((f"ds.cloudfree.reconstruct({words})", f"without weights{lazy}"))
    if network in BEHIND_CLEAR or (network == DEFAULT_MODEL and method == "area-regression"):
        offers.reverse()
    calls += offers
    if any(row.label == "optical" and not row.call for row in rows):
        calls.append(("ds.cloudfree.plot()", "a picture"))
    return calls
