"""Networks by the name that users give: an architecture and changes to its hyper-parameters."""

from __future__ import annotations

from typing import Any

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "carf-tiny": ("carf", {"features": 32, "growth": 16, "stages": 2}),
    "carf-small": ("carf", {}),
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
}  # fmt: skip
"""Architecture and options by name, see :data:`xcloudfree.models.networks.NETWORKS`."""

ALIASES = {"carf": "carf-small"}
"""Second names."""
