"""What the kernel says when the firmware of a wireless device fails.

Sources: drivers/net/wireless/*: ath/ath10k/core.c and wmi.c, ath/ath11k/core.c, ath/ath9k/hw.c,
main.c and recv.c, mediatek/mt76/mcu.c and mt*/mac.c, intel/iwlwifi (iwl-trans.c, mvm/utils.c),
broadcom/brcm80211/brcmfmac, marvell/mwifiex, realtek/rtw8*, ralink/rt2x00; mwlwifi's hif/fwcmd.c;
drivers/remoteproc/qcom_q6v5.c; net/mac80211/main.c: ieee80211_restart_hw.

It is no crash of the kernel, which goes on, or tries to: of a crash or hang that nothing else
explains, it may be the cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .line import Line
from .pattern import Pattern

__all__ = ["Suspect", "last_suspect", "may_hold_suspects"]

_DEVICE = r"(?P<driver>[a-z][\w-]{1,30}) \S{1,40}?: "
_PHY = r"(?:ieee80211 )?phy\d{1,3}: "
_LONGEST = 240          # characters of a line


class Suspect(NamedTuple):
    """A device that failed."""

    driver: str | None          # "ath10k_pci"; None: the line names none
    what: str                   # "firmware crash", ...
    line: str                   # what the kernel said


class _Rule(NamedTuple):
    pattern: Pattern            # its group `driver` names the driver
    what: str
    driver: str | None = None   # where the pattern does not say


_CRASH, _SILENCE, _RESTART = "firmware crash", "firmware timeout", "hardware restart"
_TRANSMIT = "transmit timeout"

_RULES = (
    # "ath10k_pci 0000:01:00.0: firmware crashed! (guid …)", ath11k "firmware crashed: MHI_CB_…"
    _Rule(Pattern(rf"{_DEVICE}(?:[\w ]{{1,30}}: )?[Ff]irmware (?:has )?crash", "irmware"), _CRASH),
    _Rule(Pattern(rf"{_DEVICE}fatal error received", "fatal error received"), _CRASH),
    _Rule(Pattern(r"remoteproc \S{1,40}: crash detected in \S{0,30}?(?P<driver>[a-z]\w{1,30}): ",
                  "crash detected in "), _CRASH),
    _Rule(Pattern(rf"{_DEVICE}(?:Microcode [SH]W error detected|Start IWL Error Log Dump)",
                  "Microcode ", "IWL Error Log"), _CRASH),
    _Rule(Pattern(rf"(?:{_PHY})?(?:brcmfmac: )?(?:brcmf_fw_crashed: Firmware has halted"
                  r"|brcmf_sdio_hostmail: mailbox indicates firmware halted"
                  r"|brcmf_sdio_checkdied: firmware trap)", "brcmf_"), _CRASH, "brcmfmac"),
    _Rule(Pattern(rf"{_DEVICE}(?:FW status = |SER catches error: )", "FW status = ",
                  "SER catches error"), _CRASH),
    _Rule(Pattern(rf"{_DEVICE}[Ff]irmware (?:error|dump|wakeup failed)", "irmware "), _CRASH),
    # "mt7915e 0000:01:00.0: Message 00005aed (seq 9) timeout", before v5.13 "MCU message 1f (seq 2)
    # timed out"
    _Rule(Pattern(rf"{_DEVICE}(?:MCU m|M)essage [0-9a-f]{{1,8}} \(seq \d{{1,3}}\) time", "essage "),
          _SILENCE),
    _Rule(Pattern(rf"{_DEVICE}wmi command \d{{1,9}} timeout", "wmi command "), _SILENCE),
    _Rule(Pattern(rf"{_DEVICE}Error sending [\w ]{{1,60}}: time out", "Error sending "), _SILENCE),
    _Rule(Pattern(rf"{_DEVICE}mwifiex_cmd_timeout_func", "mwifiex_cmd_timeout"), _SILENCE),
    _Rule(Pattern(rf"{_PHY}cmd 0x[0-9a-f]{{1,4}}=\w{{1,40}} timed out", " timed out"), _SILENCE,
          "mwlwifi"),
    _Rule(Pattern(rf"{_PHY}rt2x00\w{{1,40}}: Error - MCU request failed|{_PHY}rt2800_\w{{1,40}}: "
                  "Error - MCU request failed", "MCU request failed"), _SILENCE, "rt2x00"),
    _Rule(Pattern(rf"{_DEVICE}(?:chip reset|(?:chip )?full reset|(?:L\d )?SER re(?:set|covery))",
                  "chip reset", "full reset", "SER re"), _RESTART),
    _Rule(Pattern(r"ath: phy\d{1,3}: (?:Chip reset failed|Unable to reset (?:hardware|channel)"
                  r"|Failed to (?:stop TX DMA|wakeup)|DMA failed to stop)", "ath: phy"), _RESTART,
          "ath9k"),
    # "mtk_soc_eth 1e100000.ethernet eth0: NETDEV WATCHDOG: CPU: 1: transmit queue 3 timed out";
    # until v6.8 "NETDEV WATCHDOG: eth0 (mtk_soc_eth): transmit queue 0 timed out"
    _Rule(Pattern(r"(?P<driver>[a-z][\w-]{1,30}) .{1,60}: NETDEV WATCHDOG: ", "NETDEV WATCHDOG: "),
          _TRANSMIT),
    _Rule(Pattern(r"NETDEV WATCHDOG: \S{1,40} \((?P<driver>[\w-]{1,30})\): ",
                  "NETDEV WATCHDOG: "), _TRANSMIT),
    _Rule(Pattern(rf"{_PHY}[Hh]ardware restart was requested", "ardware restart was requested"),
          _RESTART),
)


def may_hold_suspects(text: str) -> bool:
    """Whether any line of this text may tell of one."""
    return bool(_rules(text))


def _rules(text: str) -> list[_Rule]:
    """The rules that lines of this text may meet."""
    return [rule for rule in _RULES if rule.pattern.may_match(text)]


def last_suspect(lines: Sequence[Line]) -> Suspect | None:
    """The last of these lines that says so with a driver's name, else the last that says so."""
    rules = _rules("\n".join(line.text for line in lines))
    found = [suspect for line in lines if rules and (suspect := _suspect(line.text, rules))]
    best = [suspect for suspect in found if suspect.driver] or found
    return best[-1] if best else None


def _suspect(text: str, rules: Sequence[_Rule]) -> Suspect | None:
    for rule in rules:
        match = rule.pattern.match(text)
        if match:
            driver = rule.driver or match.groupdict().get("driver")
            return Suspect(driver, rule.what, text.strip()[:_LONGEST])
    return None
