"""`make ipk`: archives that opkg takes, with the files that `make install` lays out."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lastlog_py import __version__

from .make import ROOT, make

NAMES = ("lastlog", "luci-app-lastlog")
EPOCH = 1700000000
Members = dict[str, tuple[tarfile.TarInfo, bytes]]


def members(archive: bytes) -> Members:
    """The files and directories of a gzip'd tar, in the archive's order."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {info.name: (info, file.read() if (file := tar.extractfile(info)) else b"")
                for info in tar}


def build(folder: Path) -> Path:
    """`folder`, after `make ipk` filled it."""
    make("ipk", f"BUILD={folder}", SOURCE_DATE_EPOCH=str(EPOCH)).check_returncode()
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"))


def package(built: Path, name: str) -> Path:
    return built / f"{name}_{__version__}-r1_all.ipk"


@pytest.fixture(params=NAMES)
def ipk(request: pytest.FixtureRequest, built: Path) -> tuple[str, Members, Members, Members]:
    """A package: its name, the outer archive, the control archive and the data archive."""
    outer = members(package(built, request.param).read_bytes())
    return (request.param, outer, members(outer["./control.tar.gz"][1]),
            members(outer["./data.tar.gz"][1]))


def fields(control: Members) -> dict[str, str]:
    lines = control["./control"][1].decode().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_outer_archive_is_what_opkg_reads(ipk: tuple[str, Members, Members, Members]) -> None:
    _, outer, _, _ = ipk
    assert list(outer) == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
    assert outer["./debian-binary"][1] == b"2.0\n"


def test_members_are_roots_and_of_one_time(ipk: tuple[str, Members, Members, Members]) -> None:
    for archive in ipk[1:]:
        for info, _ in archive.values():
            assert (info.uid, info.gid, info.uname, info.mtime) == (0, 0, "root", EPOCH)


def test_control_fields(ipk: tuple[str, Members, Members, Members]) -> None:
    name, outer, control, _ = ipk
    known = fields(control)
    assert known["Package"] == name
    assert known["Version"] == f"{__version__}-r1"
    assert known["Architecture"] == "all"
    assert known["Depends"] == {"lastlog": "python3-light, python3-jinja2",
                                "luci-app-lastlog": "luci-base, rpcd, lastlog"}[name]
    assert known.get("Recommends") == {"lastlog": "kmod-ramoops, kmod-mtd-phram"}.get(name)
    assert known["Description"]
    with tarfile.open(fileobj=io.BytesIO(outer["./data.tar.gz"][1])) as tar:
        assert int(known["Installed-Size"]) >= sum(info.size for info in tar)


def test_scripts_are_those_of_an_openwrt_package(
        ipk: tuple[str, Members, Members, Members]) -> None:
    name, _, control, _ = ipk
    own = {path.name for path in (ROOT / "package/control" / name).iterdir()}
    for script in ("postinst", "prerm"):
        info, text = control[f"./{script}"]
        assert info.mode == 0o755 and f"default_{script} $0 $@".encode() in text
        assert (f"./{script}-pkg" in control) == (script in own)
    for other in own - {"postinst", "prerm"}:
        assert control[f"./{other}"][1] == (ROOT / "package/control" / name / other).read_bytes()


def test_the_configuration_survives_an_upgrade(built: Path) -> None:
    outer = members(package(built, "lastlog").read_bytes())
    assert members(outer["./control.tar.gz"][1])["./conffiles"][1] == b"/etc/config/lastlog\n"


def test_content_is_what_install_lays_out(built: Path, tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}").check_returncode()
    packed: dict[str, tuple[int, bytes]] = {}
    for name in NAMES:
        outer = members(package(built, name).read_bytes())
        packed |= {path: (info.mode, content)
                   for path, (info, content) in members(outer["./data.tar.gz"][1]).items()
                   if info.isfile()}
    laid = {f"./{path.relative_to(tmp_path)}": (path.stat().st_mode & 0o7777, path.read_bytes())
            for path in tmp_path.rglob("*") if path.is_file()}
    assert packed == laid


def test_the_same_source_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    build(tmp_path)
    for name in NAMES:
        assert package(tmp_path, name).read_bytes() == package(built, name).read_bytes()
