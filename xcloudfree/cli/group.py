"""How commands fail and how their help looks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import click

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import CloudFreeError

_CALLS = {
    "declare it: ds = ds.rio.write_crs('EPSG:32631')": "name the output with the ending .zarr, or "
    "give the input one, for example with `gdal_edit.py -a_srs EPSG:32631 FILE`",
    "xcloudfree.models.list() and xcloudfree.methods.names()": "`xcloudfree models list --methods`",
    "xcloudfree.models.list()": "`xcloudfree models list`",
}
"""Calls that have no option of their own, in the words of the command line."""

_OPTIONS = (
    "scale", "offset", "nodata", "level", "sar", "quantity", "model", "mask", "method", "dilate",
    "threshold", "shadow", "device", "precision", "uncertainty",
)  # fmt: skip
"""Arguments of the library that are options of the same name."""


class Group(click.Group):
    """Commands by name; a mistyped one is told the nearest."""

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


class Commands(Group):
    """Errors that we raise on purpose are one line and exit code 1; wrong words are exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _Once()
                return super().invoke(ctx)
        except CloudFreeError as error:
            raise click.ClickException(as_options(" ".join(str(error).split()))) from error
        except (OSError, MemoryError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise click.ClickException(f"{text} ({type(error).__name__})") from error


class _Once:
    """A warning in one line and once, without the place in the code, if it is meant for users."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(
        self, message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        text = " ".join(str(message).split())
        if issubclass(category, UserWarning) and text not in self._said:
            self._said.add(text)
            click.echo(f"Warning: {text}", err=True)


def as_options(text: str) -> str:
    """The call that mends it, in the words of the command line.

    Parameters
    ----------
    text : str
        Message of an error.

    Returns
    -------
    str

    Examples
    --------
    >>> as_options("declare it with ds.cloudfree.calibrate(scale=1e-4, offset=-0.1)")
    'declare it with --scale 1e-4 --offset -0.1'
    >>> as_options('call reconstruct(model="uncrtaints", uncertainty=True)')
    'call --model uncrtaints --uncertainty'
    >>> as_options("call mask(haze=0.15), or ds.assign(VV=...).cloudfree.calibrate(sar='dB')")
    "call mask(haze=0.15), or ds.assign(VV=...).cloudfree.calibrate(sar='dB')"
    >>> as_options("see the names in xcloudfree.models.list()")
    'see the names in `xcloudfree models list`'
    """
    for call, command in _CALLS.items():
        text = text.replace(call, command)

    def spoken(call: re.Match[str]) -> str:
        words = [pair.partition("=") for pair in call[1].split(",")]
        pairs = {key.strip(): value.strip("'\" ") for key, _, value in words}
        if not pairs.keys() <= set(_OPTIONS):
            return call[0]
        return " ".join(_option(key, value) for key, value in pairs.items())

    calls = r"(?<![.\w)])(?:ds\.cloudfree\.)?(?:calibrate|reconstruct|mask)"
    return re.sub(calls + r"\((\w+=[^(),]+(?:, *\w+=[^(),]+)*)\)", spoken, text)


def _option(name: str, value: str) -> str:
    flags = {"True": f"--{name}", "False": f"--no-{name}"}
    return flags.get(value, f"--{name} {value}")


def examples(*lines: str) -> str:
    """Epilog of a help page: lines that can be copied.

    Parameters
    ----------
    *lines : str
        One command each, indented where it goes on.

    Returns
    -------
    str
    """
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def add_options(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    """Several options at once, in the order of the help page.

    Parameters
    ----------
    *options : callable
        What ``click.option`` returns.

    Returns
    -------
    callable
        A decorator.
    """

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def words(text: str | None) -> list[str] | None:
    """What stands between the commas.

    Parameters
    ----------
    text : str or None
        As typed.

    Returns
    -------
    list of str or None

    Examples
    --------
    >>> words("B02, B03"), words(None)
    (['B02', 'B03'], None)
    """
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]
