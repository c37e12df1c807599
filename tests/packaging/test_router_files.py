"""The router's small files: scripts, access list, menu, configuration, Lua controller."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import calls
from lastlog_py.config import load

ROOT = Path(__file__).parents[2]
ACL = ROOT / "files/usr/share/rpcd/acl.d/luci-app-lastlog.json"
MENU = ROOT / "files/usr/share/luci/menu.d/luci-app-lastlog.json"
CONTROLLER = ROOT / "luasrc/controller/lastlog.lua"
CONFIG = ROOT / "files/etc/config/lastlog"


def scripts() -> list[Path]:
    """Everything that is run by sh, on a router or here."""
    found = [path for folder in ("files", "package", ".ci") for path in (ROOT / folder).rglob("*")
             if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")]
    return sorted(found)


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "ash"]], ids=["dash", "ash"])
@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_are_for_any_shell(script: Path, shell: list[str]) -> None:
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} is not installed")
    done = subprocess.run([*shell, "-n", script], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_please_shellcheck(script: Path) -> None:
    """rc.common uses what it does not see used; `local` is in every shell that we meet."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    ignored = ["-e", "SC2034"] if script.parent.name == "init.d" else []
    done = subprocess.run(["shellcheck", "-s", "dash", "-S", "warning", *ignored, script],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_all_scripts_were_found() -> None:
    names = {path.name for path in scripts()}
    assert {"lastlog", "80-lastlog", "postinst", "postrm", "install.sh", "pc.sh", "run"} <= names


@pytest.mark.parametrize("name", ["lastlog", "luci-app-lastlog"])
def test_maintainer_scripts_leave_an_image_alone(name: str, tmp_path: Path) -> None:
    """Run for an image that is being built, they must not touch the machine that builds it."""
    for script in (ROOT / "package/control" / name).iterdir():
        if script.name != "conffiles":
            done = subprocess.run(["sh", "-eux", script], env={"IPKG_INSTROOT": str(tmp_path)},
                                  capture_output=True, text=True, timeout=10)
            assert done.returncode == 0
            assert [line for line in done.stderr.splitlines() if "exit" not in line
                    and not line.startswith("+ [")] == []


# --- access list and menu


def test_acl_grants_exactly_the_methods() -> None:
    assert set(json.loads(ACL.read_text())) == {"luci-app-lastlog"}
    group = json.loads(ACL.read_text())["luci-app-lastlog"]
    assert set(group) == {"description", "read", "write"}
    assert group["read"] == {"ubus": {"lastlog": ["status", "list", "get", "page"]}}
    assert group["write"] == {"ubus": {"lastlog": ["save", "clear", "store"]}}


def test_acl_names_every_method_of_the_plugin() -> None:
    """A method that no access list names is refused over HTTP even to root."""
    group = json.loads(ACL.read_text())["luci-app-lastlog"]
    named = group["read"]["ubus"]["lastlog"] + group["write"]["ubus"]["lastlog"]
    assert sorted(named) == sorted(calls.METHODS)


def test_menu_entry() -> None:
    assert json.loads(MENU.read_text()) == {"admin/system/lastlog": {
        "title": "Last Crash", "order": 91, "action": {"type": "view", "path": "system/lastlog"},
        "depends": {"acl": ["luci-app-lastlog"]}}}
    assert (ROOT / "files/www/luci-static/resources/view/system/lastlog.js").is_file()


# --- the Lua controller

# What luci.dispatcher gives a controller (luci-lua-runtime's dispatcher.lua), as JSON at the end.
DISPATCHER = """
module("luci.dispatcher", package.seeall)
entries = {}
function entry(path, target, title, order)
    local node = { title = title, order = order, action = target }
    entries[table.concat(path, "/")] = node
    return node
end
function _(text) return text end
%s
"""
RUN = """
package.path = "%s"
require "luci.dispatcher"
local controller = require "luci.controller.lastlog"
local index = controller.index
setfenv(index, setmetatable({}, { __index = luci.dispatcher }))()
for path, node in pairs(luci.dispatcher.entries) do
    print(string.format(
        '{"%%s": {"title": "%%s", "order": %%d, "action": {"type": "%%s", "path": "%%s"},' ..
        ' "depends": {"acl": ["%%s"]}}}',
        path, node.title, node.order, node.action.type, node.action.path,
        table.concat(node.acl_depends, '", "')))
end
"""
VIEW = 'function view(name) return { type = "view", path = name } end'


def controller_entries(tmp_path: Path, dispatcher: str) -> list[Any]:
    """The menu entries that the controller makes under `dispatcher`'s functions."""
    lua = shutil.which("lua5.1")
    if not lua:
        pytest.skip("lua5.1 is not installed")
    folder = tmp_path / "luci/controller"
    folder.mkdir(parents=True)
    shutil.copy(CONTROLLER, folder)
    (tmp_path / "luci/dispatcher.lua").write_text(DISPATCHER % dispatcher)
    (tmp_path / "run.lua").write_text(RUN % f"{tmp_path}/?.lua")
    done = subprocess.run([lua, tmp_path / "run.lua"], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_controller_says_what_the_menu_says(tmp_path: Path) -> None:
    assert controller_entries(tmp_path, VIEW) == [json.loads(MENU.read_text())]


@pytest.mark.parametrize("dispatcher", [
    "", "function view() error('no') end", VIEW + "\nentry = nil",
    VIEW + "\nfunction entry() return nil end",
], ids=["no view", "view throws", "no entry", "entry gives nothing"])
def test_controller_never_throws(dispatcher: str, tmp_path: Path) -> None:
    assert controller_entries(tmp_path, dispatcher) == []


# --- configuration


def test_shipped_configuration_is_understood_and_says_the_defaults(tmp_path: Path) -> None:
    shipped, nothing = load(str(CONFIG)), load(str(_empty(tmp_path)))
    assert shipped.problems == []
    assert (shipped.archive, shipped.archive_limit) == (nothing.archive, nothing.archive_limit)
    assert shipped.site.address is None


def test_the_region_example_is_understood(tmp_path: Path) -> None:
    example = tmp_path / "config"
    text = CONFIG.read_text().replace("0x...", "0x42ff0000")    # every router has its own
    example.write_text("\n".join(line.removeprefix("#") for line in text.splitlines()
                                 if not line.startswith("# ")))
    region = load(str(example)).site
    assert load(str(example)).problems == []
    assert (region.address, region.size, region.record_size) == (0x42FF0000, 0x100000, 0x10000)


def test_a_sysupgrade_keeps_what_was_saved() -> None:
    kept = (ROOT / "files/lib/upgrade/keep.d/lastlog").read_text().split()
    assert any(load(str(CONFIG)).archive.startswith(path) for path in kept)


def _empty(folder: Path) -> Path:
    path = folder / "empty"
    path.write_text("")
    return path
