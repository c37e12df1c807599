"""record.py: identity and JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.record import (
    Boot,
    Frame,
    Kernel,
    Oom,
    Record,
    Source,
    captured,
    from_dict,
    readable,
    to_dict,
)

CONTRACT = ("id kind state time time_trusted uptime boot title signature count first_seen "
            "last_seen text source kernel coredump").split()
SOURCE = "medium zone offset size compression ecc_corrected ecc_failed truncated torn".split()
KERNEL = ("reason sequence part cause function offset module process pid cpu address tainted "
          "release hardware trace oom").split()


def whole() -> Record:
    kernel = Kernel("panic", 2, 1, trace=(Frame("f", "0x1", None, True),),
                    oom=Oom("hostapd", 7, 12, None))
    return captured("kernel", b"text", Source("ramoops", 0, 0, 4), time=1700000000.25)._replace(
        kernel=kernel, boot=Boot("b", 3, "24.10", "6.6"))


def test_the_json_has_every_field_of_the_contract() -> None:
    fields = to_dict(whole())
    assert set(CONTRACT) <= set(fields) and "raw" not in fields
    assert set(SOURCE) <= set(fields["source"]) and set(KERNEL) <= set(fields["kernel"])
    assert fields["kernel"]["trace"][0] == {"function": "f", "offset": "0x1", "module": None,
                                            "reliable": True}
    assert "text" not in to_dict(whole(), text=False)


def test_the_json_comes_back_as_the_record() -> None:
    fields = json.loads(json.dumps(to_dict(whole())))
    assert from_dict(fields | {"of_the_future": 1}) == whole()


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_same_content_same_id(first: bytes, second: bytes) -> None:
    one, two = (captured("pmsg", body, Source("ramoops")) for body in (first, second))
    assert (one.id == two.id) == (first == second)
    assert len(one.id) <= 40 and set(one.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_time_and_kind_are_content_but_the_place_is_not() -> None:
    one = captured("kernel", b"x", Source("ramoops", 0), time=1.5)
    assert one.id == captured("kernel", b"x", Source("pstore", 4), time=1.5).id
    assert one.id != captured("kernel", b"x", Source("ramoops", 0), time=1.500001).id
    assert one.id != captured("console", b"x", Source("ramoops", 0), time=1.5).id


def test_bytes_that_text_cannot_stand_for_are_kept() -> None:
    assert captured("pmsg", b"l\x07\x00\xff", Source("ramoops")).raw == b"l\x07\x00\xff"
    assert captured("pmsg", "Gr\u00fc\u00dfe\n".encode(), Source("ramoops")).raw is None
    assert captured("pmsg", b"\xef\xbf\xbd", Source("ramoops")).raw is None      # U+FFFD itself
    assert captured("pmsg", b"\xef\xbf\xbd\xf0\xef\xbf\xbd", Source("ramoops")).raw is not None


def test_a_clock_nobody_set_is_not_trusted() -> None:
    assert not captured("kernel", b"x", Source("ramoops"), time=44.0).time_trusted
    assert captured("kernel", b"x", Source("ramoops"), time=1.8e9).time_trusted


@given(st.binary(max_size=200))
def test_text_never_holds_nul(body: bytes) -> None:
    assert "\0" not in readable(body)
    assert readable(body).encode().decode() == readable(body)


@given(st.lists(st.sampled_from([b"\xef\xbf\xbd", b"\xef", b"\xbf", b"\xbd", b"\xf0\x9f", b"\0",
                                 b"a", b"\xc3\xa9", b"\xed\xa0\x80"]), max_size=9).map(b"".join))
def test_raw_is_kept_where_the_text_cannot_stand_for_it(body: bytes) -> None:
    record = captured("pmsg", body, Source("ramoops"))
    assert (record.raw is None) == (record.text.encode() == body and b"\0" not in body)
