# The laboratory's side of the router, read by its first process from a disk of its own, so that
# nothing of it takes room on the router's flash or syncs it.
# /lab/steps/N/early is read before the services of boot N start, /lab/steps/N/later when they are
# done; /lab/results/bootN gets what was seen.  "lab: " lines on the console go to the host.
mount -o remount,sync /lab
boot=$(($(cat /lab/boot) + 1))
echo "$boot" >/lab/boot
out=/lab/results/boot$boot
mkdir -p "$out"
ADDRESS=0x7000000

say() { echo "lab: $*"; }

early() {
	say "boot $boot"
	cmp -s /lab/config /etc/config/lastlog || cp /lab/config /etc/config/lastlog
	[ ! -f "/lab/steps/$boot/early" ] || . "/lab/steps/$boot/early"
}

later() {
	services_end
	. "/lab/steps/$boot/later"
	sleep 20
	say "still running after step $boot"
	say off
}

# services_end: wait until every instance that was started has ended.
services_end() {
	local folder tries=0
	for folder in /tmp/run/procd/*/; do
		while [ -d "$folder" ] && [ ! -f "$folder/status" ] && [ $tries -lt 300 ]; do
			usleep 100000
			tries=$((tries + 1))
		done
	done
	[ $tries -lt 300 ] || say "the services do not end"
}

# --- what a board may have, before lastlog starts

# ramoops: the driver is there already, as if it were built in or named in the device tree.
ramoops() {
	busybox modprobe ramoops mem_address=$ADDRESS mem_size=0xe0000 record_size=0x10000 \
		console_size=0x10000 pmsg_size=0 ftrace_size=0
}

# --- what may be wrong with a flash

# fill_flash: to the last block.  An overlay that finds no room at all is mounted read-only, so this
# is for every boot, and the flash has to be emptied before the next one.
fill_flash() {
	dd if=/dev/zero of=/overlay/fill bs=64k 2>/dev/null
	dd if=/dev/zero of=/overlay/rest bs=1k 2>/dev/null
	busybox sync
}

empty_flash() {
	rm /overlay/fill /overlay/rest
	busybox sync
}

protect_flash() { mount -o remount,ro /overlay; }

release_flash() { mount -o remount,rw /overlay; }

# interrupt AT KEY: the next harvest does, in place of its operation AT (see interrupt.py), what
# sysrq does for KEY: b for a reset, c for a panic.  AT may be a share of all: 3/8.
interrupt() {
	local at=$1
	case $at in
	*/*) at=$(($(wc -l </lab/operations) * ${at%/*} / ${at#*/})) ;;
	esac
	echo "$at $2" >/lab/interrupt
}

# --- looking

# look: what lastlog says, and what it left where.
look() {
	run status lastlog --json status
	run list lastlog --json list
	glance
}

# glance: what lies where, without starting lastlog.
glance() {
	local folder
	[ ! -f /lab/operations ] || cp /lab/operations "$out/"
	cp -a /tmp/log/messages "$out/syslog"
	for folder in /tmp/run/procd/*/; do
		[ ! -f "$folder/status" ] || cp "$folder/status" "$out/$(basename "$folder").exit"
	done
	cp /tmp/*.events "$out/" 2>/dev/null
	mkdir "$out/pstore" "$out/etc"
	cp -a /sys/fs/pstore/. "$out/pstore/" 2>/dev/null
	cp -a /etc/lastlog/. "$out/etc/" 2>/dev/null
	(cat /proc/mounts; df; cat /proc/iomem /proc/mtd; dmesg) >"$out/system" 2>/dev/null
	find /tmp -type f -exec ls -l {} + >"$out/tmp"
}

# grown: the sizes of all that could grow, one line a boot.
grown() {
	{
		echo "boot $boot"
		echo "archive $(cat /etc/lastlog/saved/* 2>/dev/null | wc -c)"
		echo "ledger $(wc -c </etc/lastlog/boots)"
		echo "journal $(dd if=/dev/mtd0 bs=64k skip=14 2>/dev/null | tr -d '\000\377' | wc -c)"
		echo "tmp $(find /tmp -type f ! -path '/tmp/log/*' -exec cat {} + | wc -c)"
		echo "flash $(df -k /overlay | awk 'END { print $3 }')"
	} | tr '\n' ' ' >>/lab/results/growth
	echo >>/lab/results/growth
}

# run NAME COMMAND...: NAME.out, NAME.err, NAME.exit
run() {
	local name="$out/$1"
	shift
	"$@" >"$name.out" 2>"$name.err"
	echo $? >"$name.exit"
}

# --- ways to end a boot

# crash KIND: the kernel's log says in which boot.
crash() {
	echo "lab: crash of boot $boot" >/dev/kmsg
	case $1 in
	panic)
		echo c >/proc/sysrq-trigger ;;
	oom)
		# Out of memory sooner: all but some 32 MiB are set aside as huge pages.
		awk '/^MemFree/ { print int($2 / 2048) - 16 }' /proc/meminfo >/proc/sys/vm/nr_hugepages
		tail /dev/zero ;;
	oops)
		break_kernel version_proc_show
		cat /proc/version ;;
	esac
}

# break_kernel FUNCTION: from now on it reads address 0x10.  phram lets root write to any memory,
# the kernel's code included: xor %eax,%eax; mov 0x10(%rax),%rax.
break_kernel() {
	local code text function
	code=$(sed -n 's/^ *\([0-9a-f]*\)-.* : Kernel code$/0x\1/p' /proc/iomem)
	text=$(sed -n 's/^\([0-9a-f]*\) T _text$/0x\1/p' /proc/kallsyms)
	function=$(sed -n "s/^\\([0-9a-f]*\\) [tT] $1\$/0x\\1/p" /proc/kallsyms)
	echo "code,$((code + function - text)),4096" >/sys/module/phram/parameters/phram
	printf '\x31\xc0\x48\x8b\x40\x10' >/dev/mtd1
}

clean() { exec /sbin/reboot; }

# hang: nothing runs any more until somebody presses reset.
hang() {
	say reset
	while :; do sleep 1000; done
}

# power_cut: the plug is pulled; RAM forgets.
power_cut() {
	say power
	while :; do sleep 1000; done
}

off() {
	touch "$out/finished"
	say off
	while :; do sleep 1000; done
}
