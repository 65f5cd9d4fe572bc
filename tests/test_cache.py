"""The cache: what is built is built once, whole or not at all."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distxfer import _cache
from distxfer.errors import InputError


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path))
    assert _cache.cache_folder() == tmp_path
    monkeypatch.setenv("DISTXFER_CACHE", "here")
    assert _cache.cache_folder() == Path.cwd() / "here"
    monkeypatch.setenv("DISTXFER_CACHE", "")
    assert "distxfer" in _cache.cache_folder().parts


def whole(folder):
    return (folder / "done").exists()


def test_publish_builds_once(tmp_path):
    target = tmp_path / "a" / "target"
    builds = []

    def build(folder):
        assert not target.exists()
        builds.append(folder)
        (folder / "done").touch()

    assert _cache.publish(target, build, whole) == _cache.publish(target, build, whole) == target
    assert len(builds) == 1


def test_publish_builds_once_for_two_at_a_time(tmp_path):
    builds = []

    def build(folder):
        builds.append(folder)
        time.sleep(0.2)
        (folder / "done").touch()

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: _cache.publish(tmp_path / "target", build, whole), range(2)))
    assert results == [tmp_path / "target"] * 2
    assert len(builds) == 1


def test_publish_replaces_what_is_incomplete(tmp_path):
    target = tmp_path / "target"
    for left in (target, tmp_path / "target.part" / "new"):
        left.mkdir(parents=True)
        (left / "rubbish").touch()
    _cache.publish(target, lambda folder: (folder / "done").touch(), whole)
    assert {file.name for file in target.iterdir()} == {"done", "manifest.json"}
    assert not (tmp_path / "target.part").exists()


@pytest.mark.parametrize(
    ("error", "seen"), [(OSError(28, "No space left on device"), InputError), (KeyError, KeyError)]
)
def test_publish_leaves_nothing_of_a_failure(tmp_path, error, seen):
    def build(folder):
        (folder / "half").touch()
        raise error

    with pytest.raises(seen) as caught:
        _cache.publish(tmp_path / "target", build, whole)
    assert {file.name for file in tmp_path.iterdir()} <= {"target.lock"}
    if seen is InputError:
        assert f"`{tmp_path}` cannot be written: No space left on device." in str(caught.value)


def test_publish_builds_anew_what_is_damaged_and_says_so(tmp_path):
    def build(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(bytes(range(200)))
        (folder / "about.json").write_text('{"layers": 4}')

    target = _cache.publish(tmp_path / "target", build)
    for name in ("deep/weights", "about.json", "manifest.json"):
        content = (target / name).read_bytes()
        for place in range(0, len(content), 23):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            (target / name).write_bytes(damaged)
            notices = []
            _cache.publish(target, build, notice=notices.append)
            assert (target / name).read_bytes() == content
            assert notices == [f"`{target}` in the cache is damaged and is built again."]
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:99])):
        damage(target / "deep" / "weights")
        assert not _cache.is_whole(target)
        assert _cache.is_whole(_cache.publish(target, build))
    (target / "more").touch()
    assert not _cache.is_whole(target)
