"""procfs.py: a process through its directory."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.procfs import Process, Status, find, look
from lastlog_py.site import Site
from tests.machine import Machine

STATUS = "Name:\ta\\nb\nUid:\t0\t65534\t0\t0\nGid:\t0\t0\t0\t0\nNSpid:\t812\t1\nCoreDumping:\t1\n"


@pytest.fixture
def process(machine: Machine) -> Iterator[Process]:
    """Number 812 of a made-up router."""
    files = {"status": STATUS.encode(), "comm": b"we ird\nx\n", "maps": b"00-10 r-xp\n",
             "cmdline": b"prog\0-a\0b c\0\0"}
    for name, content in files.items():
        machine.write(f"/proc/812/{name}", content)
    for pid, space in ((812, "mnt:[5]"), ("self", "mnt:[4]")):
        folder = machine.root / f"proc/{pid}/ns"
        folder.mkdir(parents=True)
        os.symlink(space, folder / "mnt")
        os.symlink("pid:[9]", folder / "pid")
    os.symlink("/usr/bin/prog (deleted)", machine.root / "proc/812/exe")
    os.symlink("/jail", machine.root / "proc/812/root")
    found = find(machine.site(), 812)
    assert found is not None
    yield found
    found.close()


def test_what_it_says(process: Process) -> None:
    assert process.name() == "we ird\nx" and process.command() == "prog -a b c"
    assert process.executable() == ("/usr/bin/prog", True)
    assert process.maps() == b"00-10 r-xp\n" and process.memory() is None
    assert process.status.uids == [0, 65534, 0, 0] and process.status.gids == [0] * 4
    assert process.status.namespaces == 2 and process.status.dumping is True
    assert process.foreign() == ["mnt", "root"]


MAPS = b"""00400000-00401000 r-xp 00000000 fe:00 77 /usr/sbin/prog
00500000-00501000 rw-p 00000000 00:00 0 [heap]
00600000-00602000 r-xp 00000000 00:2a 1 /mnt/usb/lib.so
00700000-00701000 r-xp 00000000 00:2b 1 /memfd:x
00800000-00801000 r--p 00000000 00:1f 9 /we ird
00900000-00901000 r--p 00000000 1f:0a 9 /rom/lib/libc.so
"""


@pytest.mark.parametrize(("kind", "is_read"), [
    ("tmpfs", True), ("ext4", True), ("overlay", True), ("fuse", False), ("fuse.sshfs", False),
    ("fuseblk", False), ("nfs4", False), ("9p", False)])
def test_what_may_never_come_is_not_read(machine: Machine, kind: str, is_read: bool) -> None:
    """Files on what others serve, and on what is not mounted here, whatever it calls itself."""
    machine.write("/proc/self/mountinfo", "1 1 254:0 / / rw - ext4 /dev/root rw\nnonsense\n"
                  f"2 1 0:42 / /mnt/usb rw shared:4 - {kind} x rw\n3 1 x:y / / rw - ext4 x rw\n"
                  "4 1 31:10 / /rom ro - squashfs x ro\n")
    machine.write("/proc/812/status", STATUS)
    found = find(machine.site(), 812)
    assert found is not None
    unread = [] if is_read else [(0x600000, 0x602000)]
    assert found.unread(MAPS) == [*unread, (0x700000, 0x701000), (0x800000, 0x801000)]
    assert found.unread(b"") == found.unread(b"00500000-00501000 rw-p 0 00:00 0\nx y z 1:1 q\n") \
        == []
    found.close()


def test_shared_memory_is_read_though_it_is_mounted_nowhere() -> None:
    found = look(Site(), os.getpid())
    assert found is not None
    fd = os.memfd_create("lastlog-test")
    os.ftruncate(fd, 4096)
    with mmap.mmap(fd, 4096), tempfile.TemporaryFile() as file:
        file.write(bytes(4096))
        file.flush()
        with mmap.mmap(file.fileno(), 4096):
            maps = found.maps()
            assert b"/memfd:lastlog-test" in maps and found.unread(maps) == []
    os.close(fd)
    found.close()


def test_its_directory_is_what_counts_not_its_number(machine: Machine, process: Process) -> None:
    """Another process gets the number: nothing of it is read."""
    os.rename(machine.root / "proc/812", machine.root / "proc/was812")
    machine.write("/proc/812/comm", "other\n")
    assert process.name() == "we ird\nx"


@pytest.mark.parametrize("status", ["CoreDumping:\t0\n", "Name:\tx\nCoreDumping:\t0\n"])
def test_a_process_that_does_not_dump_core_is_another_one(machine: Machine, status: str) -> None:
    machine.write("/proc/812/status", status)
    assert find(machine.site(), 812) is None


def test_what_is_not_there(machine: Machine) -> None:
    assert find(machine.site(), 812) is None
    (machine.root / "proc/812").mkdir(parents=True)
    process = find(machine.site(), 812)
    assert process is not None and process.status.dumping is None
    assert (process.name(), process.command(), process.executable()) == ("", "", ("", False))
    assert process.foreign() == [] and process.status.uids == []
    process.close()
    assert process.name() == ""


def test_files_are_bounded_and_no_link_is_followed(machine: Machine, process: Process) -> None:
    machine.write("/proc/812/auxv", bytes(1 << 20))
    assert len(process.read("auxv", 4096)) == 4096
    secret = machine.write("/secret", "secret")
    (machine.root / "proc/812/maps").unlink()
    os.symlink(secret, machine.root / "proc/812/maps")
    assert process.maps() == b""


def test_a_real_process() -> None:
    """It does not dump core; its memory, too, is read through the directory."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        while b"lib" not in Path(f"/proc/{child.pid}/maps").read_bytes():
            time.sleep(.01)                     # it is still on its way into its program
        fd = os.open(f"/proc/{child.pid}", os.O_RDONLY | os.O_DIRECTORY)
        process = Process(fd, os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY), child.pid)
        assert process.status.dumping is False and process.foreign() == []
        assert find(Site(), child.pid) is None
        first = next(line for line in process.maps().splitlines()
                     if line.split()[2] == b"00000000" and b"/" in line)    # of a file
        start = int(first.partition(b"-")[0], 16)
        memory = process.memory()
        assert memory is not None and os.pread(memory, 4, start) == b"\x7fELF"
        os.close(memory)
        process.close()
    finally:
        child.communicate(b"\n")


def test_a_name_that_looks_like_a_line() -> None:
    assert Status("Name:\tx\x0cCoreDumping:0\x85Uid: 5\n").dumping is None
    assert Status("Name:\tx\x0cCoreDumping:0\x85Uid: 5\n").uids == []


@given(st.text(max_size=200))
def test_whatever_a_status_holds(text: str) -> None:
    assert Status(text).dumping in (None, True, False)


def test_paths_with_odd_bytes(machine: Machine) -> None:
    folder = Path(machine.root / "proc/7")
    folder.mkdir(parents=True)
    os.symlink(b"/bin/\xff\nx", os.fsencode(folder / "exe"))
    process = find(machine.site(), 7)
    assert process is not None and process.executable() == ("/bin/\udcff\nx", False)
    process.close()
