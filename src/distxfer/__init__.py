"""distxfer: better cross-lingual transfer to typologically distant languages, measured honestly."""

__version__ = "0.1.0"
