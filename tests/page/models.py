"""Models for the page, made by hand around what real kernels left behind."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "data" / "samples"

Dict = dict[str, Any]


def sample(name: str) -> str:
    """A file of a sample, unpacked: `sample("c12_null_deref_panic_on_oops/dmesg-ramoops-1")`."""
    return lzma.open(SAMPLES / f"{name}.xz").read().decode("utf-8", "replace")


def frame(function: str, offset: str | None = "0x10", module: str | None = None,
          reliable: bool = True) -> Dict:
    return {"function": function, "offset": offset, "module": module, "reliable": reliable}


def kernel(**fields: Any) -> Dict:
    """A record's `kernel`: the NULL dereference of sample c12."""
    return {
        "reason": "panic", "sequence": 2, "part": 1, "cause": "null-pointer",
        "function": "lkdtm_EXCEPTION", "offset": "0x8", "module": "lkdtm", "process": "init",
        "pid": 1, "cpu": 0, "address": "0x0", "tainted": "G     U", "release": "6.1.192",
        "hardware": None, "oom": None,
        "trace": [frame("lkdtm_do_action", "0x1c", "lkdtm", False),
                  frame("direct_entry", "0xb0", "lkdtm"), frame("full_proxy_write", "0x4a"),
                  frame("full_proxy_poll", "0x54", None, False), frame("vfs_write", "0xa6"),
                  frame("fput", "0x16", None, False), frame("ksys_write", "0x6b"),
                  frame("__x64_sys_write", "0x19"), frame("x64_sys_call", "0x2d"),
                  frame("do_syscall_64", "0x3d"),
                  frame("entry_SYSCALL_64_after_hwframe", "0x4b")]} | fields


def record(**fields: Any) -> Dict:
    """A RECORD without text: a kernel panic, captured, at a time that is trusted."""
    return {
        "id": "k-000000000001", "kind": "kernel", "state": "captured", "time": 1795379381.0,
        "time_trusted": True, "uptime": 1.944736, "boot": None, "count": 1, "first_seen": None,
        "title": "NULL pointer dereference in lkdtm_EXCEPTION", "signature": "k1:a", "crash":
        "k-000000000001", "last_seen": None, "kernel": kernel(), "coredump": None,
        "source": source()} | fields


def source(**fields: Any) -> Dict:
    return {"medium": "ramoops", "zone": 1, "offset": 65536, "size": 21143,
            "compression": "deflate", "ecc_corrected": None, "ecc_failed": None,
            "truncated": False, "torn": False, "recovered": False} | fields


def plain(kind: str, **fields: Any) -> Dict:
    """A record that is no crash: a console log, messages of programs, a stored log."""
    return record(**{"id": f"{kind[0]}-00000000000f", "kind": kind, "title": "", "kernel": None,
                     "crash": None, "signature": None} | fields)


def core(**fields: Any) -> Dict:
    """A core dump of a program whose name tells a story."""
    frames = [
        {"pc": "0x77a01c34", "module": "/lib/libc.so", "offset": "0x3c34", "build_id": "ab12",
         "symbol": "strlen", "symbol_offset": "0x14", "how": "registers"},
        {"pc": "0x55561234", "module": "/usr/sbin/uhttpd", "offset": "0x1234", "build_id": "cd34",
         "symbol": None, "symbol_offset": None, "how": "cfi"},
        {"pc": "0x55560000", "module": None, "offset": None, "build_id": None, "symbol": None,
         "symbol_offset": None, "how": "scan"}]
    dump = {"executable": "/usr/sbin/uhttpd", "command": "uhttpd -f", "pid": 1203, "tid": 1203,
            "uid": 0, "machine": "mipsel", "signal": 11, "signal_name": "SIGSEGV",
            "code_name": "SEGV_MAPERR", "fault_address": "0x10", "truncated": False,
            "threads": [thread(1203, crashed=True, frames=frames)], "modules": [
                {"path": "/lib/libc.so", "build_id": "ab12", "text_id": None,
                 "base": "0x779fe000", "size": 0x9f000},
                {"path": "/usr/sbin/uhttpd", "build_id": None, "text_id": "cd34",
                 "base": "0x55560000", "size": 0x8000}],
            "threads_cut": False, "dropped": 0, "notes": []} | fields
    return record(id="c-00000000000c", kind="coredump", kernel=None, crash=None, coredump=dump,
                  signature="u1:b", title="uhttpd: SIGSEGV in strlen",
                  source=source(medium="journal", size=2211))


def thread(tid: int, **fields: Any) -> Dict:
    """A thread of a core dump; without frames, if none are given."""
    return {"tid": tid, "crashed": False, "registers": {"pc": "0x77a01c34", "sp": "0x7fff0000"},
            "frames": [], "frames_cut": False, "omitted": 0, "gap": None} | fields


def check(state: str = "ok", **fields: Any) -> Dict:
    return {"id": f"check-{state}", "state": state, "title": "Region present",
            "found": "1 MiB at 0x7000000", "fix": "Reserve one: see lastlog propose."} | fields


def status(**fields: Any) -> Dict:
    return {"armed": True, "captured": 0, "saved": 0, "version": "0.1.0", "checks": [check()],
            "archive": {"used": 0, "limit": 262144, "path": "/etc/lastlog/saved"},
            "last_reboot": {"reason": "unknown", "record": None, "time": None, "text": ""},
            "history": {"text": "", "boots": []}} | fields


def boot(number: int, reason: str = "clean", **fields: Any) -> Dict:
    """A boot as `status` lists it."""
    return {"number": number, "id": f"boot-{number}", "firmware": "24.10.2 r28739",
            "kernel": "6.6.93", "reason": reason, "record": None, "end": None,
            "time": 1795379300.0} | fields


def model(*records: Dict, text: str | None = None, **fields: Any) -> Dict:
    """A model with these records, newest first; `text`: the first is open and holds it."""
    opened = None if text is None else {**records[0], "text": text}
    return {"status": status(), "records": list(records), "open": opened, "problems": [],
            "now_trusted": True} | fields


def rebooted(reason: str = "panic", record_id: str | None = "k-000000000001",
             text: str = "") -> Dict:
    return {"reason": reason, "record": record_id, "time": 1795379384.0, "text": text}


def panic() -> Dict:
    """The real one: an oops and the panic that it led to, a console log, a core dump."""
    text = sample("c12_null_deref_panic_on_oops/dmesg-ramoops-1")
    first = record(count=3, first_seen=1793379381.0, boot={
        "id": None, "number": 12, "firmware": "24.10.2", "kernel": "6.1.192"})
    oops = record(id="k-000000000002", state="saved", boot=first["boot"],
                  kernel=kernel(reason="oops", sequence=1), source=source(size=20030))
    console = plain("console", time=None, time_trusted=False, state="saved",
                    source=source(size=20284))
    return model(first, oops, console, core(), text=text, status=status(
        last_reboot=rebooted(), captured=2, saved=2, history={
            "text": "2 boots: 1 clean, 1 panic",
            "boots": [boot(13, "panic", record="k-000000000001"), boot(12), boot(11, "unknown")]},
        checks=[
            check(), check("warn", title="A panic reboots", found="kernel.panic is 0",
                           fix="sysctl -w kernel.panic=3"),
            check("unknown", title="Memory survives", found="not tested yet",
                  fix="lastlog selftest arm, then reboot")]))
