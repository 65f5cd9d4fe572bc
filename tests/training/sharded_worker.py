"""What each process of a launch does for `test_sharded.py`: the runs of a JSON file, one after the other."""

import json
import shutil
import sys
from pathlib import Path

import distxfer.training._loop as loop
from distxfer.config.recipe import load_recipe
from distxfer.errors import InputError
from distxfer.runs.run import outlook, train
from distxfer.training import Processes


def main(plan: Path) -> None:
    """Carry out the runs, and write beside the plan what they gave, by name."""
    outcomes, write = {}, loop.write_checkpoint
    for planned in json.loads(plan.read_text()):
        stop = planned.get("stop")  # after so many checkpoints, in all processes at once

        def stopping(*arguments, stop=stop, seen=[], **keywords):  # noqa: B006 (counts the calls of one run)
            write(*arguments, **keywords)
            seen.append(1)
            if len(seen) == stop:
                raise KeyboardInterrupt

        loop.write_checkpoint = stopping
        try:
            recipe, results = load_recipe(planned["recipe"], planned["settings"]), Path(planned["results"])
            looked = outlook(recipe, results).training_seconds if planned.get("look") else None
            outcomes[planned["name"]] = str(train(recipe, results).folder if looked is None else looked)
        except KeyboardInterrupt:
            outcomes[planned["name"]] = "stopped"
            processes = Processes()
            if processes.is_main:  # for whoever goes on from there, too
                shutil.copytree(results, f"{results} copied")
            processes.wait()
        except InputError as error:
            outcomes[planned["name"]] = str(error)
    if Processes().is_main:
        plan.with_suffix(".done").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
