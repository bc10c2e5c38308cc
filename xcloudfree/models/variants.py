"""Networks by their names for users: an architecture and changes to its hyper-parameters."""

from __future__ import annotations

from typing import Any

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "carf-tiny": ("carf", {"features": 32, "growth": 16, "stages": 2}),
    "carf-small": ("carf", {}),
    "carf-tiny-regression": (
        "carf",
        {
            "features": 32, "growth": 16, "stages": 2, "base": "regression",
            "context": ["before", "after", "regression"],
        },
    ),
    "carf-small-context": ("carf", {"base": "context", "context": ["before", "after"]}),
    "carf-small-regression": (
        "carf", {"base": "regression", "context": ["before", "after", "regression"]},
    ),
    "carf-bandwise": ("carf-bandwise", {}),
    "series-attention": ("series-attention", {"polarisations": []}),
    "carf-small-f4": ("carf", {"scale": 4, "features": 64, "growth": 32}),
    "carf-base": (
        "carf", {"features": 64, "growth": 32, "layers": 4, "blocks": 3, "stages": 4},
    ),
    "carf-base-f4": (
        "carf",
        {
            "scale": 4, "features": 96, "growth": 48, "layers": 4, "blocks": 3, "stages": 4,
            "heads": 6,
        },
    ),
    "carf-large": (
        "carf",
        {"features": 96, "growth": 48, "layers": 5, "blocks": 3, "stages": 6, "heads": 8},
    ),
    "carf-reference": ("glfcr", {}),
    "glfcr": ("glfcr", {}),
    "dsen2cr": ("dsen2cr", {}),
    "dsen2cr-small": ("dsen2cr", {"features": 64, "blocks": 8}),
    "uncrtaints": ("uncrtaints", {}),
    "uncrtaints-t3": ("uncrtaints", {"acquisitions": 3}),
    "uncrtaints-l2": (
        "uncrtaints", {"uncertainty": False, "scale_by": 1.0, "normalisation": "uncrtaints"},
    ),
    "uncrtaints-l2-t3": (
        "uncrtaints",
        {
            "uncertainty": False, "scale_by": 1.0, "normalisation": "uncrtaints",
            "acquisitions": 3,
        },
    ),
    "sar-opt-cgan": ("sar-opt-cgan", {}),
    "simulation-fusion-gan": ("simulation-fusion-gan", {}),
    "simulation-fusion-gan-resnet": ("simulation-fusion-gan", {"generator": "resnet"}),
    "distortion-coding": ("distortion-coding", {}),
    "diffusion": ("diffusion", {}),
    "diffusion-tiny": ("diffusion", {"features": 32, "blocks": 4}),
}  # fmt: skip
"""Architecture and options by name, see :data:`xcloudfree.models.networks.NETWORKS`.

Options are hyper-parameters of the architecture, and fields of the specification such as
``normalisation``.
"""

ANY_BANDS = ("carf-bandwise", "series-attention")
"""Architectures whose weights belong to no band."""

ANY_LEVEL = ("series-attention",)
"""Those that take Level-1C and Level-2A alike."""

ALIASES = {"carf": "carf-small"}
"""Aliases."""
