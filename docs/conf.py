"""Sphinx: the pages in this folder, and a reference of the Python API written from the docstrings. `make docs` builds it."""

import inspect
import os
import re
import shutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx

import distxfer

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LOG.md": "findings.md",
}
API = DOCS / "api"  # written at each build
PACKAGES = {
    "": "What `import distxfer` offers.",
    "measure": "Similarity, alignment, transfer and statistics, on arrays and tensors.",
    "languages": "Codes, families, and distances with provenance.",
    "data": "Tasks, parallel text and dictionaries.",
    "interventions": "The contract of interventions.",
    "results.collect": "Collections of finished runs.",
    "results.result": "One finished run.",
    "analysis.compare": "Comparison of methods.",
    "analysis.ablation": "Effects of single settings.",
    "runs.run": "One run.",
    "sweeps.sweep": "Many runs.",
    "checkpoints.measure": "Two checkpoints.",
    "checkpoints.merge": "Models merged into one.",
    "new_language.plan": "The workflow for a new language.",
}

project = "distxfer"
release = distxfer.__version__
project_copyright = "the authors of distxfer, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
highlight_language = "text"
html_theme = "furo"
html_title = f"distxfer {release}"
html_static_path: list[str] = []


def setup(app: Sphinx) -> None:
    """Write the pages of the API, and read docstrings as the plain text that they are."""
    app.connect("builder-inited", lambda _: write_api())
    app.connect("source-read", with_links)
    app.connect("autodoc-process-docstring", as_rst)


def with_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put in the pages of the repository that a page includes, and let links lead to pages of the site or to files.

    What is outside `docs/` and no page of the site becomes a file to download.
    """
    if docname.startswith("api/") or docname == "tutorial":
        return
    page = DOCS / f"{docname}.md"
    text = rewritten(source[0], page.parent, page.parent)
    for name in OUTSIDE:
        fence = f"```{{include}} ../{name}\n```"
        if fence in text:
            text = text.replace(fence, rewritten((ROOT / name).read_text(encoding="utf-8"), ROOT, DOCS))
    source[0] = text


def rewritten(text: str, base: Path, folder: Path) -> str:
    """Return Markdown whose links are relative to `base` with links that are relative to `folder`."""

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        file = (base / target).resolve()
        if not target or ":" in target or not file.exists():
            return match[0]  # Sphinx complains of what does not exist
        if file.name in OUTSIDE and file.parent == ROOT:
            file = DOCS / OUTSIDE[file.name]
        elif file.suffix == ".md" and not file.is_relative_to(DOCS):
            return f"](path:{os.path.relpath(file, folder)})"
        return f"]({os.path.relpath(file, folder)}{'#' if anchor else ''}{anchor})"

    return re.sub(r"\]\(([^()\s]+)\)", link, text)


def write_api() -> None:
    """Write one page for each package, with every public function and class, and one for the interventions."""
    shutil.rmtree(API, ignore_errors=True)
    API.mkdir()
    pages = []
    for package, about in PACKAGES.items():
        name = f"distxfer.{package}".rstrip(".")
        module = import_module(name)
        parts = [directive(name, member, getattr(module, member)) for member in public_names(module)]
        pages.append(write_page(name, about, parts))
    from distxfer.interventions import intervention_class, intervention_names

    classes = {kind: intervention_class(kind) for kind in intervention_names()}
    parts = [f"## {kind}\n\n{directive(cls.__module__, cls.__name__, cls)}" for kind, cls in classes.items()]
    pages.append(write_page("keys-of-interventions", "The keys of each intervention, with defaults.", parts))
    listed = "\n".join(pages)
    text = f"# Python API\n\nWritten from the docstrings.\n\n```{{toctree}}\n{listed}\n```\n"
    (API / "index.md").write_text(text, encoding="utf-8")


def public_names(module: ModuleType) -> list[str]:
    """Return the public functions and classes of a package or module, whether or not it loads them lazily."""
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return [
        name
        for name in sorted(names)
        if callable(value := getattr(module, name)) and getattr(value, "__module__", "").startswith(module.__name__)
    ]


def directive(module: str, name: str, value: object) -> str:
    """Return the directive that documents a function or a class."""
    kind, options = ("autoclass", ":members:\n:undoc-members:\n") if inspect.isclass(value) else ("autofunction", "")
    return (
        f"```{{eval-rst}}\n.. {kind}:: {module}.{name}\n"
        + "".join(f"   {line}\n" for line in options.splitlines())
        + "```\n"
    )


def write_page(name: str, about: str, parts: list[str]) -> str:
    """Write a page of the API; return its name."""
    title = name if name.startswith("distxfer") else name.replace("-", " ").capitalize()
    (API / f"{name}.md").write_text(f"# {title}\n\n{about}\n\n" + "\n".join(parts), encoding="utf-8")
    return name


def as_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make reStructuredText of a docstring: names in backticks are code, indented blocks (formulas) stand as they are."""
    converted: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = paragraph.splitlines()
        if rows and rows[0].startswith("    "):
            converted += ["::", "", *rows, ""]
        else:
            text = re.sub(r"([\\*|_])(?![^`]*`(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", inspect.cleandoc(paragraph))
            converted += [*re.sub(r"`+([^`]+)`+", r"``\1``", text).splitlines(), ""]
    lines[:] = converted
