# A stand-in for OpenWrt's: UCI's values for a script, and what becomes of a package's files when
# they are installed and removed, in its order.
config_load() {
	config() { config_section=$2; }
	option() { eval "CONFIG_${config_section}_$1=\$2"; }
	list() { :; }
	[ ! -r "$ROUTER/etc/config/$1" ] || . "$ROUTER/etc/config/$1"
}

config_get() {
	eval "$1=\${CONFIG_$2_$3:-${4-}}"
}

config_get_bool() {
	config_get "$@"
	eval "case \$$1 in 1|on|true|yes|enabled) $1=1 ;; *) $1=0 ;; esac"
}

default_postinst() {
	local pkgname info file
	pkgname=$(basename "${1%.*}")
	info=/usr/lib/opkg/info/$pkgname
	for file in $(grep -s '^/etc/uci-defaults/' "$info.list"); do
		( [ -f "$file" ] && cd "$(dirname "$file")" && . "$file" ) && rm -f "$file"
	done
	[ ! -f "$info.postinst-pkg" ] || ( . "$info.postinst-pkg" )
	for file in $(grep -s '^/etc/init.d/' "$info.list"); do
		[ "$PKG_UPGRADE" = 1 ] || "$file" enable
		"$file" start
	done
}

default_prerm() {
	local pkgname info file
	pkgname=$(basename "${1%.*}")
	info=/usr/lib/opkg/info/$pkgname
	[ ! -f "$info.prerm-pkg" ] || ( . "$info.prerm-pkg" )
	for file in $(grep -s '^/etc/init.d/' "$info.list"); do
		[ "$PKG_UPGRADE" = 1 ] || "$file" disable
		"$file" stop
	done
}
