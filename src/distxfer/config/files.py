"""Where recipes are: shipped ones in the package or the checkout, studies' ones in the checkout, the user's in `./recipes`."""

from pathlib import Path

from distxfer.errors import InputError, did_you_mean, listed


def shipped_folder() -> Path:
    """Return the folder of the shipped recipes."""
    return _shipped("recipes")


def study_evidence(study: str) -> Path:
    """Return the file of a study's effects by recipe, which the study writes and the package installs."""
    return _shipped("studies") / study / "evidence.toml"


def _shipped(folder: str) -> Path:
    """Return a folder that is inside the package in a wheel, and at the top of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / folder
    return inside if inside.is_dir() else package.parents[1] / folder


DEFAULTS = shipped_folder() / "_defaults.toml"  # what every recipe starts from
SOURCES = shipped_folder() / "_defaults_sources.toml"  # likewise: the keys of several sources
FAMILIES = shipped_folder() / "_families.toml"  # settings of model families
REFERENCES = shipped_folder() / "_references.toml"  # published results


def recipe_files() -> dict[str, Path]:
    """Return the recipes by name: shipped ones, in a checkout those of the studies, and those in `./recipes`.

    A study's recipe is called `STUDY/NAME` if its name is taken. One in `./recipes` takes precedence over all others.
    """
    files = {path.stem: path for path in sorted(shipped_folder().glob("[!_]*.toml"))}
    for path in _study_recipes():
        files[path.stem if path.stem not in files else f"{path.parents[1].name}/{path.stem}"] = path
    return files | {path.stem: path for path in sorted(Path("recipes").glob("[!_]*.toml"))}


def _study_recipes() -> list[Path]:
    """Return the recipes of the studies, which are not installed."""
    return sorted(_shipped("studies").glob("*/recipes/[!_]*.toml"))


def recipe_path(name: str) -> Path:
    """Return the file of the recipe called `name`, or at the path `name`.

    Raises InputError if there is none.
    """
    recipes = recipe_files()
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(
                f"The recipe file `{name}` does not exist. Check the path, or name one of: {listed(recipes)}."
            )
        return path
    if name not in recipes:
        raise InputError(
            f"There is no recipe `{name}`.{did_you_mean(name, recipes)} Choose from: {listed(recipes)};"
            " or give the path of a .toml file."
            + ("" if _study_recipes() else " Recipes of studies are not installed: a checkout has them in `studies/`.")
        )
    return recipes[name]


def recipe_name(path: Path) -> str:
    """Return the name of the recipe in a file, which names the folder of its runs.

    Raises InputError for a name that would put runs elsewhere (`..`) or hide them, or that is not printable.
    """
    name = path.stem
    if name.startswith(".") or "\\" in name or not name.isprintable():
        raise InputError(
            f"The recipe file {str(path)!a} has the name {name!a}, which cannot name the folder of its runs."
            " Rename the file: no leading dot, no backslash, only printable characters."
        )
    return name


def description(path: Path) -> str:
    """Return the first paragraph of the comment at the top of a recipe's file, on one line."""
    comment = []
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if not line.startswith("#") or not line.strip("# "):
            break
        comment.append(line.lstrip("# "))
    return " ".join(comment)
