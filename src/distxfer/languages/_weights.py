"""Weights of languages from distances."""

import math
from collections.abc import Mapping

from distxfer.errors import InputError, unknown

WEIGHTINGS = ("uniform", "linear", "power", "rank", "softmax")


def weights(
    values: Mapping[str, float], weighting: str, *, temperature: float = 0.1, exponent: float = 2.0
) -> dict[str, float]:
    r"""Return one weight per language from its distance, with mean 1, so that all schemes have the same total.

    With :math:`f` the scheme, :math:`w_l = f(d_l) / \mathrm{mean}_k f(d_k)`, where

    - `uniform`: :math:`f(d) = 1`
    - `linear`: :math:`f(d) = d`
    - `power`: :math:`f(d) = d^\alpha`, with exponent :math:`\alpha`
    - `rank`: :math:`f(d)` is the rank of d, from 1 for the nearest; ties share their average rank
    - `softmax`: :math:`f(d) = \exp(d / \tau)`, with temperature :math:`\tau` in the unit of the distances

    Distances are finite and at least 0; weights are at least 0. Invariant under the order of the languages; `linear`
    and `power` under the scale of the distances, `softmax` under their origin, `rank` under every increasing map.

    Raises InputError for an unknown scheme, no languages, a negative or non-finite distance, a temperature that is not
    positive, an exponent that is not positive, or `linear` or `power` with distances that are all 0.
    """
    if weighting not in WEIGHTINGS:
        raise unknown("Weighting", weighting, WEIGHTINGS)
    if not values:
        raise InputError("Weights need at least one language, and there is none. Name the target languages.")
    for key, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"Distance `{value}` of `{key}` cannot be weighted. Distances are finite and at least 0.")
    raw = {key: _raw(value, list(values.values()), weighting, temperature, exponent) for key, value in values.items()}
    mean = math.fsum(raw.values()) / len(raw)
    if mean == 0:
        raise InputError(
            f"Weighting `{weighting}` needs a distance above 0, and all are 0. Use the weighting `uniform`."
        )
    return {key: value / mean for key, value in raw.items()}


def _raw(value: float, values: list[float], weighting: str, temperature: float, exponent: float) -> float:
    """Return f(d), up to a common factor."""
    match weighting:
        case "linear":
            return value / (max(values) or 1.0)  # the mean of subnormal or huge distances would not be exact
        case "power":
            if not (math.isfinite(exponent) and exponent > 0):
                raise InputError(f"Exponent `{exponent}` is not positive. Give a number above 0, such as `2`.")
            return float((value / (max(values) or 1.0)) ** exponent)
        case "rank":
            return sum(neighbour < value for neighbour in values) + (values.count(value) + 1) / 2
        case "softmax":
            if not (math.isfinite(temperature) and temperature > 0):
                raise InputError(f"Temperature `{temperature}` is not positive. Give a number above 0, such as `0.1`.")
            return math.exp((value - max(values)) / temperature)
        case _:
            return 1.0
