"""`predictions.parquet`: the label and the prediction of every test example of a run."""

import pyarrow as pa
from pyarrow import compute

PREDICTIONS = "predictions.parquet"
PROBABILITY = "probability_"  # how the columns of `diagnostics.probabilities` begin, one for each class


def encode_labels(table: pa.Table) -> pa.Table:
    """Return the table with `language`, `label` and `prediction` dictionary-encoded.

    `label` and `prediction` share one dictionary, so that pandas can compare them: it refuses categories that differ.
    """
    for columns in (("language",), ("label", "prediction")):
        values = pa.chunked_array([chunk for name in columns for chunk in table[name].cast(pa.string()).chunks])
        dictionary = values.unique().drop_null()
        for name in columns:
            codes = compute.index_in(table[name].cast(pa.string()), dictionary).combine_chunks()
            encoded = pa.DictionaryArray.from_arrays(codes, dictionary)
            table = table.set_column(table.column_names.index(name), name, encoded)
    return table


def without_probabilities(table: pa.Table) -> pa.Table:
    """Return the table without the class probabilities."""
    return table.select([name for name in table.column_names if not name.startswith(PROBABILITY)])
