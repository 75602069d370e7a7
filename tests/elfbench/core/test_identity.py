from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elfbench.core.canonical import array_digest, canonical_json, digest
from elfbench.core.seeds import row_generator, row_seed, row_seeds

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_json_reads_back(document: object) -> None:
    assert json.loads(canonical_json(document)) == document


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_key_order_does_not_matter(document: dict[str, int]) -> None:
    assert digest(document) == digest(dict(reversed(list(document.items()))))


def test_digest_is_sha256_of_the_compact_form() -> None:
    assert digest({"b": 1, "a": [1.5, None]}) == hashlib.sha256(b'{"a":[1.5,null],"b":1}').hexdigest()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_has_no_identity(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"value": bad})


def test_array_digest_sees_shape_and_dtype() -> None:
    flat = np.arange(6)
    assert len({array_digest([flat]), array_digest([flat.reshape(2, 3)]), array_digest([flat.astype(np.int32)])}) == 3


def test_row_seed_is_the_first_53_bits_of_the_named_hash() -> None:
    state = hashlib.sha256(b"elfbench-row-1|7|12").hexdigest()
    assert row_seed(7, 12) == int(state, 16) >> (256 - 53)
    assert row_seeds(7, 10, 13)[2] == row_seed(7, 12)


def test_rows_and_draws_have_streams_of_their_own() -> None:
    first = row_generator(row_seed(0, 0), 0).random(4)
    assert np.array_equal(first, row_generator(row_seed(0, 0), 0).random(4))
    others = [row_generator(row_seed(0, 0), 1), row_generator(row_seed(0, 1), 0), row_generator(row_seed(1, 0), 0)]
    for other in others:
        assert not np.array_equal(first, other.random(4))
