"""The verb `publish`, against a stand-in for the hub: what goes where, and what is refused before anything does."""

import json
import shutil
import socket

import huggingface_hub.constants
import pytest
from transformers import AutoModel

from distxfer.errors import InputError, RunError
from distxfer.publishing import publication, push
from finished_runs import edit, write_run
from helpers import message
from hub_stub import TOKEN, running_hub

NAME = "me/plain-emoji"
UNVERIFIED = (
    "Unverified: 1 of 1 results have no digests (an earlier version wrote them). Damage to their files would go"
    " unnoticed."
)
CARD = """---
license: mit
---
# plain

```python
name = "model"
model = load(name)
```

```toml
model.name = "model"
```
"""


@pytest.fixture
def run(tmp_path, tiny):
    """A finished run with a model, whose numbers are made up."""
    folder = write_run(tmp_path / "results", identity="0123abcd")
    shutil.copytree(tiny, folder / "model")
    (folder / "model" / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "predictions.parquet").write_bytes(b"labels")
    return folder


@pytest.fixture
def hub(monkeypatch):
    """The stand-in, in the place of the hub, with somebody logged in."""
    with running_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def contents(run):
    """What the repository is to hold: the model's files at the root, with the result beside them."""
    model = {path.relative_to(run / "model").as_posix(): path.read_bytes() for path in (run / "model").rglob("*.*")}
    model["README.md"] = CARD.replace('\nname = "model"', f'\nname = "{NAME}"').encode()
    return model | {name: (run / name).read_bytes() for name in ("result.json", "measurements.parquet")}


def test_it_only_says_what_it_would_do(cli, run, hub):
    done = cli("publish", str(run), "--to", NAME)
    assert done.exit_code == 0
    assert not hub.asked
    assert f"Nothing was pushed. `--push` pushes this to {NAME}, private, in one commit." in done.stdout
    for name, content in contents(run).items():
        assert name in done.stdout
        assert str(len(content)) in done.stdout
    assert "predictions.parquet" not in done.stdout
    assert "predictions.parquet" in cli("publish", str(run), "--to", NAME, "--predictions").stdout
    assert f"{NAME}, public" in cli("publish", str(run), "--to", NAME, "--public").stdout
    assert not hub.asked


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub 2.4 sending large files
@pytest.mark.parametrize("large", [10**9, 1000])
def test_one_commit_brings_exactly_the_files(cli, run, hub, large):
    hub.large = large
    done = cli("publish", str(run), "--to", NAME, "--push")
    assert done.exit_code == 0, done.output
    (commit,) = hub.commits
    assert commit == {"repository": NAME, "message": "distxfer: plain 0123abcd, seed 0", "files": contents(run)}
    assert hub.private == {NAME: True}
    assert bool(hub.stored) == (large == 1000)
    assert f"Pushed, private: {hub.address}/{NAME}/commit/{'1' * 40}" in done.stdout
    assert TOKEN not in done.output


def test_what_was_pushed_loads_by_transformers(cli, run, hub, tmp_path):
    cli("publish", str(run), "--to", NAME, "--push")
    for name, content in hub.commits[0]["files"].items():
        path = tmp_path / "snapshot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert AutoModel.from_pretrained(tmp_path / "snapshot").config.hidden_size == 16


def test_as_json(cli, run, hub):
    plan = json.loads(cli("publish", str(run), "--to", NAME, "--json").stdout)
    sizes = {row["path"]: row["bytes"] for row in plan.pop("files")}
    assert sizes == {name: len(content) for name, content in contents(run).items()}
    assert plan == {"repository": NAME, "private": True, "warnings": [UNVERIFIED], "commit": None}
    done = json.loads(cli("publish", str(run), "--to", NAME, "--public", "--push", "--json").stdout)
    assert (done["private"], done["commit"]) == (False, f"{hub.address}/{NAME}/commit/{'1' * 40}")
    assert hub.private == {NAME: False}


def test_again_into_the_same_repository(run, hub):
    push(publication(run, NAME))
    push(publication(run, NAME))
    assert len(hub.commits) == 2
    assert hub.files[NAME].keys() == {".gitattributes", *contents(run)}
    assert hub.parents[0] == "0" * 40  # a repository that changes after it was looked at is not pushed to


def test_a_public_repository_is_not_taken_for_a_private_one(run, hub):
    push(publication(run, NAME, private=False))
    assert message(push, publication(run, NAME)) == (
        f"The repository `{NAME}` exists and is public, so nothing was pushed. Pushing to a public repository requires"
        f" `--public`; or choose another name."
    )
    assert len(hub.commits) == 1


def test_files_that_would_be_loaded_with_the_model_are_not_left_beside_it(run, hub):
    push(publication(run, NAME))
    hub.files[NAME] |= {"notes.md": b"", "adapter_config.json": b"{}"}
    assert message(push, publication(run, NAME)).startswith(
        f"The repository `{NAME}` has `adapter_config.json`, which conflicts with the files of this run;"
    )
    del hub.files[NAME]["adapter_config.json"]
    push(publication(run, NAME))
    assert "notes.md" in hub.files[NAME]


def test_the_warnings(cli, run):
    def change(data):
        data["status"] = "collapsed"
        data["provenance"] |= {"git_dirty": True, "command": ["distxfer", "train", "task=/mnt/somebody/task"]}

    assert publication(run, NAME).warnings == (UNVERIFIED,)
    edit(run, change)
    (run / "model" / "README.md").write_text(CARD.replace("license: mit", "tags: []"), encoding="utf-8")
    (run / "model" / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    assert publication(run, NAME).warnings == (
        "The run collapsed: it has learned nothing, judging by its source score.",
        "The licence of the base model is unknown, so the card states none. Add `license:` to it if you know it.",
        "The model is an adapter on `org/base`, which users need, too.",
        "The code had uncommitted changes (`git_dirty`): others cannot reproduce this run.",
        "`result.json` contains paths of this machine: `/mnt/somebody/task`.",
        UNVERIFIED,
    )
    assert "Warning: The run collapsed" in cli("publish", str(run), "--to", NAME).stderr
    (run / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(run)}))
    assert any(
        "a folder on this machine: nobody else can load it" in warning for warning in publication(run, NAME).warnings
    )
    (run / "model" / "README.md").unlink()
    assert any("no card with metadata" in warning for warning in publication(run, NAME).warnings)


def test_a_model_whose_files_are_damaged_is_refused(run):
    config = run / "model" / "adapter_config.json"
    for content in ("{", "[]"):
        config.write_text(content)
        assert message(publication, run, NAME).startswith(f"`{config}` is not an adapter configuration: ")
    config.unlink()
    (run / "model" / "README.md").write_bytes(b"---\n\xff\n")
    assert message(publication, run, NAME).startswith(f"`{run / 'model' / 'README.md'}` is not UTF-8 text")


@pytest.mark.parametrize("name", ["plain", "a/b/c", "me/", "me/a--b", "me/a b", "", "me/x.git"])
def test_a_name_that_is_none_is_refused(run, name):
    assert message(publication, run, name).startswith(f"`{name}` is not a valid repository name: ")


def test_what_is_no_finished_run_is_refused(cli, run, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        assert message(publication, folder, NAME) == (
            f"`{folder}` is not the folder of a run: it has no `result.json`. Give one such as `results/plain/0123abcd-s0`."
        )
    (run / "measurements.parquet").rename(tmp_path / "aside")
    assert "has no `measurements.parquet`" in message(publication, run, NAME)
    (tmp_path / "aside").rename(run / "measurements.parquet")
    shutil.rmtree(run / "model")
    assert message(publication, run, NAME) == (
        f"The run `{run}` has no `model/`: it was removed, as in the committed runs of the studies. Train it again with"
        f" `distxfer train ... --again`."
    )
    (run / "result.json").unlink()
    assert "is not finished" in message(publication, run, NAME)
    done = cli("publish", str(run), "--to", NAME)
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_pickle_is_refused(run):
    (run / "model" / "extra").mkdir()
    (run / "model" / "extra" / "training_args.bin").write_bytes(b"")
    error_message = message(publication, run, NAME)
    assert "may be a pickle" in error_message
    assert "remove `extra/training_args.bin`" in error_message


def test_nobody_logged_in(run, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert message(push, publication(run, NAME)) == (
        "There is no token for the Hugging Face hub. Log in with `hf auth login`, or set `HF_TOKEN`, with a token that may"
        f" write to `{NAME}`."
    )
    assert not hub.asked


def test_a_token_that_is_not_accepted(cli, run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = cli("publish", str(run), "--to", NAME, "--push")
    assert done.exit_code == 2
    assert "The hub does not accept the token (Invalid username or password.). Nothing was pushed." in done.stderr
    assert "hf_wrong" not in done.output
    assert not hub.commits


def test_a_namespace_of_others(run, hub):
    error_message = message(push, publication(run, "others/plain"))
    assert error_message.startswith("The hub refuses `others/plain` (You don't have the rights to create a model under")
    assert not hub.files


@pytest.mark.parametrize("path", ["/api/repos/create", f"/api/models/{NAME}/commit/"])
def test_a_hub_that_fails_has_nothing_or_all(cli, run, hub, path):
    hub.fails[path] = (500, "Internal error")
    done = cli("publish", str(run), "--to", NAME, "--push")
    assert done.exit_code == 1
    assert "The hub failed: 500, Internal error. A push is one commit, so nothing was pushed partially" in done.stderr
    assert not hub.commits
    hub.fails.clear()
    assert cli("publish", str(run), "--to", NAME, "--push").exit_code == 0
    assert hub.commits[0]["files"] == contents(run)


def test_a_hub_that_is_not_there(run, hub, monkeypatch):
    with socket.socket() as listener:  # bound, and nobody listens
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        with pytest.raises(RunError, match=f"`{address}` cannot be reached") as caught:
            push(publication(run, NAME))
    assert TOKEN not in str(caught.value)


def test_offline(run, hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"^`HF_HUB_OFFLINE` is set, so the hub cannot be reached\. Nothing was pushed"
    ):
        push(publication(run, NAME))
