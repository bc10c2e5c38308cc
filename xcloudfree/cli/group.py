"""The command ``xcloudfree``: its errors, its help, and small helpers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import click

from xcloudfree._version import __version__
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import CloudFreeError


class Group(click.Group):
    """Commands by name; suggests the nearest one for a mistyped name."""

    group_class = type  # subgroups have the same class

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command."""
        name = args[0]
        if name[:1] == "-" or ctx.resilient_parsing or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        raise click.UsageError(
            f"there is no command {name!r}{did_you_mean(name, self.commands)}; "
            f"see them with {ctx.command_path} --help",
            ctx,
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors raised on purpose become one line and exit code 1."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _ShowOnce()
                return super().invoke(ctx)
        except CloudFreeError as error:
            raise click.ClickException(" ".join(error.as_options.split())) from error
        except (OSError, MemoryError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise click.ClickException(f"{text} ({type(error).__name__})") from error


class _ShowOnce:
    """A warning as one line, shown once, without its place in the code."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(
        self, message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        text = _without_calls(" ".join(str(message).split()))
        if issubclass(category, UserWarning) and text not in self._shown:
            self._shown.add(text)
            click.echo(f"Warning: {text}", err=True)


def _without_calls(text: str) -> str:
    """A warning without the clauses that give advice as Python; the first one says what is wrong.

    >>> _without_calls("no dates are left; call ds.sel(time=...)")
    'no dates are left'
    """
    first, *others = re.split(r"(?<=[;.]) ", text)
    kept = [first, *(clause for clause in others if not re.search(r"\w[(\[]", clause))]
    return " ".join(kept).rstrip(";")


def examples(*lines: str) -> str:
    """Epilog of a help page: commands that can be copied; continuation lines are indented."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def add_options(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    """A decorator that adds several options, in the order of the help page."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def split_list(text: str | None) -> list[str] | None:
    """The names of a comma-separated list.

    >>> split_list("B02, B03"), split_list(None)
    (['B02', 'B03'], None)
    """
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "xcloudfree demo                                  run everything once, offline",
        "xcloudfree doctor                                show versions and problems",
        "xcloudfree info SCENE                            show what is recognised and missing",
        "xcloudfree reconstruct SCENE OUT --dry-run       estimate memory and size",
    ),
)
@click.version_option(__version__, prog_name="xcloudfree")
def main() -> None:
    """Remove clouds from Sentinel-2 with Sentinel-1.

    A scene is a Zarr store, a NetCDF file, GeoTIFFs, or the address of a STAC catalog. For the help
    of a command, run xcloudfree COMMAND --help. Exit codes: 0 done, 1 an error with a line that
    says how to fix it, 2 usage error.
    """
