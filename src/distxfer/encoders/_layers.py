"""Layers in recipes: a list of numbers, or a band that fits an encoder of any depth."""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from distxfer._lists import comma_separated
from distxfer.errors import InputError

Band = Literal["all", "lower", "middle", "upper", "lower_half", "upper_half"]


def _split(value: object) -> object:
    """Accept one number as a list of one."""
    return (value,) if isinstance(value, int) else comma_separated(*get_args(Band))(value)


Layers = Annotated[tuple[int, ...] | Band, BeforeValidator(_split)]


def layer_numbers(layers: Sequence[int] | str, depth: int, key: str) -> tuple[int, ...]:
    """Return the numbers (1 to `depth`) that a recipe's `layers` means for an encoder of `depth` blocks.

    `lower`, `middle` and `upper` are the thirds of the blocks, rounded (4, 4 and 4 of 12); `lower_half` and `upper_half`
    the halves; of an odd number, the upper one is larger.

    Raises InputError, naming `key`, for a number out of range, a number twice, or no layer at all.
    """
    if isinstance(layers, str):
        low, half, high = round(depth / 3), depth // 2, round(2 * depth / 3)
        bands = {
            "all": (0, depth), "lower": (0, low), "middle": (low, high), "upper": (high, depth),
            "lower_half": (0, half), "upper_half": (half, depth),
        }  # fmt: skip
        layers = range(bands[layers][0] + 1, bands[layers][1] + 1)
    numbers = tuple(layers)
    wrong = [number for number in numbers if not 1 <= number <= depth]
    if wrong:
        raise InputError(f"`{key}` names layer `{wrong[0]}`, but this encoder has layers 1 to {depth}.")
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise InputError(f"`{key}` names layer `{twice}` twice. Name each layer once.")
    if not numbers:
        raise InputError(
            f"`{key}` names no layer of this encoder of {depth} layers. Give numbers from 1 to {depth}, or `all`."
        )
    return numbers
