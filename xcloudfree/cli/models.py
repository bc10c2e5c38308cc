"""``xcloudfree models list | show | convert``."""

from __future__ import annotations

from pathlib import Path

import click

from xcloudfree.cli.group import Group, examples, words


@click.group(
    "models",
    cls=Group,
    short_help="List, show or convert models.",
    invoke_without_command=True,
    epilog=examples(
        "xcloudfree models list 'carf*'",
        "xcloudfree models show carf-small-demo",
        "xcloudfree models convert glf_cr.pth glf_cr.safetensors --architecture glfcr",
    ),
)
@click.pass_context
def models_command(ctx: click.Context) -> None:
    """What can be loaded by name; lists it without a further word."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models_command.command("list")
@click.argument("pattern", default="*")
@click.option("--methods", is_flag=True, help="The classical methods too.")
def list_models(pattern: str, methods: bool = False) -> None:
    """List names; PATTERN as in a shell."""
    import fnmatch

    from xcloudfree import methods as classical
    from xcloudfree import models
    from xcloudfree.models.shipped import shipped

    ready = shipped()
    for name in models.list(pattern):
        click.echo(f"{name}{'  (shipped weights)' if name in ready else ''}")
    for name in fnmatch.filter(classical.names(), pattern) if methods else []:
        click.echo(f"{name}  (method, no weights)")


@models_command.command("show")
@click.argument("name")
@click.option("--cost", is_flag=True, help="Count multiply-adds and memory too.")
def show_model(name: str, cost: bool) -> None:
    """Show the specification of a model, by name or path."""
    import dataclasses

    from xcloudfree import models

    model = models.load(name)
    click.echo(repr(model))
    for key, value in dataclasses.asdict(model.spec).items():
        click.echo(f"  {key}: {value}")
    if cost:
        from xcloudfree.models.cost import multiply_adds, peak_bytes

        click.echo(f"  multiply-adds a pixel: {multiply_adds(model, 256) / 256**2:.4g}")
        click.echo(f"  bytes a pixel at work: {peak_bytes(model, 128) / 128**2:.4g}")


@models_command.command(
    "convert",
    epilog=examples(
        "xcloudfree models convert glf_cr.pth glf_cr.safetensors --architecture glfcr",
        "xcloudfree models convert weights.h5 dsen2cr.safetensors --architecture dsen2cr",
    ),
)
@click.argument("checkpoint", nargs=-1, required=True, type=click.Path())
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--architecture", required=True, help="Or a variant, see `xcloudfree models`.")
@click.option("--name", help="Of the model; by default that of variant and file.")
@click.option("--optical-bands", help="Comma-separated, in the order of the weights.")
@click.option("--polarisations", help="Comma-separated, in the order of the weights.")
@click.option("--level", type=click.Choice(["TOA", "BOA"]), default="TOA", show_default=True)
@click.option(
    "--sar-quantity",
    type=click.Choice(["sigma0", "gamma0"]),
    default="sigma0",
    show_default=True,
)
def convert_model(
    checkpoint: tuple[str, ...],
    out: Path,
    architecture: str,
    name: str | None,
    optical_bands: str | None,
    polarisations: str | None,
    level: str,
    sar_quantity: str,
) -> None:
    """Turn a published CHECKPOINT (or the two of a pair) into a model file OUT (.safetensors)."""
    from xcloudfree import models

    model = models.convert(
        checkpoint if len(checkpoint) > 1 else checkpoint[0],
        architecture,
        name=name,
        optical_bands=words(optical_bands),
        polarisations=words(polarisations),
        level=level,
        sar_quantity=sar_quantity,
    )
    model.save(out)
    click.echo(repr(model))
