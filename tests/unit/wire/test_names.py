"""Operation ids as people see them."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire.names import format_operation_id, parse_operation_id


@given(value=st.binary(min_size=16, max_size=16))
def test_operation_id_is_base32_and_comes_back_when_it_is_shown(value: bytes) -> None:
    """RFC 4648, in lower case and without padding."""
    shown = format_operation_id(value)
    assert shown == "op-" + base64.b32encode(value).decode().rstrip("=").lower()
    assert parse_operation_id(shown) == value


@given(value=st.binary(max_size=40))
def test_bytes_of_any_length_are_shown_as_an_operation_id_is(value: bytes) -> None:
    """Errors name what is no operation id, too."""
    assert format_operation_id(value) == "op-" + base64.b32encode(value).decode().rstrip("=").lower()
