"""What each process of a launch does for `test_training.py`: commands of `python -m distxfer`, one after the other."""

import json
import runpy
import sys
from pathlib import Path

for words in json.loads(Path(sys.argv[1]).read_text()):
    sys.argv = ["distxfer", *words]
    try:
        runpy.run_module("distxfer", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
