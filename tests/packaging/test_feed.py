"""The repository as an OpenWrt feed: what include/scan.mk finds, and what the package says.

A miniature of the buildroot stands in for the real one: rules.mk, package.mk and kernel.mk reduced
to what they do with a package's variables.
"""

from __future__ import annotations

import re
import tarfile
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


# include/kernel.mk, and what it makes of a package; LINUX_DIR is the kernel's tree, which has no
# sources in the SDK.
KERNEL = """
BUILD := $(TOPDIR)/build_dir
ifeq ($(DUMP),)
  LINUX_DIR := $(BUILD)/linux-6.6.93
  PKG_BUILD_DIR = $(BUILD)/$(PKG_NAME)
  -include $(LINUX_DIR)/.config
endif
DL_DIR := $(TOPDIR)/dl
LINUX_SOURCE := linux-6.6.93.tar.xz
LINUX_SITE := @KERNEL/linux/kernel/v6.x
LINUX_KERNEL_HASH := 0123abcd
KERNEL_MAKE = $(MAKE) -C $(LINUX_DIR)

define KernelPackage
  $(eval $(KernelPackage/$(1)))
  $(info package kmod-$(1))
  $(info depends $(DEPENDS))
  $(info kconfig $(KCONFIG))
  $(info files $(patsubst $(TOPDIR)/%,%,$(FILES)))
  $(info autoload $(AUTOLOAD))
  $(info source $(PKG_SOURCE) $(PKG_SOURCE_URL) $(PKG_HASH))
  all: ; $(Build/Prepare)
	$(Build/Configure)
	$(Build/Compile)
endef
"""


def makefiles() -> list[Path]:
    """What the scanner looks at: files called Makefile down to the fifth level."""
    return [path for path in ROOT.rglob("Makefile")
            if len(path.relative_to(ROOT).parts) <= 5
            and not {".venv", "build", ".git"} & set(path.relative_to(ROOT).parts)]


def test_only_the_entries_show_the_scanner_its_words() -> None:
    shown = {path for path in makefiles() if SCANNED.search(path.read_text())}
    assert shown == {ROOT / "package/lastlog/Makefile", ROOT / "package/phram/Makefile"}


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
    (tmp_path / "include/kernel.mk").write_text(KERNEL)
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds/lastlog").symlink_to(ROOT)
    (tmp_path / "package/feeds/lastlog").mkdir(parents=True)
    for entry in ("lastlog", "phram"):
        (tmp_path / "package/feeds/lastlog" / entry).symlink_to(
            f"../../../feeds/lastlog/package/{entry}")
    return tmp_path


def build(buildroot: Path, *goals: str, entry: str = "lastlog") -> str:
    """The output of an entry's Makefile, entered as the buildroot does."""
    done = make("-rs", "-C", f"package/feeds/lastlog/{entry}", f"TOPDIR={buildroot}",
                f"OUT={buildroot}/out", *goals, folder=buildroot)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_packages_are_defined(buildroot: Path) -> None:
    said = build(buildroot).splitlines()
    assert [line for line in said if line.startswith("package ")] == [
        "package lastlog", "package luci-app-lastlog"]
    assert ("depends +python3-light +python3-jinja2 +kmod-ramoops"
            " +!TARGET_x86:kmod-mtd-phram") in said
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


# --- kmod-mtd-phram


IN_TREE = ["package kmod-mtd-phram", "depends @!TARGET_x86", "kconfig CONFIG_MTD_PHRAM",
           "files build_dir/linux-6.6.93/drivers/mtd/devices/phram.ko", "autoload ", "source   "]


def kernel_tree(buildroot: Path, config: str, *sources: str) -> None:
    """A kernel's tree, and a Makefile in it that says how it is called."""
    tree = buildroot / "build_dir/linux-6.6.93"
    tree.mkdir(parents=True)
    (tree / ".config").write_text(config)
    (tree / "Makefile").write_text("modules: ; @echo modules in $(M)\n")
    for name in sources:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")


def tarball(buildroot: Path) -> None:
    """A kernel's source in dl/, with more in it than is wanted."""
    source = buildroot / "linux-6.6.93"
    for name in ("Makefile", "drivers/mtd/devices/phram.c", "drivers/mtd/devices/slram.c"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"{name}\n")
    (buildroot / "dl").mkdir()
    with tarfile.open(buildroot / "dl/linux-6.6.93.tar.xz", "w:xz") as tar:
        tar.add(source, source.name)


def test_phram_is_built_by_the_kernel_where_its_sources_are(buildroot: Path) -> None:
    kernel_tree(buildroot, "CONFIG_MTD=y\n", "drivers/mtd/devices/phram.c")
    assert build(buildroot, entry="phram").splitlines() == IN_TREE


def test_a_kernel_that_is_not_unpacked_yet_will_build_it(buildroot: Path) -> None:
    assert build(buildroot, entry="phram").splitlines() == IN_TREE


def test_nothing_is_built_upon_a_kernel_without_mtd(buildroot: Path) -> None:
    """KernelPackage makes an empty package then, and says so; nothing is downloaded for it."""
    kernel_tree(buildroot, "# CONFIG_MTD is not set\n")
    assert build(buildroot, entry="phram").splitlines() == IN_TREE


def test_the_scan_sees_what_the_kernel_is_to_build(buildroot: Path) -> None:
    """Without it a buildroot would not put the driver into its kernel's configuration."""
    said = build(buildroot, "DUMP=1", "-n", entry="phram").splitlines()
    assert "package kmod-mtd-phram" in said and "kconfig CONFIG_MTD_PHRAM" in said


def test_phram_is_an_external_module_in_the_sdk(buildroot: Path) -> None:
    kernel_tree(buildroot, "CONFIG_MTD=y\n# CONFIG_MTD_PHRAM is not set\n")
    tarball(buildroot)
    said = build(buildroot, entry="phram").splitlines()
    folder = buildroot / "build_dir/phram"
    assert "kconfig " in said and "files build_dir/phram/phram.ko" in said
    assert "source linux-6.6.93.tar.xz @KERNEL/linux/kernel/v6.x 0123abcd" in said
    assert f"modules in {folder}" in said
    assert {path.name for path in folder.iterdir()} == {"phram.c", "Kbuild"}
    assert (folder / "phram.c").read_text() == "drivers/mtd/devices/phram.c\n"


def test_no_source_of_the_kernel_is_in_the_repository() -> None:
    assert {path.name for path in (ROOT / "package/phram").iterdir()} == {"Makefile", "phram.mk"}


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}
