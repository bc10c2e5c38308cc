"""``xcloudfree doctor``."""

from __future__ import annotations

import click


@click.command("doctor", short_help="Show versions, devices, plug-ins, and problems.")
def doctor_command() -> None:
    """Show versions, devices, shipped models and plug-ins, and what is wrong with them.

    Paste what it says into reports of problems. Exit code 1 if a plug-in is broken.
    """
    import torch

    from xcloudfree import models, show_versions
    from xcloudfree.core.plugins import Kind, names, problems
    from xcloudfree.masks.scores import METHODS
    from xcloudfree.models.shipped import shipped
    from xcloudfree.models.variants import ALIASES, VARIANTS

    show_versions()
    count = torch.cuda.device_count()
    devices = ", ".join(torch.cuda.get_device_name(i) for i in range(count)) or "CPU only"
    click.echo(f"\ndevices: {devices}, {torch.get_num_threads()} CPU threads")
    click.echo(f"shipped weights: {', '.join(shipped())}")
    click.echo(f"models: {', '.join(models.list())}")
    kinds: tuple[Kind, ...] = ("masks", "models")
    for kind in kinds:
        click.echo(f"plug-ins, {kind}: {', '.join(names(kind)) or 'none'}")
    wrong = problems("masks", METHODS) + problems("models", {*VARIANTS, *ALIASES, *shipped()})
    for line in wrong:
        click.echo(f"problem: {line}")
    if wrong:
        raise SystemExit(1)
