# Stand-in for base-files' /lib/functions.sh: reading UCI, as far as lastlog's scripts do.

# busybox' shell runs what is built in rather than what is in PATH.
insmod() { /sbin/insmod "$@"; }
modprobe() { /sbin/modprobe "$@"; }
logread() { /sbin/logread "$@"; }

# config_load PACKAGE; config_get VARIABLE SECTION OPTION [DEFAULT]; config_get_bool the same.
config_load() {
	eval "$(awk -v quote="'" '
		function bare(text) { gsub(/^[ \t]*["\047]?|["\047]?[ \t]*$/, "", text); return text }
		$1 == "config" { section = bare($3); if (!section) section = "cfg" ++count }
		$1 == "option" {
			value = $0
			sub(/^[ \t]*option[ \t]+[^ \t]+[ \t]+/, "", value)
			print "CONFIG_" section "_" bare($2) "=" quote bare(value) quote
		}' "/etc/config/$1")"
}

config_get() {
	eval "$1=\${CONFIG_$2_$3:-\$4}"
}

config_get_bool() {
	config_get "$@"
	eval "case \$$1 in 1|on|true|yes|enabled) $1=1 ;; 0|off|false|no|disabled) $1=0 ;;
		*) $1=\$4 ;; esac"
}
