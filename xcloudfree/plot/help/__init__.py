"""The help page of ``ds.cloudfree``: its content, :func:`page`, and two renderers of it."""

from xcloudfree.plot.help.page import page
from xcloudfree.plot.help.render import html, text

__all__ = ["html", "page", "text"]
