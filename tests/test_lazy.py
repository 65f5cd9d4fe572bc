"""Large modules are imported once, and the garbage collector leaves alone what they define."""

import gc
import sys

from distxfer._lazy import preload


def test_what_a_preloaded_module_defines_is_not_collected_again(tmp_path, monkeypatch):
    (tmp_path / "large_module.py").write_text("objects = [[number] for number in range(5000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "large_module", raising=False)
    try:
        preload("large_module")
        frozen = gc.get_freeze_count()
        assert frozen > 5000
        assert gc.isenabled()
        later = [[number] for number in range(5000)]
        preload("large_module")  # as by a second verb in one process: what has been made since stays as it is
        assert gc.get_freeze_count() <= frozen
        assert later
    finally:
        gc.unfreeze()
        sys.modules.pop("large_module", None)
