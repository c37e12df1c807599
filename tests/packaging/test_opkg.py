"""What `make ipk` makes, installed, upgraded and removed on a small router: by the real opkg where
there is one, and by a stand-in that does things in the same order everywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lastlog_py import __version__
from lastlog_py.config import load

from .by_hand import ByHand
from .chroot import Router, assemble, packed
from .make import ROOT, make

SCRIPTS = ROOT / "package/control/lastlog"
CONFIG = "etc/config/lastlog"
OLD_CONFIG = "config lastlog 'main'\n\toption archive '/etc/lastlog/saved'\n"
EDITED = "config lastlog 'main'\n\t# mine\n\toption archive '/mnt/usb'\n"
NEEDED = ("python3-light", "python3-jinja2", "luci-base", "rpcd")
SECTION = re.compile(r"^config ([a-z]+ '[a-z]+')$", re.MULTILINE)
STARTED = "procd_set_param command /usr/bin/lastlog harvest"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make ipk` filled."""
    folder = tmp_path_factory.mktemp("build")
    make("ipk", f"BUILD={folder}").check_returncode()
    return folder


@pytest.fixture(scope="module")
def lastlog(built: Path) -> Path:
    return built / f"lastlog_{__version__}-r1_all.ipk"


@pytest.fixture(scope="module")
def older(built: Path) -> Path:
    """A release before this one, with a module and a part that this one has not."""
    tree = built / "older"
    shutil.copytree(built / "ipk/lastlog", tree)
    (tree / CONFIG).write_text(OLD_CONFIG)
    (tree / "usr/lib/lastlog/lastlog_py/dropped.py").write_text("")
    (tree / "usr/lib/lastlog/lastlog_py/gone").mkdir()
    (tree / "usr/lib/lastlog/lastlog_py/gone/part.py").write_text("")
    return packed(tree, SCRIPTS, built, "lastlog", "0.0.9-r1",
                  depends="python3-light python3-jinja2")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    """A small router without a package manager."""
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("busybox is not installed")
    if os.geteuid() and subprocess.run(["unshare", "-r", "true"], capture_output=True).returncode:
        pytest.skip("needs root, or user namespaces, for chroot")
    return ByHand(assemble(tmp_path_factory.mktemp("bare") / "root", Path(busybox)).root)


@pytest.fixture(scope="module")
def managed(bare: ByHand, tmp_path_factory: pytest.TempPathFactory) -> Router:
    """One with opkg, and with a feed that has what the packages depend on."""
    opkg = shutil.which("opkg")
    if not opkg:
        pytest.skip("opkg is not installed; Debian has no package of it (OpenWrt: opkg-lede)")
    made = assemble(tmp_path_factory.mktemp("managed") / "root", bare.root / "bin/busybox",
                    Path(opkg))
    made.offer(*NEEDED)
    return made


@pytest.fixture(params=["bare", "managed"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Router:
    """A router for one test, of either kind."""
    model: Router = request.getfixturevalue(request.param)
    return model.copy(tmp_path / "router")


@pytest.fixture
def real(managed: Router, tmp_path: Path) -> Router:
    """One with opkg, for what only the real one does."""
    return managed.copy(tmp_path / "router")


def ours(router: Router) -> set[str]:
    """Files and directories that have to do with lastlog, opkg's own lists aside."""
    return {path for path in router.files() if "lastlog" in path
            and not path.startswith(("/incoming", "/feed", "/var/opkg-lists"))}


# --- install


def test_install_lays_out_everything(router: Router, built: Path, lastlog: Path) -> None:
    router.opkg("install", lastlog)
    wanted = {f"/{path.relative_to(built / 'ipk/lastlog')}"
              for path in (built / "ipk/lastlog").rglob("*") if path.is_file()}
    assert wanted - router.files() == {"/etc/uci-defaults/80-lastlog"}      # it runs once
    assert f"lastlog - {__version__}-r1" in router.opkg("list-installed")


def test_install_enables_and_starts_the_service(router: Router, lastlog: Path) -> None:
    router.opkg("install", lastlog)
    log = router.log()
    assert {"/etc/rc.d/S13lastlog", "/etc/rc.d/K88lastlog"} <= router.files()
    assert [line for line in log if line.endswith((" lastlog", "compileall -q /usr/lib/lastlog",
                                                   "bundle.py"))
            or line == STARTED or line.startswith("rpcd")] == [
        "python3 -I -m compileall -q /usr/lib/lastlog",
        "python3 -I /usr/lib/lastlog/lastlog_py/bundle.py", "rpcd reload", "enable lastlog",
        "start lastlog", STARTED, "procd_add_reload_trigger lastlog"]


def test_a_fresh_configuration_is_the_shipped_one(router: Router, lastlog: Path) -> None:
    """Else opkg would take it for the owner's work, and keep it for ever."""
    router.opkg("install", lastlog)
    assert router.text(CONFIG) == (ROOT / "files" / CONFIG).read_text()
    assert "lastlog" not in router.opkg("list-changed-conffiles")


def test_an_installation_is_no_flashed_image(router: Router, lastlog: Path) -> None:
    router.opkg("install", lastlog)
    assert "/var/run/lastlog/flashed" not in router.files()


def test_both_packages_go_in_and_out(router: Router, built: Path, lastlog: Path) -> None:
    app = built / f"luci-app-lastlog_{__version__}-r1_all.ipk"
    before = ours(router)
    router.write("tmp/luci-indexcache.123.json", "")
    router.opkg("install", lastlog, app)
    assert "/www/luci-static/resources/view/system/lastlog.js" in router.files()
    assert "/tmp/luci-indexcache.123.json" not in router.files()
    router.opkg("remove", "luci-app-lastlog", "lastlog")
    assert ours(router) == before


def test_a_missing_dependency_is_said(real: Router, built: Path) -> None:
    app = built / f"luci-app-lastlog_{__version__}-r1_all.ipk"
    assert "lastlog" in real.opkg("install", app, status=255)


# --- the kernel's modules


def test_modules_that_the_feed_has_come_along(real: Router, lastlog: Path) -> None:
    real.offer("kmod-ramoops")
    real.opkg("install", lastlog)
    assert "kmod-ramoops - 1-r1" in real.opkg("list-installed")


def test_it_installs_where_no_feed_has_the_modules(real: Router, lastlog: Path) -> None:
    said = real.opkg("install", lastlog)
    assert "unsatisfied recommendation for kmod-mtd-phram" in said
    assert "kmod" not in real.opkg("list-installed")


# --- upgrade


def test_upgrade_keeps_what_the_owner_changed(router: Router, older: Path, lastlog: Path) -> None:
    router.opkg("install", older)
    router.write(CONFIG, EDITED)
    router.opkg("install", lastlog)
    assert router.text(CONFIG).startswith(EDITED)
    kept = load(str(router.root / CONFIG))
    assert (kept.archive, kept.problems) == ("/mnt/usb", [])
    assert router.text(f"{CONFIG}-opkg") == (ROOT / "files" / CONFIG).read_text()
    assert f"lastlog - {__version__}-r1" in router.opkg("list-installed")


def test_upgrade_brings_the_new_default_configuration(router: Router, older: Path,
                                                      lastlog: Path) -> None:
    """What the first run added to the old default must not count as the owner's change."""
    router.opkg("install", older)
    router.write(CONFIG, OLD_CONFIG)
    router.opkg("install", lastlog)
    assert router.text(CONFIG) == (ROOT / "files" / CONFIG).read_text()
    assert f"/{CONFIG}-opkg" not in router.files()


def test_upgrade_restarts_without_marking_a_shutdown(router: Router, older: Path,
                                                     lastlog: Path) -> None:
    router.opkg("install", older)
    router.log()
    router.opkg("install", lastlog)
    log = router.log()
    assert [line for line in log if line in (
        "stop lastlog", "procd_kill lastlog", "start lastlog", STARTED, "enable lastlog",
        "disable lastlog", "shutdown lastlog")] == [
        "stop lastlog", "procd_kill lastlog", "start lastlog", STARTED]
    assert "/etc/rc.d/S13lastlog" in router.files()


def test_upgrade_of_a_service_that_was_disabled_leaves_it_so(router: Router, older: Path,
                                                             lastlog: Path) -> None:
    router.opkg("install", older)
    router.run("/etc/init.d/lastlog", "disable")
    router.opkg("install", lastlog)
    assert "/etc/rc.d/S13lastlog" not in router.files()


def test_upgrade_leaves_nothing_stale(router: Router, older: Path, lastlog: Path) -> None:
    router.opkg("install", older)
    router.write("usr/lib/lastlog/lastlog_py/__pycache__/dropped.cpython-311.pyc", "")
    router.opkg("install", lastlog)
    library = {path for path in router.files() if path.startswith("/usr/lib/lastlog/")}
    assert not {path for path in library if "dropped" in path or "part" in path}
    assert "/usr/lib/lastlog/lastlog_py/__pycache__/new.pyc" in library


def test_saved_crashes_outlive_upgrade_and_removal(router: Router, older: Path,
                                                   lastlog: Path) -> None:
    router.opkg("install", older)
    router.write("etc/lastlog/saved/k-1.gz", "a crash")
    router.write("etc/lastlog/boots", "a boot")
    router.opkg("install", lastlog)
    router.opkg("remove", "lastlog")
    assert router.text("etc/lastlog/saved/k-1.gz") == "a crash"
    assert router.text("etc/lastlog/boots") == "a boot"


# --- removal


def test_removal_leaves_nothing(router: Router, lastlog: Path) -> None:
    before = ours(router)
    router.opkg("install", lastlog)
    router.write("var/run/lastlog/boot", "note")
    router.opkg("remove", "lastlog")
    assert ours(router) == before
    assert router.log()[-1] == "rpcd reload"


def test_removal_keeps_a_changed_configuration(router: Router, lastlog: Path) -> None:
    before = ours(router)
    router.opkg("install", lastlog)
    router.write(CONFIG, EDITED)
    router.opkg("remove", "lastlog")
    assert ours(router) - before == {f"/{CONFIG}"}
    assert router.text(CONFIG) == EDITED


def test_removal_stops_and_disables(router: Router, lastlog: Path) -> None:
    router.opkg("install", lastlog)
    router.log()
    router.opkg("remove", "lastlog")
    assert router.log() == ["disable lastlog", "stop lastlog", "procd_kill lastlog", "rpcd reload"]


# --- an image that is being built


def test_an_offline_root_gets_the_files_and_no_scripts(real: Router, older: Path,
                                                       lastlog: Path) -> None:
    """As the image builder does it: opkg --offline-root, from outside."""
    real.opkg("install", older, "--offline-root", "/")
    real.write(CONFIG, EDITED)
    real.opkg("install", lastlog, "--offline-root", "/")
    assert real.text(CONFIG) == EDITED
    assert real.log() == []
    assert "/etc/uci-defaults/80-lastlog" in real.files()     # for the first boot
    real.opkg("remove", "lastlog", "--offline-root", "/")
    assert "/usr/bin/lastlog" not in real.files()


@pytest.fixture
def flashed(bare: ByHand, lastlog: Path, tmp_path: Path) -> Router:
    """A router with a new image, before its first boot runs /etc/uci-defaults."""
    router = bare.copy(tmp_path / "router")
    router.opkg("install", lastlog)
    shutil.copy(ROOT / "files/etc/uci-defaults/80-lastlog", router.root / "etc/uci-defaults")
    router.write("rom/" + CONFIG, (ROOT / "files" / CONFIG).read_text())
    return router


def test_the_first_boot_of_an_image_is_noted(flashed: Router) -> None:
    """For the harvest: sysupgrade leaves no clean mark."""
    flashed.run("sh", "/etc/uci-defaults/80-lastlog")
    note = flashed.root / "var/run/lastlog/flashed"
    assert (note.stat().st_mode & 0o777, note.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("settings", [OLD_CONFIG, EDITED], ids=["old default", "edited"])
def test_settings_of_an_older_image_get_the_new_sections(flashed: Router, settings: str) -> None:
    flashed.write(CONFIG, settings)
    flashed.run("sh", "/etc/uci-defaults/80-lastlog")
    text = flashed.text(CONFIG)
    assert text.startswith(settings)
    assert SECTION.findall(text) == SECTION.findall((ROOT / "files" / CONFIG).read_text())


def test_settings_that_uci_cannot_read_are_left_alone(flashed: Router) -> None:
    flashed.write(CONFIG, "not uci")
    flashed.run("sh", "/etc/uci-defaults/80-lastlog")
    assert flashed.text(CONFIG) == "not uci"
