"""Names of weights in checkpoints of pix2pix and the repositories built on it."""

from __future__ import annotations

import re


def published_unet_name(name: str) -> str:
    """Our name of an entry of the nested U-Net; unknown names come back unchanged."""
    match = re.fullmatch(r"model\.model((?:\.[123]\.model)*)\.(\d)\.(\w+)", name)
    if match is None:
        return name
    path, position, entry = match.groups()
    depth = path.count("model")
    # Within a level: [activation, down, norm, (next level), activation, up, norm]. Without norm
    # all moves up by one, so that 4 is the innermost norm in one layout and any "up" in the other.
    inside = {
        "1": "down", "2": "down_norm", "3": "up", "5": "up", "6": "up_norm",
        "4": "up_norm" if ".3.model" in path else "up",
    }  # fmt: skip
    part = (inside if depth else {"0": "down", "3": "up"}).get(position)
    return name if part is None else f"levels.{depth}.{part}.{entry}"


def published_resnet_name(name: str) -> str:
    """Our name of an entry of the residual generator; unknown names come back unchanged."""
    layers = {
        "1": "enter.conv", "2": "enter.norm", "4": "down.0.conv", "5": "down.0.norm",
        "7": "down.1.conv", "8": "down.1.norm", "19": "up.0.conv", "20": "up.0.norm",
        "22": "up.1.conv", "23": "up.1.norm", "26": "leave",
    }  # fmt: skip
    inside = {"1": "first.conv", "2": "first.norm", "6": "second.conv", "7": "second.norm"}
    match = re.fullmatch(r"model\.(\d+)(?:\.conv_block\.([1267]))?\.(\w+)", name)
    if match is None:
        return name
    position, half, entry = match.groups()
    if half:
        return f"blocks.{int(position) - 10}.{inside[half]}.{entry}"
    return f"{layers[position]}.{entry}" if position in layers else name


def published_discriminator_name(name: str) -> str:
    """Our name of an entry of the 70 px discriminator; unknown names come back unchanged."""
    layers = {"0": "enter", "11": "leave"} | {
        str(2 + 3 * stage + index): f"stages.{stage}.{part}"
        for stage in range(3)
        for index, part in enumerate(("conv", "norm"))
    }
    match = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
    if match is None or match[1] not in layers:
        return name
    return f"{layers[match[1]]}.{match[2]}"
