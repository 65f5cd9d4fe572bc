"""Every architecture that transformers has a head for: it passes the check and can be frozen by layers, or is refused by name."""

import pytest

from conftest import save_tiny
from distxfer.encoders import Encoder
from survey import KINDS, PAGE, row, trained

UNLIKE = (
    "albert", "bloom", "convbert", "deberta-v2", "distilbert", "electra", "fnet", "funnel", "gemma3_text", "gpt2", "mpnet",
    "roformer", "t5", "xlm", "xmod",
)  # fmt: skip
ROWS = {line.split("`")[1]: line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")}


@pytest.mark.parametrize(
    "kind", [kind if kind in UNLIKE else pytest.param(kind, marks=pytest.mark.torture) for kind in KINDS]
)
def test_an_architecture_passes_the_check_or_is_refused_by_name(kind, tmp_path):
    line, answers = row(kind, save_tiny(tmp_path, "bert"))
    assert line == ROWS[kind]
    for refusal in (answer for answer in answers if isinstance(answer, str)):
        assert "\n" not in refusal
        assert kind in refusal or str(tmp_path) in refusal
    for encoder in (answer for answer in answers if isinstance(answer, Encoder)):
        moved = trained(encoder, frozen=2)
        assert not any(moved[name] for name in moved if encoder.place(name) == 2)
        assert {encoder.place(name) for name, far in moved.items() if far > 0} >= {1, "head"}


def test_the_page_has_every_architecture():
    assert [*ROWS] == KINDS
