"""Shared by all figures: the style of series, and Vega in a page or as a file."""

import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distxfer._cache import cache_folder, publish
from distxfer.errors import InputError

# Okabe and Ito's palette, safe for colour-blind readers; black is for transfer. Dashes and shapes distinguish lines in print
# without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [10, 4], [6, 2, 2, 2])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
KINDS = (".png", ".svg", ".pdf")
_SUFFIXES = (*KINDS, ".html")
_SCRIPT = "vega.js"


def check_packages(feature: str) -> None:
    """Raise InputError if the packages that draw are missing."""
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f'{feature} needs the package `{error.name}`, which is not installed. Run: pip install "distxfer[figures]"'
        ) from error


def literal(value: Any) -> str:
    """Return data as JSON that is safe inside a script element."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


@cache
def library() -> str:
    """Return Vega's JavaScript, which defines `embed`, safe inside a script element.

    Bundling takes as long and as much memory as the rest of a report, so the script of a version of `vl_convert` is kept in the
    cache, if that can be written.
    """
    import vl_convert

    snippet = "window.embed = vegaEmbed;"
    key = sha256(f"{version('vl-convert-python')}\n{snippet}".encode()).hexdigest()[:16]

    def bundle() -> str:
        return vl_convert.javascript_bundle(snippet).replace("</script", "<\\/script")

    def build(folder: Path) -> None:
        (folder / _SCRIPT).write_bytes(bundle().encode())

    try:
        return (publish(cache_folder() / "vega" / key, build) / _SCRIPT).read_bytes().decode()
    except InputError:
        return bundle()


def write_chart(spec: Mapping[str, Any], *paths: Path) -> None:
    """Write a chart, drawn once, as files in the formats of their suffixes: .png (two pixels to the point), .svg or .pdf.

    Raises OSError if one cannot be written.
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg(dict(spec))
    for path in paths:
        kind = path.suffix.lower()
        if kind == ".svg":
            path.write_text(svg, encoding="utf-8")
        else:
            path.write_bytes(vl_convert.svg_to_pdf(svg) if kind == ".pdf" else vl_convert.svg_to_png(svg, scale=2))


def check_figure(path: Path) -> None:
    """Raise InputError for an unknown file format, a folder that does not exist, or missing packages.

    Called before anything is computed.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"`{path}` is not a figure format; expected one of: {', '.join(_SUFFIXES)}.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"The folder of `{path}` does not exist. Create it first, or choose another.")
    check_packages("A figure")


def write_figure(spec: Mapping[str, Any], path: Path, title: str) -> None:
    """Write a chart as a file in one of the formats; an .html file is a page that needs no network.

    Raises InputError if it cannot be written.
    """
    try:
        if path.suffix.lower() == ".html":
            path.write_text(_page(spec, title), encoding="utf-8")
        else:
            write_chart(spec, path)
    except OSError as error:
        raise InputError(f"`{path}` cannot be written: {error.strerror}. Choose another file.") from error


def _page(spec: Mapping[str, Any], title: str) -> str:
    """Return a self-contained page; names are escaped in script and markup."""
    import html

    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n</head>\n'
        f'<body>\n<div id="figure"></div>\n<script type="module">{library()}\n'
        f'embed("#figure", {literal(spec)}, {{"actions": false}});</script>\n</body>\n</html>\n'
    )
