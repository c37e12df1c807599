"""setup.py: arming a made-up router, whose insmod, rmmod, modprobe and mount are scripts that do
to its /proc and /sys what the real ones do."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lastlog_py import setup
from lastlog_py.config import Config, CoreDump, load
from tests.machine import Machine
from tests.memory import ARM64, X86_RESERVED, node, x86_firmware

ADDRESS, SIZE, JOURNAL = 0x7000000, 0x100000, 0x20000
MODULES = "/lib/modules/6.6.93"

# Notes its name and arguments, then does what follows.
HEAD = '#!/bin/sh\nROOT="{root}"\necho "${{0##*/}} $*" >> "$ROOT/ran"\n'

INSMOD = HEAD + """\
module=${{1##*/}}; module=${{module%.ko*}}; shift
[ ! -e "$ROOT/silent" ] || exit 255
mkdir -p "$ROOT/dev"
echo "4,7,9200000,-;$module: what it says now" >> "$ROOT/dev/kmsg"
[ ! -e "$ROOT/broken-$module" ] || {{ echo "insmod: Invalid module format" >&2; exit 1; }}
mkdir -p "$ROOT/sys/module/$module/parameters"
echo live > "$ROOT/sys/module/$module/initstate"
for word; do
    name=${{word%%=*}}; value=${{word#*=}}
    case "$name" in mem_*) value=$((value));; esac
    echo "$value" > "$ROOT/sys/module/$module/parameters/$name"
done
case "$module" in
ramoops) mkdir -p "$ROOT/sys/module/pstore/parameters" "$ROOT/sys/fs/pstore"
    [ -e "$ROOT/refuses-ramoops" ] || echo ramoops > "$ROOT/sys/module/pstore/parameters/backend"
    ;;
phram) value=${{1#phram=}}; size=${{value##*,}}
    [ ! -e "$ROOT/refuses-phram" ] || exit 0
    [ -e "$ROOT/proc/mtd" ] || echo 'dev:    size   erasesize  name' > "$ROOT/proc/mtd"
    printf 'mtd0: %08x 00001000 "%s"\\n' $((size)) "${{value%%,*}}" >> "$ROOT/proc/mtd"
    : > "$ROOT/dev/mtd0"
    mkdir -p "$ROOT/sys/class/mtd/mtd0"; echo ram > "$ROOT/sys/class/mtd/mtd0/type";;
esac
exit 0
"""
RMMOD = HEAD + 'rm -r "$ROOT/sys/module/$1"\n'
MODPROBE = HEAD + 'mkdir -p "$ROOT/sys/module/$2"\n'
MOUNT = HEAD + '[ ! -e "$ROOT/refuses-mount" ] || { echo "mount: no such device"; exit 32; }\n' \
    .replace("{", "{{").replace("}", "}}") + \
    'echo "pstore /sys/fs/pstore pstore rw 0 0" >> "$ROOT/proc/mounts"\n'
KMSG = """\
6,5,9100000,-;phram: `x' invalid for parameter `phram'
 SUBSYSTEM=x
6,6,9100001,-;ramoops: an earlier complaint
"""


@pytest.fixture
def router(machine: Machine) -> Machine:
    """A router with a region that is reserved and configured, and nothing loaded."""
    machine.write("/proc/iomem", X86_RESERVED)
    x86_firmware(machine)
    machine.write("/proc/sys/kernel/osrelease", "6.6.93\n")
    machine.write("/proc/sys/kernel/panic", "3\n")
    machine.write("/proc/sys/kernel/arch", "x86_64\n")
    machine.write("/dev/kmsg", KMSG)
    for name in ("ramoops", "phram", "reed_solomon"):
        machine.write(f"{MODULES}/{name}.ko", "\x7fELF")
    for name, text in (("insmod", INSMOD), ("rmmod", RMMOD), ("modprobe", MODPROBE),
                       ("mount", MOUNT)):
        machine.write(f"/sbin/{name}", text.format(root=machine.root)).chmod(0o755)
    return machine.configure(address=hex(ADDRESS), size=hex(SIZE), journal_size=hex(JOURNAL),
                             record_size="0x10000", console_size="0x10000", pmsg_size="0x4000",
                             ecc="16")


def ran(machine: Machine) -> list[str]:
    """The programs that have run, with their arguments."""
    file = machine.root / "ran"
    return file.read_text().splitlines() if file.exists() else []


def read(machine: Machine, path: str) -> str:
    return (machine.root / path.lstrip("/")).read_text().strip()


def only(problems: list[setup.Problem], where: str, severity: str = "error") -> str:
    """The text of the one problem there is."""
    assert [(each[0], each[2]) for each in problems] == [(where, severity)]
    return problems[0][1]


# --- the whole


def test_a_bare_router_is_armed(router: Machine) -> None:
    assert setup.arm(router.config()) == []
    where = f"{router.root}{MODULES}"
    assert ran(router) == [
        "modprobe -q reed_solomon",
        f"insmod {where}/ramoops.ko mem_address=0x7000000 mem_size=0xe0000 record_size=65536 "
        "console_size=65536 ftrace_size=0 pmsg_size=16384 ecc=16",
        f"insmod {where}/phram.ko phram=lastlog,0x7000000,0x100000",
        f"mount -t pstore pstore {router.root}/sys/fs/pstore"]


def test_again_nothing_is_done(router: Machine) -> None:
    setup.arm(router.config())
    before = ran(router)
    assert setup.arm(router.config()) == [] and ran(router) == before


def test_with_a_region_that_is_a_file_the_system_is_left_alone(router: Machine) -> None:
    router.write("/proc/sys/kernel/panic", "0\n")
    router.configure(file="/tmp/region")
    assert setup.arm(router.config()) == [] and ran(router) == []
    assert read(router, "/proc/sys/kernel/panic") == "0"


def test_without_a_region_nothing_is_loaded(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/panic", "3\n")
    assert setup.arm(machine.config()) == []


def test_a_region_in_system_ram_is_refused(router: Machine) -> None:
    router.configure(address="0x6000000")
    said = only(setup.arm(router.config()), "region")
    assert "System RAM" in said and "Nothing was loaded" in said and "lastlog propose" in said
    assert ran(router) == []


# --- kernel settings


@pytest.mark.parametrize(("found", "wanted", "left"), [
    ("0", 3, "3"), ("1", 3, "3"), ("3", 3, "3"), ("0", 0, "0"), ("10", 0, "10")])
def test_panic(machine: Machine, found: str, wanted: int, left: str) -> None:
    machine.write("/proc/sys/kernel/panic", f"{found}\n")
    config = machine.config()
    config.panic_reboot = wanted
    assert setup.arm(config) == []
    assert read(machine, "/proc/sys/kernel/panic") == left


@pytest.mark.parametrize(("found", "wanted", "left"), [
    ("0", True, "1"), ("2", True, "2"), ("0", False, "0"), ("1", False, "1")])
def test_panic_on_oom(machine: Machine, found: str, wanted: bool, left: str) -> None:
    machine.write("/proc/sys/kernel/panic", "3\n")
    machine.write("/proc/sys/vm/panic_on_oom", f"{found}\n")
    config = machine.config()
    config.panic_on_oom = wanted
    assert setup.arm(config) == []
    assert read(machine, "/proc/sys/vm/panic_on_oom") == left


def test_a_panic_that_would_hang_is_told(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/panic", "0\n")
    machine.write("/proc/sys/vm/panic_on_oom", "0\n")
    config = machine.config()
    config.panic_reboot, config.panic_on_oom = 0, True
    assert "hangs" in only(setup.arm(config), "kernel.panic", "warning")


def test_a_setting_that_cannot_be_made(machine: Machine) -> None:
    said = only(setup.arm(machine.config()), "kernel.panic", "warning")
    assert "cannot be set to 3" in said


def test_core_dumps_go_to_the_handler_where_there_is_one(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/panic", "3\n")
    pattern = machine.write("/proc/sys/kernel/core_pattern", "/tmp/%e.%t.%p.%s.core\n")
    machine.write("/proc/sys/kernel/core_pipe_limit", "0\n")
    assert setup.arm(machine.config()) == []
    assert pattern.read_text().startswith("/tmp")
    machine.write(setup.HANDLER, "#!/bin/sh\n").chmod(0o755)
    assert setup.arm(machine.config()) == []
    assert pattern.read_text() == \
        "|/usr/libexec/lastlog/coredump %P %I %u %g %d %s %t %E"
    assert read(machine, "/proc/sys/kernel/core_pipe_limit") == "16"


def test_core_dumps_are_left_alone_where_they_are_not_wanted(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/panic", "3\n")
    pattern = machine.write("/proc/sys/kernel/core_pattern", "/tmp/%e.core\n")
    machine.write(setup.HANDLER, "#!/bin/sh\n").chmod(0o755)
    config = machine.config()
    config.coredump.enabled = False
    assert setup.arm(config) == [] and pattern.read_text() == "/tmp/%e.core\n"


# --- what is wrong with the configuration


@pytest.mark.parametrize(("options", "word"), [
    ({"size": "1MB"}, "belong together"), ({"address": "x"}, "belong together"),
    ({"size": "1MB"}, "size '1MB' is not a number"),
    ({"journal_size": "0x200000"}, "journal_size"), ({"journal_size": "1000"}, "journal_size"),
    ({"mtd": "a,b"}, "option mtd"), ({"mtd": "a b"}, "option mtd"),
    ({"mtd": "x" * 64}, "option mtd")])
def test_a_region_that_makes_no_sense(router: Machine, options: dict[str, str],
                                      word: str) -> None:
    router.configure(**options)
    assert word in only(setup.arm(router.config()), "region") and ran(router) == []


@pytest.mark.parametrize(("options", "word"), [
    ({"record_size": "0x100000"}, "do not fit"), ({"record_size": "0"}, "record_size"),
    ({"record_size": "2048"}, "record_size"), ({"ecc": "128"}, "option ecc"),
    ({"console_size": "0x80000", "pmsg_size": "0x50000", "record_size": "0x40000"}, "do not fit")])
def test_zones_that_the_driver_would_refuse(router: Machine, options: dict[str, str],
                                            word: str) -> None:
    """phram is loaded all the same: it can read what is there."""
    router.configure(**options)
    assert word in only(setup.arm(router.config()), "ramoops")
    assert [line.split()[0] for line in ran(router)] == ["insmod"] and "phram" in ran(router)[0]


@pytest.mark.parametrize(("part", "size"), [
    (0xe0000, 65536), (0x10000, 8192), (0x4000, 4096), (0x60000, 32768)])
def test_the_record_size_that_is_used_if_none_is_said(machine: Machine, part: int,
                                                      size: int) -> None:
    assert setup.record_size(machine.site(), part) == size


def test_a_region_that_is_all_journal(router: Machine) -> None:
    router.configure(journal_size=hex(SIZE))
    assert setup.arm(router.config()) == []
    assert not any("ramoops" in line for line in ran(router))


# --- what is there already


def test_what_the_device_tree_provides_is_left_alone(router: Machine) -> None:
    provided(router)
    router.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    assert setup.arm(router.config()) == [] and ran(router) == []


def provided(router: Machine, **sizes: int) -> Machine:
    """ramoops and phram are there, as the configuration says but for these sizes."""
    router.ramoops(SIZE - JOURNAL, 65536, **{"console": 65536, "pmsg": 16384, "ecc": 16, **sizes},
                   address=ADDRESS)
    router.write("/sys/module/ramoops/initstate", "live\n")
    router.mtd(b"\0" * SIZE)
    return router


@pytest.mark.parametrize(("options", "word"), [
    ({"record_size": "0x4000"}, "record_size 16384 takes effect at the next reboot; until then it "
                                "is 65536"),
    ({"console_size": "0"}, "console_size"), ({"ftrace_size": "4096"}, "ftrace_size"),
    ({"pmsg_size": "0x8000"}, "pmsg_size"), ({"ecc": "32"}, "ecc 32 takes effect"),
    ({"ecc": "1"}, ""), ({"console_size": "0x1ffff"}, "")])
def test_sizes_that_ramoops_was_not_told_of(router: Machine, options: dict[str, str],
                                            word: str) -> None:
    problems = setup.arm(provided(router).configure(**options).config())
    assert word in only(problems, "ramoops", "warning") if word else problems == []


def test_sizes_that_come_from_elsewhere(router: Machine) -> None:
    provided(router, ecc=0).configure(ecc="32", record_size="0x4000")
    (router.root / "sys/module/ramoops/initstate").unlink()
    assert all("built into the kernel" in text for _, text, _ in setup.arm(router.config()))
    folder = node(router, "reserved-memory/crashes@7000000", [(ADDRESS, SIZE - JOURNAL)],
                  "ramoops")
    for name, value in (("record-size", 65536), ("console-size", 65536), ("pmsg-size", 16384),
                        ("ecc-size", 16)):
        router.write(f"{folder}/{name}", value.to_bytes(4, "big"))
    assert [text for _, text, _ in setup.arm(router.config())] == [
        "option record_size 16384 has no effect: the device tree says 65536",
        "option ecc 32 has no effect: the device tree says 16"]


def test_ramoops_elsewhere_is_told(router: Machine) -> None:
    router.ramoops(0x10000, 4096, address=0x42ff0000)
    router.mtd(b"\0" * SIZE)
    said = only(setup.arm(router.config()), "ramoops", "warning")
    assert "0x42ff0000" in said and "overwrite" not in said


def test_ramoops_over_the_journal_is_told(router: Machine) -> None:
    router.ramoops(SIZE, 65536, address=ADDRESS)
    router.mtd(b"\0" * SIZE)
    assert "overwrite the journal" in only(setup.arm(router.config()), "ramoops", "warning")


def test_another_device_of_that_name_is_told(router: Machine) -> None:
    provided(router).mtd(b"\0" * 65536)
    assert "has 0x10000 bytes" in only(setup.arm(router.config()), "phram", "warning")


def test_phram_that_is_loaded_gets_the_region_through_sysfs(router: Machine) -> None:
    """The script cannot watch a file, so the device is there only the next time."""
    parameter = router.write("/sys/module/phram/parameters/phram", "")
    only(setup.arm(router.config()), "phram")
    assert parameter.read_text() == "lastlog,0x7000000,0x100000"


@pytest.mark.parametrize("kind", ["nor", "nand", "rom", ""])
def test_flash_of_that_name_is_no_region(router: Machine, kind: str) -> None:
    router.mtd(b"firmware" * 8192, kind=kind)
    said = only(setup.arm(router.config()), "phram")
    assert "memory only" in said and (kind or "may be flash") in said and "option mtd" in said
    assert not any("/phram.ko" in line for line in ran(router))


@pytest.mark.parametrize(("journal", "told"), [(JOURNAL, True), (0, False)])
def test_a_kernel_without_mtd(router: Machine, journal: int, told: bool) -> None:
    """OpenWrt's for x86: nobody can install a module there."""
    (router.root / f"{MODULES}/phram.ko".lstrip("/")).unlink()
    problems = setup.arm(router.configure(journal_size=journal).config())
    assert "journal_size 0" in only(problems, "phram", "warning") if told else problems == []
    assert setup.ramoops_works(router.site()) and not setup.has_mtd(router.site())


@pytest.mark.parametrize(("arch", "is_mapped"), [("aarch64", True), ("armv7l", True),
                                                 ("aarch64", False), ("mips", True)])
def test_phram_is_not_given_what_arm_maps(router: Machine, arch: str, is_mapped: bool) -> None:
    """A node without no-map: phram would only make the kernel WARN."""
    router.write("/proc/sys/kernel/arch", f"{arch}\n")
    shutil.rmtree(router.root / "sys/firmware")
    router.write("/proc/iomem", ARM64 if is_mapped else ARM64.replace(
        "40000000-42ffffff : S", "40000000-42feffff : S").replace("  42ff0000", "42ff0000"))
    node(router, "memory@40000000", [(0x40000000, 0x20000000)])
    node(router, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    router.configure(address="0x42ff0000", size="0x10000", journal_size="0x4000",
                     record_size="0x1000", console_size="0x1000", pmsg_size="0x1000")
    problems = setup.arm(router.config())
    if is_mapped and arch != "mips":
        assert "no-map" in only(problems, "phram", "warning")
    else:
        assert problems == []
    assert any("/phram.ko" in line for line in ran(router)) is (problems == [])


# --- what goes wrong


def test_two_at_once(router: Machine) -> None:
    """The other one loads both while this one is busy with what ramoops needs."""
    modprobe = Path(router.root / "sbin/modprobe")
    modprobe.write_text(modprobe.read_text() + f"""
[ ! -e "{router.root}/other" ] || exit 0
: > "{router.root}/other"
{router.root}/sbin/insmod ramoops.ko mem_address={ADDRESS} mem_size={SIZE - JOURNAL}
{router.root}/sbin/insmod phram.ko phram=lastlog,{ADDRESS:#x},{SIZE:#x}
""")
    insmod = Path(router.root / "sbin/insmod")
    insmod.write_text(insmod.read_text().replace("shift\n", f"""shift
[ ! -e "{router.root}/sys/module/$module" ] || {{ echo "insmod: File exists" >&2; exit 1; }}
""", 1))
    assert setup.arm(router.config()) == []
    assert read(router, "/proc/mtd").count("lastlog") == 1
    assert sum("phram" in line for line in ran(router)) == 1


def test_an_error_in_one_step_leaves_the_others(router: Machine,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(setup, "record_size", fails)
    (router.root / "sys/fs/pstore").mkdir(parents=True)
    said = only(setup.arm(router.config()), "ramoops")
    assert "Too many open files" in said
    assert any("phram.ko" in line for line in ran(router)) and ran(router)[-1].startswith("mount")


def test_with_sigchld_ignored(router: Machine) -> None:
    """As some callers leave it: nobody hears how a program ended, so what it did counts."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert setup.arm(router.config()) == []
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_modules_that_are_not_installed(router: Machine) -> None:
    router.write("/proc/mtd", "dev:    size   erasesize  name\n")
    for name in ("ramoops", "phram"):
        (router.root / f"{MODULES}/{name}.ko".lstrip("/")).unlink()
    problems = setup.arm(router.config())
    assert [each[0] for each in problems] == ["ramoops", "phram"]
    assert "kmod-ramoops" in problems[0][1] and "kmod-mtd-phram" in problems[1][1]


def test_modules_of_a_desktop_system(router: Machine) -> None:
    """Packed, and in folders."""
    (router.root / f"{MODULES}/ramoops.ko".lstrip("/")).unlink()
    router.write(f"{MODULES}/kernel/fs/pstore/ramoops.ko.xz", "")
    assert setup.arm(router.config()) == []
    assert any("kernel/fs/pstore/ramoops.ko.xz mem_address" in line for line in ran(router))


def test_without_modprobe_insmod_loads_what_is_needed(router: Machine) -> None:
    (router.root / "sbin/modprobe").unlink()
    assert setup.arm(router.config()) == []
    assert ran(router)[0] == f"insmod {router.root}{MODULES}/reed_solomon.ko"


def test_a_module_of_another_kernel(router: Machine) -> None:
    router.write("/broken-ramoops", "")
    said = only(setup.arm(router.config()), "ramoops")
    assert "Invalid module format" in said and said.endswith("ramoops: what it says now")


def test_no_reason_at_all(router: Machine) -> None:
    """What the kernel said before is no reason."""
    router.write("/silent", "")
    for _, text, _ in setup.arm(router.config()):
        assert text == "it cannot be loaded: it gave no reason; see logread"
    (router.root / "dev/kmsg").unlink()
    assert "see logread" in setup.arm(router.config())[0][1]


def test_phram_that_pretends_to_be_fine(router: Machine) -> None:
    """insmod reports success for most values that phram refuses."""
    router.write("/refuses-phram", "")
    said = only(setup.arm(router.config()), "phram")
    assert "no MTD device" in said and said.endswith("phram: what it says now")


def test_ramoops_that_pretends_to_be_fine(router: Machine) -> None:
    router.write("/refuses-ramoops", "")
    router.write("/sys/module/pstore/parameters/backend", "(null)\n")
    said = only(setup.arm(router.config()), "ramoops")
    assert "pstore does not use it" in said and said.endswith("ramoops: what it says now")


def test_another_backend(router: Machine) -> None:
    router.write("/sys/module/pstore/parameters/backend", "efi\n")
    assert "pstore.backend=ramoops" in only(setup.arm(router.config()), "ramoops")


def test_ramoops_without_a_region_is_loaded_anew(router: Machine) -> None:
    router.write("/sys/module/ramoops/parameters/mem_address", "0\n")
    router.write("/sys/module/ramoops/initstate", "live\n")
    assert setup.arm(router.config()) == [] and ran(router)[0] == "rmmod ramoops"


def test_ramoops_that_is_built_in_without_a_region(router: Machine) -> None:
    router.write("/sys/module/ramoops/parameters/mem_address", "0\n")
    assert "ramoops.mem_address" in only(setup.arm(router.config()), "ramoops")


def test_ramoops_that_cannot_be_unloaded(router: Machine) -> None:
    router.write("/sys/module/ramoops/initstate", "live\n")
    router.write("/sbin/rmmod", "#!/bin/sh\necho in use\nexit 1\n").chmod(0o755)
    assert "in use" in only(setup.arm(router.config()), "ramoops")


def test_a_device_file_that_does_not_appear(router: Machine,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "APPEARS", 0.05)
    insmod = Path(router.root / "sbin/insmod")
    insmod.write_text(insmod.read_text().replace(': > "$ROOT/dev/mtd0"', ":"))
    assert "/dev" in only(setup.arm(router.config()), "phram")


def test_pstore_that_cannot_be_mounted(machine: Machine, router: Machine) -> None:
    router.write("/refuses-mount", "")
    assert "no such device" in only(setup.arm(router.config()), "pstore", "warning")


def test_pstore_that_is_mounted_elsewhere(router: Machine) -> None:
    router.write("/proc/mounts", "pstore /mnt/pstore pstore rw 0 0\n"
                                 "none /sys/fs/pstore tmpfs rw 0 0\n")
    assert setup.arm(router.config()) == [] and ran(router)[-1].startswith("mount")


def test_programs_that_are_missing(router: Machine) -> None:
    for name in ("insmod", "modprobe", "mount"):
        (router.root / "sbin" / name).unlink()
    said = {where: text for where, text, _ in setup.arm(router.config())}
    assert set(said) == {"ramoops", "phram"} and "insmod: not found" in said["ramoops"]


def test_the_configuration_is_not_changed(router: Machine) -> None:
    config: Config = router.config()
    setup.arm(config)
    assert (config.site.address, config.site.size) == (ADDRESS, SIZE)


def test_the_routers_own_configuration_says_the_defaults(machine: Machine) -> None:
    """The file that is installed, as it is and with all that is commented out switched on."""
    text = (Path(__file__).parent.parent / "files/etc/config/lastlog").read_text()
    plain, nothing = machine.root.parent / "plain", machine.root.parent / "nothing"
    plain.write_text(text)
    nothing.write_text("")
    config, default = load(str(plain)), load(str(nothing))
    for name in Config.__slots__:
        if name not in ("path", "site", "coredump"):
            assert getattr(config, name) == getattr(default, name), name
    for name in CoreDump.__slots__:
        assert getattr(config.coredump, name) == getattr(default.coredump, name), name
    lines = [line[1:] if line.startswith("#config") or line.lstrip("\t").startswith("#\toption")
             or line.startswith("\t#option") else line for line in text.splitlines()]
    plain.write_text("\n".join(line.replace("\t#option", "\toption").replace("0x...", "0x7000000")
                               for line in lines))
    config = load(str(plain))
    assert config.problems == [] and config.ledger == default.ledger
    assert setup._ill_said(config.site) == "" and setup._does_not_fit(config.site, 0xe0000) == ""
    assert (config.site.address, config.site.ecc, config.site.mtd) == (0x7000000, 16, "lastlog")


def test_it_imports_nothing_heavy() -> None:
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import lastlog_py.setup;"
            "import lastlog_py.readiness; print(sorted({'json', 're', 'typing', 'collections',"
            " 'subprocess', 'struct', 'signal', 'select'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, Path(__file__).parent.parent],
                          capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
