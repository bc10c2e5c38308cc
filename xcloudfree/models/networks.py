"""Networks by the name of their architecture: the only place that lists every class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from xcloudfree.core import plugins as registry
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import ModelError, PluginError
from xcloudfree.models import (
    carf,
    carf_bandwise,
    diffusion,
    distortion_coding,
    dsen2cr,
    glfcr,
    sar_opt_cgan,
    series_attention,
    simulation_fusion,
    uncrtaints,
)
from xcloudfree.models.config import NetworkConfig

Names = Callable[[str], str | None]
"""Our name of an entry of the authors' checkpoint; None for entries without weights."""


@dataclass(frozen=True)
class Architecture:
    """A family of networks.

    Parameters
    ----------
    config : type
        Dataclass of its hyper-parameters.
    network : callable
        The module, from a value of `config`.
    source : str
        Publication that describes it.
    normalisation : str
        Preset with which it was published, see
        :data:`xcloudfree.core.normalisation.PRESETS`.
    published : callable, optional
        See :data:`Names`; None if there are no published checkpoints.
    licence : str
        Licence of the authors' code and weights, for users who bring a checkpoint.
    """

    config: type[NetworkConfig]
    network: Callable[[Any], nn.Module]
    source: str
    normalisation: str = "dsen2cr"
    published: Names | None = None
    licence: str = "ours, Apache-2.0"


_NO_LICENCE = "the authors' repository carries no licence; ask them before you redistribute weights"

NETWORKS: dict[str, Architecture] = {
    "carf": Architecture(
        carf.CarfConfig,
        carf.Carf,
        "Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions (2025)",
    ),
    "carf-bandwise": Architecture(
        carf_bandwise.BandwiseConfig,
        carf_bandwise.CarfBandwise,
        "ours: the blocks of CARF on one band at a time, for series",
    ),
    "series-attention": Architecture(
        series_attention.AttentionConfig,
        series_attention.SeriesAttention,
        "ours: attention of each pixel to its clear observations, on kernel fusion",
    ),
    "glfcr": Architecture(
        glfcr.GlfcrConfig,
        glfcr.Glfcr,
        "Xu et al., ISPRS Journal of Photogrammetry and Remote Sensing 192 (2022)",
        "dsen2cr",
        glfcr.published_name,
        _NO_LICENCE,
    ),
    "dsen2cr": Architecture(
        dsen2cr.Dsen2crConfig,
        dsen2cr.Dsen2cr,
        "Meraner et al., ISPRS Journal of Photogrammetry and Remote Sensing 166 (2020)",
        "dsen2cr-2000",
        dsen2cr.published_name,
        "not known to us; see the authors' repository before you redistribute weights",
    ),
    "uncrtaints": Architecture(
        uncrtaints.UncrtaintsConfig,
        uncrtaints.Uncrtaints,
        "Ebel et al., CVPR Workshops (2023)",
        "uncrtaints-10",
        uncrtaints.published_name,
        _NO_LICENCE,
    ),
    "sar-opt-cgan": Architecture(
        sar_opt_cgan.SarOptCganConfig,
        sar_opt_cgan.SarOptCgan,
        "Grohnfeldt, Schmitt and Zhu, IGARSS (2018)",
        "pix2pix",
        sar_opt_cgan.published_name,
        "no code or weights of the authors are known to us",
    ),
    "simulation-fusion-gan": Architecture(
        simulation_fusion.SimulationFusionConfig,
        simulation_fusion.SimulationFusion,
        "Gao et al., Remote Sensing 12(1), 191 (2020)",
        "pix2pix",
        simulation_fusion.published_name,
        "not known to us; see the authors' repository before you redistribute weights",
    ),
    "distortion-coding": Architecture(
        distortion_coding.DistortionCodingConfig,
        distortion_coding.DistortionCoding,
        "after Zhou et al., Remote Sensing 14(14), 3452 (2022)",
        "pix2pix",
    ),
    "diffusion": Architecture(
        diffusion.DiffusionConfig,
        diffusion.Diffusion,
        "after Zhao and Jia, Remote Sensing 15(11), 2861 (2023), as a bridge",
    ),
}
"""Architectures by name."""


def architecture(name: str) -> Architecture:
    """Look up a family of networks by name, built in or among the plug-ins."""
    if name not in NETWORKS:
        plugin = registry.find("models", name)
        if plugin is not None:
            offered = plugin.load()
            if isinstance(offered, Architecture):
                return offered
            raise PluginError(
                f"of {plugin.distribution} is a {type(offered).__name__}, not an architecture",
                fix="call xcloudfree.models.load(...) with its name if it is a weights file",
                subject=f"the plug-in {name!r}",
                option="ask its authors",
            )
        raise ModelError(
            f"unknown architecture {name!r}{did_you_mean(name, NETWORKS)}",
            fix=f"choose one of {sorted(NETWORKS)}, or a name of xcloudfree.models.list()",
            option="see `xcloudfree models list`",
        )
    return NETWORKS[name]


def build(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build an untrained network."""
    family = architecture(name)
    try:
        return family.network(family.config(**options))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ModelError(
            f"{name} cannot be built with {dict(options)}: {error}",
            fix="see the options in help(xcloudfree.models.create)",
            option="choose another with --model or --architecture",
        ) from error
