"""Language codes from anybody: a key, or one short message."""

from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import scaled
from distxfer.errors import InputError
from distxfer.languages import canonical

CODES = st.one_of(
    st.text(st.characters(), max_size=40),
    st.from_regex(r"[a-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}", fullmatch=True),
    st.sampled_from(["deu", "zh", "zho_Hans", "sr-Latn"]).flatmap(
        lambda code: st.tuples(st.just(code), st.text(max_size=3)).map("".join)
    ),
)


@settings(max_examples=scaled(200, 20_000), deadline=None)
@given(CODES)
def test_a_code_is_a_key_or_refused_briefly(code):
    try:
        key = canonical(code)
    except InputError as error:
        length = len(str(error))
    else:
        length = 0
        assert canonical(key) == key
    assert length < 2000
