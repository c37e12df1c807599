"""phram.ko as package/phram builds it in OpenWrt's SDK, loaded into a real kernel.

The same fragment of make builds it from the source of Debian's kernel against its headers: out of
the kernel's tree, whose configuration is fixed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ..packaging.make import ROOT, make
from . import debian, headers, image, kernel, machine, trip

pytestmark = pytest.mark.qemu

HERE = Path(__file__).parent
FRAGMENT = ROOT / "package/phram/phram.mk"
CACHE = trip.BUILD / "cache"
TIME_LIMIT = 150.0              # seconds for both boots
MAKEFILE = f"""
include {FRAGMENT}
all:
	$(phram/prepare)
	$(phram/compile)
"""


@pytest.fixture(scope="module")
def chosen() -> kernel.Kernel:
    """Debian's current kernel."""
    try:
        debian.need("qemu-system-x86_64", "qemu-system-x86")
        return kernel.prepare("linux-image-amd64", CACHE)
    except debian.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def built(chosen: kernel.Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which phram.ko was built."""
    folder = tmp_path_factory.mktemp("phram")
    tarball = folder / "linux.tar.xz"
    try:
        tree = headers.build_tree(chosen.release, CACHE)
        headers.source(chosen.release, CACHE, tarball)
    except debian.Missing as missing:
        pytest.skip(str(missing))
    (folder / "Makefile").write_text(MAKEFILE)
    done = make(f"PHRAM_TARBALL={tarball}", f"PHRAM_DIR={folder}/build",
                f"KERNEL_MAKE=make -C {tree}", folder=folder)
    tarball.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build"


@pytest.fixture(scope="module")
def said(chosen: kernel.Kernel, built: Path,
         tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the guest said in its two boots: its first word -> the rest, each time."""
    folder = tmp_path_factory.mktemp("guest")
    (folder / "initramfs").write_bytes(initramfs(chosen, built / "phram.ko"))
    (folder / "disk").write_bytes(bytes(4096))      # the machine has one; this guest does not look
    lines: list[str] = []
    try:
        machine.boot_until_off(kernel.uncompressed(chosen), folder / "initramfs", folder / "disk",
                               folder / "console", TIME_LIMIT, lines.append)
    except debian.Missing as missing:
        pytest.skip(str(missing))
    except machine.Stuck as stuck:
        pytest.fail(str(stuck), pytrace=False)
    told: dict[str, list[str]] = {}
    for line in lines:
        word, _, rest = line.partition("phram: ")[2].partition(" ")
        told.setdefault(word, []).append(rest)
    return told


def initramfs(chosen: kernel.Kernel, module: Path) -> bytes:
    """A guest with nothing but busybox, the MTD core and this module."""
    entries: dict[str, bytes | None] = dict.fromkeys(("bin", "dev", "modules", "proc", "sys"))
    entries["bin/busybox"] = trip.busybox(CACHE).read_bytes()
    entries["init"] = (HERE / "guest/phram").read_bytes()
    entries["modules/phram.ko"] = module.read_bytes()
    entries |= {f"modules/{each.name}": each.read_bytes() for each in chosen.crash
                if each.name == "mtd.ko"}
    return image.cpio(entries)


def test_only_one_file_of_the_kernel_was_needed(built: Path) -> None:
    assert [path.name for path in built.glob("*.c") if path.name != "phram.mod.c"] == ["phram.c"]
    assert (built / "Kbuild").read_text() == "obj-m := phram.o\n"


def test_the_module_is_for_this_kernel_and_needs_the_mtd_core(chosen: kernel.Kernel,
                                                              built: Path) -> None:
    module = (built / "phram.ko").read_bytes()
    assert f"vermagic={chosen.release} ".encode() in module
    assert kernel.needs(module) == ["mtd"]
    assert b"\0intree=" not in module


def test_it_is_ours_that_the_kernel_loaded(chosen: kernel.Kernel, built: Path,
                                           said: dict[str, list[str]]) -> None:
    """O: from outside the tree; and its build id, which Debian's own does not have."""
    (debians,) = (path for path in chosen.crash if path.name == "phram.ko")
    assert [taint.count("O") for taint in said["taint"]] == [1, 1]
    for note in said["note"]:
        assert len(note) >= 40
        assert bytes.fromhex(note) in (built / "phram.ko").read_bytes()
        assert bytes.fromhex(note) not in debians.read_bytes()


def test_the_memory_is_an_mtd_device(said: dict[str, list[str]]) -> None:
    assert said["mtd"] == ['mtd0: 00100000 00001000 "lastlog"'] * 2


def test_what_was_written_is_read_and_survives_a_crash(said: dict[str, list[str]]) -> None:
    assert len(said["written"]) == 1
    assert said["read"] == said["written"]
    assert said["survived"] == said["written"]
