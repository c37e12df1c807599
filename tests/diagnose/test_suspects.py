"""Wireless devices whose firmware failed before a crash."""

from __future__ import annotations

import pytest

from lastlog_py.diagnose.kernel_log import explain
from lastlog_py.diagnose.line import Line
from lastlog_py.diagnose.signature import hashed_text
from lastlog_py.diagnose.suspects import last_suspect, may_hold_suspects
from lastlog_py.diagnose.title import kernel_title

# What drivers say: line, driver, what.
SAID = [
    ("ath10k_pci 0000:01:00.0: firmware crashed! (guid 26340abb-03b6-40ab-8483-20bf6bb5cca7)",
     "ath10k_pci", "firmware crash"),
    ("ath10k_ahb a000000.wifi: wmi command 36865 timeout, restarting hardware", "ath10k_ahb",
     "firmware timeout"),
    ("ath11k_pci 0000:01:00.0: firmware crashed: MHI_CB_EE_RDDM", "ath11k_pci", "firmware crash"),
    ("ath11k c000000.wifi: wmi command 20488 timeout", "ath11k", "firmware timeout"),
    ("qcom-q6v5-wcss-pil cd00000.q6v5_wcss: fatal error received:", "qcom-q6v5-wcss-pil",
     "firmware crash"),
    ("remoteproc remoteproc0: crash detected in cd00000.q6v5_wcss: type fatal error", "q6v5_wcss",
     "firmware crash"),
    ("ath: phy0: Chip reset failed", "ath9k", "hardware restart"),
    ("ath: phy1: Unable to reset channel, reset status -5", "ath9k", "hardware restart"),
    ("ath: phy0: Failed to stop TX DMA, queues=0x004!", "ath9k", "hardware restart"),
    ("ath: phy0: DMA failed to stop in 10 ms AR_CR=0x00000024", "ath9k", "hardware restart"),
    ("mt7915e 0000:01:00.0: Message 00005aed (seq 9) timeout", "mt7915e", "firmware timeout"),
    ("mt76x2e 0000:02:00.0: MCU message 1f (seq 2) timed out", "mt76x2e", "firmware timeout"),
    ("mt7921e 0000:01:00.0: chip reset", "mt7921e", "hardware restart"),
    ("mt7996e 0000:01:00.0: L1 SER recovery completed.", "mt7996e", "hardware restart"),
    ("iwlwifi 0000:03:00.0: Microcode SW error detected. Restarting 0x2000000.", "iwlwifi",
     "firmware crash"),
    ("iwlwifi 0000:03:00.0: Error sending STATISTICS_CMD: time out after 2000ms.", "iwlwifi",
     "firmware timeout"),
    ("ieee80211 phy0: brcmf_fw_crashed: Firmware has halted or crashed", "brcmfmac",
     "firmware crash"),
    ("brcmfmac: brcmf_sdio_hostmail: mailbox indicates firmware halted", "brcmfmac",
     "firmware crash"),
    ("ieee80211 phy0: cmd 0x9122=UpdateEncryption timed out", "mwlwifi", "firmware timeout"),
    ("mwifiex_sdio mmc0:0001:1: mwifiex_cmd_timeout_func: Timeout cmd id = 0x10, act = 0x0",
     "mwifiex_sdio", "firmware timeout"),
    ("rtw_8822be 0000:02:00.0: firmware crash, start reset and recover", "rtw_8822be",
     "firmware crash"),
    ("ieee80211 phy0: rt2x00mmio_mcu_request: Error - MCU request failed, no response from "
     "hardware", "rt2x00", "firmware timeout"),
    ("rtw89_8852be 0002:21:00.0: FW status = 0x71001100", "rtw89_8852be", "firmware crash"),
    ("rtw89_8852ce 0000:01:00.0: SER catches error: 0x1002", "rtw89_8852ce", "firmware crash"),
    ("NETDEV WATCHDOG: eth0 (mtk_soc_eth): transmit queue 0 timed out", "mtk_soc_eth",
     "transmit timeout"),
    ("mtk_soc_eth 1e100000.ethernet eth0: NETDEV WATCHDOG: CPU: 1: transmit queue 3 timed out 5 ms",
     "mtk_soc_eth", "transmit timeout"),
    ("ieee80211 phy0: Hardware restart was requested", None, "hardware restart"),
]


@pytest.mark.parametrize(("line", "driver", "what"), SAID)
def test_what_drivers_say(line: str, driver: str | None, what: str) -> None:
    assert may_hold_suspects(f"x\n{line}\ny")
    assert last_suspect([Line(None, "x"), Line(None, line), Line(None, "y")]) == (
        driver, what, line)


@pytest.mark.parametrize("line", [
    "ath10k_pci 0000:01:00.0: firmware ver 10.4-3.9 api 5 features no-p2p crc32 adeedaac",
    "mt76x2e 0000:01:00.0: Firmware Version: 0.0.00", "mt76x2e 0000:01:00.0: Firmware running!",
    "brcmfmac: brcmf_c_preinit_dcmds: Firmware: BCM4345/6 wl0: Feb 27 2018", "",
    "usb 1-1: reset high-speed USB device number 2", "ath: phy0: Enable LNA combining",
    "remoteproc remoteproc0: Booting fw image IPQ8074/q6_fw.mdt, size 668",
    "wlan0: authentication with 02:00:00:00:00:01 timed out"])
def test_what_is_no_failure(line: str) -> None:
    assert last_suspect([Line(None, line)]) is None


def test_a_driver_that_is_named_goes_first() -> None:
    lines = [Line(None, said) for said, _, _ in SAID]
    suspect = last_suspect(lines)
    assert suspect is not None
    assert suspect.driver == "mtk_soc_eth"


FAILED = "<4>[{:12.6f}] ath10k_pci 0000:01:00.0: firmware crashed! (guid 1)\n"
STALL = ("<3>[ 1000.000000] rcu: INFO: rcu_sched self-detected stall on CPU\n"
         "<3>[ 1000.000100] rcu:   0-....: (60002 ticks this GP) idle=166\n")
WHEN = [(999.0, True), (900.0, True), (700.0, False), (1001.0, False)]


@pytest.mark.parametrize(("when", "suspected"), WHEN)
def test_shortly_before_a_hang(when: float, suspected: bool) -> None:
    lines = sorted([FAILED.format(when), *STALL.splitlines(keepends=True)],
                   key=lambda line: line[3:])
    found = explain("".join(lines))
    alone = explain(STALL)
    assert (found.kernel.suspect is not None) is suspected
    assert kernel_title(found) == "RCU stall: CPU 0 stuck" + (
        ", after a firmware crash of ath10k_pci" * suspected)
    assert hashed_text(found) == hashed_text(alone)         # it may be a coincidence


EXPLAINED = [
    ("Kernel panic - not syncing: sysrq triggered crash", False),
    ("Kernel panic - not syncing: Out of memory: x", False),
    ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", False),
    ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(31,5)", False),
    ("Kernel panic - not syncing: Asynchronous SError Interrupt", True),
    ("Kernel panic - not syncing: watchdog pretimeout event", True),
    ("Kernel panic - not syncing: something nobody has seen", True),
    ("Oops[#1]:", True),
]


@pytest.mark.parametrize(("line", "suspected"), EXPLAINED)
def test_only_what_nothing_else_explains(line: str, suspected: bool) -> None:
    found = explain(FAILED.format(999.0) + f"<0>[ 1000.000000] {line}\n")
    assert (found.kernel.suspect is not None) is suspected


def test_a_null_pointer_has_a_title_of_its_own() -> None:
    found = explain(FAILED.format(999.0) + "<1>[ 1000.000000] Unable to handle kernel NULL pointer "
                    "dereference at virtual address 00000010\n<4>[ 1000.000100] pc : f+0x1/0x2\n")
    assert found.kernel.suspect == "ath10k_pci 0000:01:00.0: firmware crashed! (guid 1)"
    assert kernel_title(found) == "NULL pointer dereference in f"


def test_a_crash_of_which_nothing_is_said() -> None:
    found = explain("Panic#1 Part1\n" + FAILED.format(999.0))
    assert kernel_title(found) == ("Kernel panic, after a firmware crash of ath10k_pci; what was "
                                   "captured does not say why")
    assert explain("Shutdown#1 Part1\n" + FAILED.format(999.0)).kernel.suspect is None


def test_a_program_cannot_make_one_up() -> None:
    found = explain("Panic#1 Part1\n" + FAILED.format(999.0).replace("<4>", "<12>"))
    assert found.kernel.suspect is None
