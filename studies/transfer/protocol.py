"""The registered protocol: the runs and contrasts of `protocol.toml`, the hash of what is registered, and its commit."""

import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from distxfer import InputError
from distxfer.data import task_languages
from distxfer.errors import listed
from distxfer.languages import distances
from studies.languages import DEVELOPMENT

ROOT = Path(__file__).parents[2]
STUDY = "studies/transfer"
CODE = ("studies/languages.py", f"{STUDY}/outcome.py")  # which languages are tested, and how
DEFAULTS = ("recipes/_defaults.toml", "recipes/_families.toml")  # what every recipe starts from


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(_Table):
    """A task: the fewest test items of a class that counts, and the corpora of which some method reads the pairs.

    `templates`: the ids of test items are `TEMPLATE-NUMBER`, and the items of one template are one unit.
    """

    fewest_items: int
    corpora: tuple[str, ...]
    templates: bool = False


class Method(_Table):
    """A recipe file with overrides, what it is given, and the method that its gain is relative to."""

    recipe: str
    given: str
    tasks: tuple[str, ...]
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()  # those of the protocol, if empty
    baseline: str = "plain"


class Contrast(_Table):
    """A registered contrast; Holm's correction is over the contrasts of one group of claims.

    The claim is refuted if the upper end of the 95 % interval is below `refuted_below` points.
    """

    name: str
    task: str
    method: str
    refuted_below: float
    baseline: str = "plain"
    claims: str = "gains"


@dataclass(frozen=True, order=True)
class Run:
    """One run of the study."""

    seed: int
    task: str
    method: str


class Protocol(_Table):
    """The content of `protocol.toml`."""

    alpha: float
    source: str
    seeds: tuple[int, ...]
    settings: tuple[str, ...]  # of all runs
    task: dict[str, Task]
    method: dict[str, Method]
    contrast: tuple[Contrast, ...]

    @model_validator(mode="after")
    def _names_what_there_is(self) -> "Protocol":
        pairs = [(task, name) for name, method in self.method.items() for task in method.tasks]
        wanted = [(row.task, name) for row in self.contrast for name in (row.method, row.baseline)]
        wanted += [(task, self.method[name].baseline) for task, name in pairs]
        if unknown := [
            f"`{name}` on `{task}`" for task, name in wanted if (task, name) not in pairs or task not in self.task
        ]:
            raise ValueError(
                f"a contrast or baseline names {listed(unknown)}, which is no method and task of the protocol"
            )
        return self

    def runs(self) -> list[Run]:
        """Return all runs in the order of training: those of the contrasts first, then seed by seed and task by task."""
        compared = {(row.task, name) for row in self.contrast for name in (row.method, row.baseline)}
        seeds = sorted({seed for method in self.method.values() for seed in method.seeds or self.seeds})
        runs = [
            Run(seed, task, name)
            for seed, task, (name, method) in product(seeds, self.task, self.method.items())
            if task in method.tasks and seed in (method.seeds or self.seeds)
        ]
        return sorted(runs, key=lambda run: (run.task, run.method) not in compared)

    def settings_of(self, run: Run) -> list[str]:
        """Return the arguments of `distxfer train` for a run, without its folder."""
        method = self.method[run.method]
        words = {word.partition("=")[0]: word for word in (*self.settings, *method.settings)}
        return [
            f"recipe={method.recipe}",
            f"task={run.task}",
            f"task.source={self.source}",
            f"seed={run.seed}",
            f"task.targets={','.join(self.targets(run.task))}",
            *words.values(),
        ]

    def targets(self, task: str) -> tuple[str, ...]:
        """Return the test languages of a task: all but the source and the development languages."""
        return tuple(code for code in task_languages(task) if code not in (self.source, *DEVELOPMENT))

    def far(self, task: str) -> tuple[str, ...]:
        """Return the test languages whose syntactic distance from the source is above their median."""
        return distances(self.source, self.targets(task), imputed=True).far


@dataclass(frozen=True)
class Registration:
    """The hash of a protocol, and the commit that registered it, with its date."""

    hash: str
    commit: str
    date: str


def read_protocol(root: Path = ROOT) -> Protocol:
    """Return the protocol of a checkout."""
    return Protocol.model_validate(tomllib.loads((root / STUDY / "protocol.toml").read_text(encoding="utf-8")))


def registered_files(root: Path = ROOT) -> list[str]:
    """Return the files that are registered, relative to the checkout: protocol, outcome, defaults and recipes."""
    recipes = {method.recipe for method in read_protocol(root).method.values()}
    return sorted({f"{STUDY}/PROTOCOL.md", f"{STUDY}/protocol.toml", *CODE, *DEFAULTS, *recipes})


def protocol_hash(root: Path = ROOT) -> str:
    """Return the SHA-256 of the registered files in the working copy."""
    return _hash_of(registered_files(root), root)


def run_hash(protocol: Protocol, run: Run, root: Path = ROOT) -> str:
    """Return the SHA-256 of what is registered of one run: its settings, its recipe and the defaults.

    A later protocol that changes none of them keeps the run.
    """
    settings = sha256("\0".join(protocol.settings_of(run)).encode()).hexdigest()
    return sha256((settings + _hash_of([*DEFAULTS, protocol.method[run.method].recipe], root)).encode()).hexdigest()


def registration(root: Path = ROOT) -> Registration:
    """Return hash and commit of the protocol; raises InputError unless the files and `src` are as in the commit HEAD."""
    files = registered_files(root)
    try:
        _git(root, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"`{root}` is no git checkout with a commit ({error}), so nothing shows that the protocol was registered before its"
            " runs. Train and print this study in a checkout."
        ) from error
    changed = [path for path in files if _committed(root, path) != (root / path).read_bytes()]
    if changed := [*changed, *_git(root, "diff", "--name-only", "HEAD", "--", "src").decode().split()]:
        raise InputError(
            f"The protocol is not registered: the last commit does not have the present content of {listed(changed)}. Commit the"
            " protocol before any test run."
        )
    commit, date = _git(root, "log", "-1", "--format=%H %cI", "--", *files).decode().split()
    return Registration(protocol_hash(root), commit, date)


def _hash_of(paths: Sequence[str], root: Path) -> str:
    """Return the SHA-256 of the path, size and content of each file in turn."""
    digest = sha256()
    for path in paths:
        content = (root / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _committed(root: Path, path: str) -> bytes | None:
    try:
        return _git(root, "show", f"HEAD:./{path}")
    except subprocess.CalledProcessError:
        return None


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True, timeout=60).stdout
