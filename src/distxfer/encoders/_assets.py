"""Files of installed packages that hold a bundled model."""

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from distxfer.errors import InputError


@dataclass(frozen=True)
class Asset:
    """A file of a package, found without importing the package."""

    package: str
    pinned: str  # the version to install
    module: str
    file: str

    def path(self) -> Path:
        """Return the path of the file.

        Raises ModuleNotFoundError if the package is not installed, and InputError if it lacks the file.
        """
        path = self._place()
        if not path.is_file():
            raise self.unusable("it does not exist")
        return path

    def version(self) -> str:
        """Return the installed version of the package."""
        return metadata.version(self.package)

    def read(self) -> bytes:
        """Return the content of the file; raises InputError where it cannot be read."""
        try:
            return self.path().read_bytes()
        except OSError as error:  # which `publish` would take for an error of the cache
            raise self.unusable(f"it cannot be read ({error.strerror or error})") from error

    def unusable(self, fault: str) -> InputError:
        """Return the error for a file that is not what the package should hold."""
        return InputError(
            f"The file `{self._place()}` cannot be used: {fault}. "
            f"Install it again with: pip install --force-reinstall {self.package}=={self.pinned}"
        )

    def _place(self) -> Path:
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"No package `{self.package}`", name=self.package)
        return Path(next(iter(spec.submodule_search_locations)), self.file)
