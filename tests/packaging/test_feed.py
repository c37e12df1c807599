"""The repository as an OpenWrt feed: what include/scan.mk finds, and what the package says.

A miniature of the buildroot stands in for the real one: rules.mk and package.mk reduced to what
they do with a package's variables.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lastlog_py import __version__

from .make import ROOT, make

# The words of scan.mk for packages, and for targets.
SCANNED = re.compile(r"call (Build/DefaultTargets|BuildPackage|KernelPackage|BuildTarget)")
DUMP = """
define BuildPackage
  $(eval $(Package/$(1)))
  $(info package $(1))
  $(info depends $(DEPENDS))
  $(info arch $(PKGARCH))
  $(info title $(TITLE))
  $(info version $(PKG_VERSION)-r$(PKG_RELEASE))
  $(info sources $(PKG_FILE_DEPENDS))
  $(info conffiles $(Package/$(1)/conffiles))
  $(info description $(if $(Package/$(1)/description),yes,no))
  all: install-$(1)
  install-$(1): ; $(call Package/$(1)/install,$(OUT)/$(1))
  export V_$(subst -,_,$(1))=$$(call Package/$(1)/postinst)
  postinst-$(1): ; @echo "$$$$V_$(subst -,_,$(1))"
endef
"""


def makefiles() -> list[Path]:
    """What the scanner looks at: files called Makefile down to the fifth level."""
    return [path for path in ROOT.rglob("Makefile")
            if len(path.relative_to(ROOT).parts) <= 5
            and not {".venv", "build", ".git"} & set(path.relative_to(ROOT).parts)]


def test_only_the_stub_shows_the_scanner_its_words() -> None:
    shown = [path for path in makefiles() if SCANNED.search(path.read_text())]
    assert shown == [ROOT / "package/lastlog/Makefile"]


def test_the_stub_names_what_it_depends_on() -> None:
    stub = (ROOT / "package/lastlog/Makefile").read_text()
    assert re.search(r"^SCAN_DEPS *= *\.\./\.\./Makefile$", stub, re.MULTILINE)
    assert re.search(r"^include \.\./\.\./Makefile$", stub, re.MULTILINE)


@pytest.fixture
def buildroot(tmp_path: Path) -> Path:
    """A miniature buildroot, with the repository linked in as scripts/feeds does."""
    (tmp_path / "include").mkdir()
    (tmp_path / "rules.mk").write_text("INCLUDE_DIR := $(TOPDIR)/include\nall:\n")
    (tmp_path / "include/package.mk").write_text(DUMP)
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds/lastlog").symlink_to(ROOT)
    (tmp_path / "package/feeds/lastlog").mkdir(parents=True)
    stub = "../../../feeds/lastlog/package/lastlog"
    (tmp_path / "package/feeds/lastlog/lastlog").symlink_to(stub)
    return tmp_path


def build(buildroot: Path, *goals: str) -> str:
    """The output of the package's Makefile, entered as the buildroot does."""
    done = make("-rs", "-C", "package/feeds/lastlog/lastlog", f"TOPDIR={buildroot}",
                f"OUT={buildroot}/out", *goals, folder=buildroot)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_packages_are_defined(buildroot: Path) -> None:
    said = build(buildroot).splitlines()
    assert [line for line in said if line.startswith("package ")] == [
        "package lastlog", "package luci-app-lastlog"]
    assert "depends +python3-light +python3-jinja2" in said
    assert "depends +luci-base +rpcd +lastlog" in said
    assert said.count("arch all") == said.count("description yes") == 2
    assert said.count(f"version {__version__}-r1") == 2
    assert "conffiles /etc/config/lastlog" in said


def test_a_changed_source_is_noticed(buildroot: Path) -> None:
    """The buildroot compares the times of these; it overlooks paths that begin with a dot."""
    said = build(buildroot).splitlines()
    (sources,) = {line for line in said if line.startswith("sources ")}
    assert set(sources.split()[1:]) == {
        str(ROOT / name) for name in ("Makefile", "files", "lastlog_py", "luasrc", "package")}


def test_both_worlds_lay_out_the_same_files(buildroot: Path, tmp_path: Path) -> None:
    build(buildroot)
    make("install", f"DESTDIR={tmp_path}/pc").check_returncode()
    built = _tree(buildroot / "out/lastlog") | _tree(buildroot / "out/luci-app-lastlog")
    assert built == _tree(tmp_path / "pc")


@pytest.mark.parametrize("name", ["lastlog", "luci-app-lastlog"])
def test_scripts_arrive_as_they_are(name: str, buildroot: Path) -> None:
    """Dollar signs survive make, as OpenWrt's BuildPackVariable hands them on."""
    said = build(buildroot, f"postinst-{name}")
    script = (ROOT / "package/control" / name / "postinst").read_text()
    assert script.strip() in said


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}
