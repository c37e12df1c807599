"""coredump/sysroot.py: the program's paths inside a copy of its root file system."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lastlog_py.coredump.sysroot import Sysroot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/libc.so").write_bytes(b"\x7fELF" + bytes(600))
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/ld-musl-mips.so.1").symlink_to("/lib/libc.so")
    (root / "usr/lib/text.so").write_text("libc.so")
    (root / "usr/lib/up").symlink_to("../../../../../../etc/passwd")
    (root / "usr/lib/loop").symlink_to("loop")
    (root / "flat.so").write_bytes(b"\x7fELF" + bytes(600))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("secret" * 100)
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(("path", "found"), [
    ("/usr/lib/libc.so", "/usr/lib/libc.so"), ("/lib/libc.so", "/usr/lib/libc.so"),
    ("/lib/ld-musl-mips.so.1", "/usr/lib/libc.so"), ("lib/../lib/./libc.so", "/usr/lib/libc.so"),
    ("/lib/text.so", "/usr/lib/libc.so"),                       # a link kept as text
    ("/lib/ld-musl-arm.so.1", "/usr/lib/libc.so"),              # no link at all
    ("/opt/bin/flat.so", "/flat.so"), ("flat.so", "/flat.so"),
    ("/home/me/router/usr/lib/libc.so", "/usr/lib/libc.so"),    # started from a copy
    ("/../../../usr/lib/libc.so", "/usr/lib/libc.so"),
    ("/" * 4090 + "usr/lib/libc.so", None),                     # Linux allows no such path
    ("/lib/up", None), ("/lib/loop", None), ("/lib", None), ("/pipe", None), ("", None),
    ("/no\0such", None), ("/" + "x" * 5000, None), ("/no/such", None), ("/etc/passwd", None)])
def test_find(root: Path, path: str, found: str | None) -> None:
    assert Sysroot(str(root)).find(path) == found


def test_a_path_of_very_many_parts_costs_little(root: Path) -> None:
    """A core may name one of 2 MiB, or thousands of 4 KiB."""
    sysroot, started = Sysroot(str(root)), time.process_time()
    assert sysroot.find("/a" * (1 << 20)) is None
    assert all(sysroot.find("/a" * 2000) is None for _ in range(1000))
    assert time.process_time() - started < 5


def test_open_keeps_one_descriptor_per_file(root: Path) -> None:
    sysroot = Sysroot(str(root))
    fd = sysroot.open("/usr/lib/libc.so")
    assert fd is not None and fd == sysroot.open("/usr/lib/libc.so")
    assert os.pread(fd, 4, 0) == b"\x7fELF"
    assert sysroot.open("/no/such") is None
    sysroot.close()
    with pytest.raises(OSError):
        os.fstat(fd)
