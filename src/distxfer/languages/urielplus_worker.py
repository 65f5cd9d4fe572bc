"""Read the databases of URIEL+ with the package's own code, in a separate process.

`python urielplus_worker.py FOLDER OUT DATABASE...`, where FOLDER has a copy of the package, since it writes into its own
folder and configures the root logger.
"""

import csv
import importlib
import sys
from pathlib import Path

import numpy as np


def read(folder: Path, out: Path, databases: list[str]) -> None:
    """Write the tables of URIEL+ with `databases` merged in, one row for each ISO 639-3 code, as a `.npz` file."""
    sys.path.insert(0, str(folder))
    uriel = importlib.import_module("urielplus.urielplus").URIELPlus()
    # Each database would make anew, language by language, the scripts, which are not read here, and the places.
    places, uriel._calculate_geocoord_vectors = uriel._calculate_geocoord_vectors, lambda: None
    uriel._calculate_script_vectors = lambda: None
    uriel.integrate_custom_databases(databases)
    places()
    uriel.map_new_distance_to_loaded_features("featural")  # removes the features of English dialects from all others
    with (folder / "urielplus/database/urielplus_csvs/uriel_glottocode_map.csv").open(encoding="utf-8") as file:
        pairs = [(line["iso_code"].strip(), line["glottocode"].strip()) for line in csv.DictReader(file)]
    tables = {}
    for name, i in {"families": 0, "typological": 1, "geographic": 2}.items():
        first = {str(code): row for row, code in reversed(list(enumerate(uriel.langs[i])))}
        chosen = [first[glottocode] for _, glottocode in pairs if glottocode in first]
        tables[name] = uriel.data[i][chosen].max(axis=2)  # unknown is -1, so 1 in any source gives 1
        codes = [code for code, glottocode in pairs if glottocode in first]
        tables[f"{name}_codes"] = np.array(codes)
    for name in ("families", "typological"):
        if not np.isin(tables[name], (-1, 0, 1)).all():
            raise ValueError(f"the {name} table has values other than -1, 0 and 1")
        tables[name] = tables[name].astype(np.int8)
    tables["features"] = np.array(list(map(str, uriel.feats[1])))
    np.savez_compressed(out, **tables)


if __name__ == "__main__":
    read(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
