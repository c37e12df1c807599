"""medium/pstorefs.py: the kernel's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.medium import pstorefs, ramoops
from tests import samples, zones


@pytest.mark.parametrize(("name", "expected"), [
    ("dmesg-ramoops-0", ("kernel", "ramoops", 0, False)),
    ("dmesg-ramoops-12.enc.z", ("kernel", "ramoops", 12, True)),
    ("console-ramoops", ("console", "ramoops", None, False)),
    ("console-ramoops-0", ("console", "ramoops", 0, False)),
    ("pmsg-ramoops-0", ("pmsg", "ramoops", 0, False)),
    ("dmesg-efi-163725", ("kernel", "efi", 163725, False)),
    ("dmesg-pstore_blk-1", ("kernel", "pstore_blk", 1, False)),
    ("powerpc-ofw-nvram-1", ("log", "nvram", 1, False)),
    ("README", None), (".", None), ("dmesg-ramoops-x", None), ("", None),
])
def test_names(name: str, expected: tuple[str, str, int | None, bool] | None) -> None:
    assert pstorefs.parse_name(name) == expected


@pytest.mark.parametrize(("notice", "corrected", "failed"), [
    (b"\nECC: No errors detected\n", 0, 0),
    (b"\nECC: 10 Corrected bytes, 2 unrecoverable blocks\n", 10, 2),
    (b"\nNo errors detected\n", 0, 0),
    (b"\n3 Corrected bytes, 0 unrecoverable blocks\n", 3, 0),
    (b"", None, None),
])
def test_the_ecc_notice_is_no_text(notice: bytes, corrected: int | None,
                                   failed: int | None) -> None:
    text = zones.log(5)
    record, problem = pstorefs.record_of("dmesg-ramoops-0", text + notice, 1.5)
    assert record is not None and record.text.encode() == text
    assert (record.source.ecc_corrected, record.source.ecc_failed) == (corrected, failed)
    assert (problem is not None) == bool(failed)


@pytest.mark.parametrize("name", ["s01_plain", "s02_ecc16", "a01_arm64_virt_dt", "s13_trunc"])
def test_the_file_and_the_region_give_the_same_record(name: str) -> None:
    (file,) = (file for file in samples.manifest()[name]["kernel_files"] if "dmesg" in file)
    (raw,) = ramoops.records(samples.region(name)).records
    record, _ = pstorefs.record_of(file, samples.kernel_file(name, file), raw.time)
    assert record is not None and record.id == raw.id


@pytest.mark.parametrize("name", ["k310_ftrace", "k310_odd", "k310_ecc"])
def test_a_file_with_the_header_line_is_the_record_of_the_region(name: str) -> None:
    """3.10 leaves the line in the file, whose time is that of the mount."""
    raw = {each.source.zone: each for each in ramoops.records(samples.region(name)).records
           if each.kind == "kernel"}
    files = [file for file in samples.manifest()[name]["kernel_files"] if "dmesg" in file]
    found = [pstorefs.record_of(file, samples.kernel_file(name, file), 1.0)[0] for file in files]
    assert len(files) == len(raw) == 3
    assert [each and each.id for each in found] == [
        raw[int(file.rpartition("-")[2])].id for file in files]


def test_what_only_looks_like_a_header_line_is_text() -> None:
    record, _ = pstorefs.record_of("dmesg-ramoops-0", b"==== 12\n<4>[    1.0] x\n", 1.5)
    assert record is not None and (record.time, record.text[:7]) == (1.5, "==== 12")


def test_listing_and_reading(tmp_path: Path) -> None:
    for name in ("dmesg-ramoops-1", "dmesg-ramoops-0", "stray"):
        (tmp_path / name).write_bytes(b"Panic#1 Part1\n")
    assert pstorefs.listing(str(tmp_path)) == ["dmesg-ramoops-0", "dmesg-ramoops-1"]
    assert pstorefs.listing(str(tmp_path / "missing")) == []
    data, time = pstorefs.read(str(tmp_path / "stray"))
    assert data == b"Panic#1 Part1\n" and time > 1e9


@pytest.mark.parametrize(("stamp", "time"), [
    (1795889071_654444000, 1795889071.654444), (1795889071_000000000, 1795889071.0),
    (1795889071_000654444, 1795889071.654444), (1795889071_000000042, 1795889071.000042),
    (1795889071_654444999, 1795889071.654444), (44_000007000, 44.000007)])
def test_the_time_of_a_file(stamp: int, time: float) -> None:
    """Kernels before 5.4 take the header's microseconds for nanoseconds."""
    assert pstorefs.seconds(stamp) == time


@pytest.mark.parametrize(("name", "stamp", "time"), [
    ("dmesg-ramoops-0", 1795889071_654444000, 1795889071.654444),
    ("dmesg-ramoops-0", 1795889071_000654444, 1795889071.654444),
    ("dmesg-ramoops-0", 1795889071_654444123, None),        # a clock's, not a header's
    ("dmesg-ramoops-0", 1795889071_000000000, None),        # tar and FAT know whole seconds only
    ("some-name", 1795889071_654444000, None),
    ("dmesg-efi-179588907102001", 1895889071_654444123, 1795889071.0),
    ("dmesg-efi_pstore-179588907102001", 0, 1795889071.0),
    ("dmesg-efi-3", 1895889071_654444123, None), ("dmesg-ramoops-0", 1895889071_340000000, None),
    ("dmesg-efi-" + "9" * 40, 0, None)])
def test_the_time_of_a_copy(name: str, stamp: int, time: float | None) -> None:
    assert pstorefs.copied_time(name, stamp) == time


@pytest.mark.parametrize(("called", "name"), [
    ("dmesg-ramoops-0", "dmesg-ramoops-0"), ("console-ramoops.txt", "console-ramoops"),
    ("router7_dmesg-efi-179588907102001.enc.z", "dmesg-efi-179588907102001.enc.z"),
    ("dmesg-efi_pstore-17 (1).log", "dmesg-efi_pstore-17"),
    ("powerpc-common-nvram-3.gz", "powerpc-common-nvram-3"), ("rtas-nvram-1", "rtas-nvram-1"),
    ("powerpc-opal-nvram-4", "powerpc-opal-nvram-4"), ("mce-erst-7681", "mce-erst-7681"),
    ("ftrace-mtdpstore-0", "ftrace-mtdpstore-0"), ("dmesg-pstore_blk-2", "dmesg-pstore_blk-2"),
    ("console-log-2024.bin", None), ("dmesg.txt", None), ("xpmsg-ramoops-0", None)])
def test_a_copy_may_have_a_name_of_its_own(called: str, name: str | None) -> None:
    assert pstorefs.name_in(called) == name


def test_console_files_have_no_time_of_their_own() -> None:
    record, _ = pstorefs.record_of("console-ramoops-0", b"[    1.0] x\n", 1700000000.0)
    assert record is not None and record.time is None and record.kind == "console"


@given(st.text(max_size=40), st.binary(max_size=200))
def test_nothing_raises(name: str, data: bytes) -> None:
    record, _ = pstorefs.record_of(name, data, None)
    assert (record is None) == (pstorefs.parse_name(name) is None)
    other, _ = pstorefs.record_of("dmesg-ramoops-0.enc.z", data, None)
    assert other is not None and (other.raw is None or data.startswith(other.raw))
