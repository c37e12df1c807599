#!/bin/sh
# Makes a PC ready for lastlog's tests.
# usage: sh package/pc.sh venv    .venv with what requirements-dev.txt names
#        sh package/pc.sh tools   the programs the tests use; without root it only says what lacks
set -eu
cd "$(dirname "$0")/.."

# Debian's packages: the machine and the file systems for a real kernel, the compiler for a module
# of it, the browser, the shell that routers have and the checker of its scripts, Lua for LuCI's old
# menus, and what makes backtraces of core dumps, for comparison, with musl for programs like a
# router's.
TOOLS='qemu-system-x86 qemu-system-mips e2fsprogs gcc libelf1 chromium busybox-static shellcheck
lua5.1 elfutils gdb gdb-multiarch musl-tools time'

# The compilers and the emulator for programs of other machines, which crash in tests, and the
# library that is a reference for lzo.
CROSS='g++ libc6-dev lib32gcc-12-dev qemu-user gcc-mips-linux-gnu gcc-mipsel-linux-gnu
gcc-mips64-linux-gnuabi64 gcc-mips64el-linux-gnuabi64 libn32gcc-12-dev-mips64el-cross
gcc-arm-linux-gnueabihf gcc-arm-linux-gnueabi gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu
gcc-powerpc-linux-gnu libc6-dev-mips-cross libc6-dev-mipsel-cross libc6-dev-mips64-cross
libc6-dev-mips64el-cross libc6-dev-mipsn32-mips64el-cross libc6-dev-armhf-cross
libc6-dev-armel-cross libc6-dev-arm64-cross libc6-dev-riscv64-cross libc6-dev-powerpc-cross
liblzo2-2'

say() {
	echo "lastlog: $*" >&2
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs packages, or says why it does not; status 1 if they are not there afterwards.
provide() {
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say "not installed here: $* (Debian's names; install them as root)"
		return 1
	fi
	say "installing $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >&2 || :
	apt-get install -q -y --no-install-recommends "$@" >&2
}

tools() {
	command -v dpkg-query >/dev/null || return 0
	need "$TOOLS"
	need "$CROSS"
}

# Tests that need what is missing are skipped and say so.
need() {
	missing=
	for package in $1; do
		installed "$package" || missing="$missing $package"
	done
	# Unquoted: one word a package.
	[ -z "$missing" ] || provide $missing || say 'going on without'
}

venv() {
	if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
		say "Python 3.11 or newer is needed; this is $(python3 --version 2>&1)"
		exit 1
	fi
	python3 -c 'import ensurepip, venv' 2>/dev/null || provide python3-venv
	python3 -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	# lastlog_py is found through this file even by `python3 -I`, as the router's scripts start it.
	echo "$PWD" >"$(.venv/bin/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')/lastlog.pth"
	touch .venv/.ready
}

case ${1-} in
venv | tools) "$1" ;;
*)
	say 'usage: sh package/pc.sh venv|tools'
	exit 2
	;;
esac
