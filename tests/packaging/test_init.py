"""/etc/init.d/lastlog under a stand-in for rc.common, in the shells that routers and PCs have."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from .make import ROOT

SCRIPT = ROOT / "files/etc/init.d/lastlog"
STAND_IN = Path(__file__).parent / "router"
NOTE = 'echo "${0##*/} $*" >> "$ROUTER/log"; '
SHELLS = [pytest.param(["dash"], id="dash"), pytest.param(["busybox", "ash"], id="ash")]


class Router:
    """A router's tree whose `lastlog` and `logread` are scripts of the test."""

    def __init__(self, root: Path, shell: list[str]) -> None:
        self.root, self.shell = root, shell
        shutil.copytree(STAND_IN / "lib", root / "lib")
        self.program("usr/bin/lastlog", NOTE + 'cat > "$ROUTER/log-end"')
        self.program("sbin/logread", NOTE + 'echo "the end of the log"')

    def program(self, path: str, body: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def configure(self, *options: str) -> None:
        file = self.root / "etc/config/lastlog"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("config lastlog 'main'\n" + "".join(f"\toption {each}\n"
                                                            for each in options))

    def run(self, action: str) -> float:
        """Run the script; seconds it took."""
        if not shutil.which(self.shell[0]):
            pytest.skip(f"{self.shell[0]} is not installed")
        begin = time.monotonic()
        done = subprocess.run([*self.shell, "-u", STAND_IN / "etc/rc.common", SCRIPT, action],
                              env={"ROUTER": str(self.root), "PATH": "/usr/bin:/bin"},
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60,
                              stderr=(self.root / "errors").open("w"))
        assert (done.returncode, (self.root / "errors").read_text()) == (0, "")
        return time.monotonic() - begin

    def log(self) -> list[str]:
        """What was called, one line each, after the action itself."""
        return (self.root / "log").read_text().replace(str(self.root), "").splitlines()[1:]


@pytest.fixture(params=SHELLS)
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Router:
    return Router(tmp_path, request.param)


def test_when_it_runs() -> None:
    """boot, sysctl and log are at 10, 11 and 12, the network at 19; they stop at 89 and 90."""
    numbers = dict(re.findall(r"^(START|STOP)=(\d+)$", SCRIPT.read_text(), re.MULTILINE))
    assert 12 < int(numbers["START"]) < 19
    assert 50 < int(numbers["STOP"]) < 89


@pytest.mark.parametrize("action", ["start", "boot", "reload"])
def test_start_hands_one_harvest_to_procd(router: Router, action: str) -> None:
    router.run(action)
    assert router.log() == [
        "procd_open_instance harvest", "procd_set_param command /usr/bin/lastlog harvest",
        "procd_set_param file /etc/config/lastlog", "procd_set_param stdout 1",
        "procd_set_param stderr 1", "procd_close_instance", "procd_add_reload_trigger lastlog"]


def test_an_archive_that_is_mounted_later_is_waited_for(router: Router) -> None:
    router.configure("archive '/mnt/usb/lastlog'")
    router.run("start")
    assert router.log()[-1] == "procd_add_reload_mount_trigger /mnt/usb/lastlog"


def test_stop_is_no_shutdown(router: Router) -> None:
    router.run("stop")
    assert router.log() == ["procd_kill lastlog"]


@pytest.mark.parametrize("options", [[], ["store_log 'on'"]], ids=["unset", "on"])
def test_shutdown_marks_and_hands_over_the_log(router: Router, options: list[str]) -> None:
    router.configure(*options)
    router.run("shutdown")
    assert sorted(router.log()) == ["lastlog shutdown", "logread -l 200"]
    assert (router.root / "log-end").read_text() == "the end of the log\n"


def test_shutdown_leaves_the_log_alone_if_told_so(router: Router) -> None:
    router.configure("store_log '0'")
    router.run("shutdown")
    assert router.log() == ["lastlog shutdown"]
    assert (router.root / "log-end").read_text() == ""


def test_shutdown_without_logread_marks(router: Router) -> None:
    router.program("sbin/logread", "exit 127")
    router.run("shutdown")
    assert router.log() == ["lastlog shutdown"]


@pytest.mark.parametrize("stuck", ["usr/bin/lastlog", "sbin/logread"])
def test_what_is_stuck_does_not_stop_a_reboot(router: Router, stuck: str) -> None:
    router.program(stuck, f'echo $$ > "$ROUTER/pid"; exec sleep 40 # {stuck}')
    took = router.run("shutdown")
    subprocess.run(["kill", (router.root / "pid").read_text().strip()], check=True)
    assert 0.8 < took < 8               # the stand-in's seconds are 0.1 s
