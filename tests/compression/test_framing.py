"""Numbers in front of a code, against the bytes that other programs write for them."""

import pytest

from lvmlib.compression.framing import read_varint, varint


@pytest.mark.parametrize(
    ("n", "data"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "80 01"),
        (300, "ac 02"),  # the example in the documentation of Protocol Buffers
        (16_383, "ff 7f"),
        (16_384, "80 80 01"),
        (2**63 - 1, "ff ff ff ff ff ff ff ff 7f"),
    ],
)
def test_a_whole_number_has_its_bytes(n, data):
    assert varint(n) == bytes.fromhex(data)
    assert read_varint(varint(n) + b"rest") == (n, b"rest")


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 8, b"\xff" * 20])
def test_data_without_a_number_in_front_are_refused(data):
    with pytest.raises(ValueError, match="do not begin with a number of symbols"):
        read_varint(data)
