"""Where recipes are: the shipped ones, inside the wheel or at the top of a checkout, and the user's in `./recipes`."""

from pathlib import Path

from distxfer.errors import InputError, did_you_mean, listed


def shipped_folder() -> Path:
    """Return the folder of the shipped recipes."""
    package = Path(__file__).parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parents[1] / "recipes"


def defaults_file() -> Path:
    """Return the file that every recipe starts from."""
    return shipped_folder() / "_defaults.toml"


def families_file() -> Path:
    """Return the file with the settings of model families."""
    return shipped_folder() / "_families.toml"


def references_file() -> Path:
    """Return the file of published results."""
    return shipped_folder() / "_references.toml"


def recipe_files() -> dict[str, Path]:
    """Return the recipes by name; one in `./recipes` takes precedence over a shipped one."""
    folders = [shipped_folder(), Path("recipes")]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("[!_]*.toml"))}


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
    """Return the comment at the start of a recipe's file, on one line."""
    comment = []
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return " ".join(comment)
