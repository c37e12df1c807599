"""symbolize.py: functions, files and lines, against addr2line on files compiled here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lastlog_py.coredump import symbolize as module
from lastlog_py.coredump.elf import first_page, header, segments
from lastlog_py.errors import LastlogError
from tests.coredump.compiled import COMPILERS
from tests.coredump.test_u1 import dump, frame

pytest.importorskip("elftools", reason="pyelftools is not installed")

SOURCE = Path(__file__).with_name("inlined.c")
CPLUSPLUS = Path(__file__).with_name("inlined.cpp")
NAMES = ("deepest", "middle", "look_up", "plain", "entry")
BINUTILS = {"i386": "", "thumb": "arm-linux-gnueabihf-"}
Dict = dict[str, Any]


class Built:
    """inlined.c as a library: unstripped in `debug`, as on a router in `stripped`."""

    def __init__(self, machine: str, folder: Path, *flags: str) -> None:
        command = COMPILERS[machine]
        self.prefix = BINUTILS.get(machine, COMPILERS[machine][0].removesuffix("gcc"))
        if not shutil.which(command[0]) or not shutil.which(self.prefix + "addr2line"):
            pytest.skip(f"{command[0]} and its binutils are not installed")
        self.debug = folder / "build_dir" / "target" / "httpd-1.0" / "libinlined.so.1"
        self.debug.parent.mkdir(parents=True)
        done = subprocess.run([*command, "-g", "-O2", "-fPIC", "-shared", "-nostdlib", *flags, "-o",
                               str(self.debug), str(SOURCE)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{command[0]} cannot build this: {done.stderr.strip()[-100:]}")
        self.stripped = folder / "libinlined.so.1"
        subprocess.run([self.prefix + "strip", "-o", self.stripped, self.debug], check=True)

    def text(self) -> range:
        """The addresses of .text, every other one."""
        out = subprocess.run([self.prefix + "readelf", "-SW", self.debug], capture_output=True,
                             text=True, check=True).stdout
        row = next(line for line in out.splitlines() if " .text " in line).split(".text")[1].split()
        return range(int(row[1], 16), int(row[1], 16) + int(row[3], 16), 2)

    def addr2line(self, addresses: list[int]) -> list[list[tuple[str, str]]]:
        """[(function, "file:line")…] of each, innermost first."""
        out = subprocess.run([self.prefix + "addr2line", "-fia", "-e", self.debug,
                              *map(hex, addresses)], capture_output=True, text=True,
                             check=True).stdout.splitlines()
        found: list[list[tuple[str, str]]] = []
        lines = iter(out)
        for line in lines:
            if line.startswith("0x"):
                found.append([])
            else:
                place = next(lines).partition(" (discriminator")[0]
                found[-1].append((line, place.rpartition("/")[2]))
        return found

    def first_page(self) -> int:
        data = self.debug.read_bytes()
        head = header(data[:64])
        assert head is not None
        return first_page(segments(head, data[head.phoff:head.phoff + head.phnum * head.phentsize]))

    def row(self, **fields: Any) -> Dict:
        """The module as the router, which has the stripped file, tells of it."""
        return {"path": "/usr/lib/libinlined.so.1", "base": "0x77000000", "size": 0x4000,
                "build_id": None, "text_id": None} | fields


def told(lines: list[Dict]) -> list[tuple[str, str]]:
    return [(each["function"] or "??", f"{(each['file'] or '??').rpartition('/')[2]}:"
                                       f"{each['line'] or '?'}") for each in lines]


def identity(path: Path) -> dict[str, str | None]:
    """As the handler finds it, by our own reader."""
    from lastlog_py.coredump.debug_files import _image
    from lastlog_py.coredump.module import text_id

    with path.open("rb") as file:
        image = _image(file.fileno())
        assert image is not None
        return {"build_id": image.build_id, "text_id": text_id(image)}


@pytest.mark.parametrize("flags", [("-gdwarf-5",), ("-gdwarf-4",), ("-gdwarf-5", "-gz"),
                                   ("-gdwarf-3",)], ids=" ".join)
@pytest.mark.parametrize("machine", ["x86_64"])
def test_as_addr2line(machine: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    compare(Built(machine, tmp_path, *flags), tmp_path)


@pytest.mark.parametrize("machine", ["i386", "aarch64", "arm", "thumb", "mips", "mipsel",
                                     "powerpc", "riscv64"])
def test_as_addr2line_on_every_machine(machine: str, tmp_path: Path) -> None:
    compare(Built(machine, tmp_path), tmp_path)


def compare(built: Built, folder: Path) -> None:
    """Every address of the code, by the stripped file's build-id."""
    addresses = list(built.text())
    frames = [frame(f"/usr/lib/libinlined.so.1+{address - built.first_page():#x}",
                    how="registers") for address in addresses]
    row = built.row(build_id=identity(built.stripped)["build_id"])
    reply = module.symbolize(dump(*frames, modules=[row]), [str(folder)])
    assert reply["problems"] == []
    assert reply["coredump"]["modules"][0]["debug"] == str(built.debug)
    found = [told(each["lines"]) for each in reply["coredump"]["threads"][0]["frames"]]
    compared, seen = 0, set()
    for address, ours, theirs in zip(addresses, found, built.addr2line(addresses), strict=True):
        if ours and ours[0][0] == "??":         # padding: addr2line names the function before
            continue
        assert ours == theirs or theirs[0][1].endswith((":?", ":0")), hex(address)
        seen |= {name for name, _ in ours}
        compared += 1
    assert compared > len(addresses) // 2 and seen.issuperset(NAMES)


def test_names_within_names(tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed")
    library = tmp_path / "libinlined.so.1"
    subprocess.run(["g++", "-g", "-O2", "-fPIC", "-shared", "-o", library, CPLUSPLUS], check=True)
    row = {"path": "/a.so", "base": "0x0", "size": 1, **identity(library)}
    frames = [frame(f"/a.so+{address:#x}", how="registers") for address in range(0x1000, 0x1400, 2)]
    reply = module.symbolize(dump(*frames, modules=[row]), [str(tmp_path)])
    chains = [[each["function"] for each in row["lines"]]
              for row in reply["coredump"]["threads"][0]["frames"]]
    assert ["router::deepest", "router::middle", "router::Table::look_up"] in chains
    assert ["plain"] in chains and ["entry"] in chains


def test_a_caller_is_looked_up_in_its_call(tmp_path: Path) -> None:
    built = Built("x86_64", tmp_path)
    address = built.text()[2]
    place = f"/usr/lib/libinlined.so.1+{address - built.first_page():#x}"
    frames = [frame(place, how="registers"), frame(place, how="cfi"),
              frame(place, how="cfi"), frame(place, how="signal")]
    row = built.row(build_id=identity(built.debug)["build_id"])
    lines = [told(each["lines"]) for each in
             module.symbolize(dump(*frames, modules=[row]), [str(tmp_path)])
             ["coredump"]["threads"][0]["frames"]]
    before, exact = built.addr2line([address - 1, address])
    assert lines == [exact, before, exact, exact]


def test_two_modules_of_one_file(tmp_path: Path) -> None:
    """As two containers have it, or a copy that was loaded too."""
    built = Built("i386", tmp_path)
    build_id = identity(built.stripped)["build_id"]
    rows = [built.row(build_id=build_id, path=path) for path in ("/lib/a.so", "/tmp/b.so")]
    offset = hex(built.text()[0] - built.first_page())
    frames = [frame(f"{row['path']}+{offset}", how="registers") for row in rows]
    reply = module.symbolize(dump(*frames, modules=rows), [str(tmp_path)])
    assert [row["debug"] for row in reply["coredump"]["modules"]] == [str(built.debug)] * 2
    assert all(each["lines"] for each in reply["coredump"]["threads"][0]["frames"])
    assert not reply["problems"]


def test_without_a_build_id_by_its_text(tmp_path: Path) -> None:
    built = Built("mipsel", tmp_path, "-Wl,--build-id=none")
    row = built.row(**identity(built.stripped), path="/usr/lib/renamed.so")
    assert row["build_id"] is None and row["text_id"]
    reply = module.symbolize(dump(frame("/usr/lib/renamed.so+0x400"), modules=[row]),
                             [str(tmp_path)])
    assert reply["coredump"]["modules"][0]["debug"] == str(built.debug)


def test_a_file_of_nothing_but_debug_information(tmp_path: Path) -> None:
    built = Built("x86_64", tmp_path)
    row = built.row(build_id=identity(built.debug)["build_id"])
    place = tmp_path / "flat" / ".build-id" / row["build_id"][:2]
    place.mkdir(parents=True)
    debug = place / f"{row['build_id'][2:]}.debug"
    subprocess.run(["objcopy", "--only-keep-debug", built.debug, debug], check=True)
    address = built.text()[4]
    at = frame(f"/usr/lib/libinlined.so.1+{address - built.first_page():#x}", how="registers")
    reply = module.symbolize(dump(at, modules=[row]), [str(tmp_path / "flat")])
    assert reply["coredump"]["modules"][0]["debug"] == str(debug)
    assert told(reply["coredump"]["threads"][0]["frames"][0]["lines"]) == \
        built.addr2line([address])[0]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    built = Built("x86_64", tmp_path)
    subprocess.run(["strip", "-g", built.debug], check=True)
    rows = [built.row(build_id=identity(built.debug)["build_id"]),
            built.row(path="/lib/a.so", text_id="0" * 17), built.row(path="/lib/b.so"),
            built.row(path="/lib/c.so", build_id="ab")]
    address = built.text()[4] - built.first_page()
    frames = [frame(f"{row['path']}+{address:#x}", how="registers") for row in rows]
    reply = module.symbolize(dump(*frames, frame(""), modules=rows), [str(tmp_path)])
    assert [row["what"] for row in reply["problems"]] == [
        "no file with its text id was found", "it has neither a build-id nor a text id",
        "no file with its build-id was found"]
    lines = [each["lines"] for each in reply["coredump"]["threads"][0]["frames"]]
    assert lines[0][0]["function"] and lines[0][0]["file"] is None     # from .symtab
    assert lines[1:] == [[], [], [], []]
    built.debug.unlink()
    reply = module.symbolize(dump(*frames[:1], modules=rows), [str(tmp_path)])
    assert reply["problems"][0]["what"] == "the only file found is stripped too"


def test_damaged_files_raise_nothing(tmp_path: Path) -> None:
    built = Built("x86_64", tmp_path)
    row = built.row(build_id=identity(built.debug)["build_id"])
    data = bytearray(built.debug.read_bytes())
    address = built.text()[4] - built.first_page()
    at = frame(f"/usr/lib/libinlined.so.1+{address:#x}", how="registers")
    for start in range(0x1000, len(data), len(data) // 40):
        damaged = bytes(data[:start]) + bytes(64) + bytes(data[start + 64:])
        built.debug.write_bytes(damaged)
        module.symbolize(dump(at, modules=[row]), [str(tmp_path)])
        built.debug.write_bytes(bytes(data[:start]))
        module.symbolize(dump(at, modules=[row]), [str(tmp_path)])


def test_no_folder_and_no_pyelftools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LastlogError, match="neither a directory nor a file"):
        module.symbolize(dump(), [str(tmp_path / "none")])
    monkeypatch.setitem(__import__("sys").modules, "elftools", None)
    with pytest.raises(LastlogError, match="pyelftools is missing") as raised:
        module.symbolize(dump(), [str(tmp_path)])
    assert "pip install" in raised.value.hint
