# Stand-in for procd and its shell functions: an instance is a folder in /tmp/run/procd, started in
# the background when the service is closed, with the environment and the outputs that procd gives.
_folder=/tmp/run/procd

procd_open_service() {
	_service=$1
	_instances=
	mkdir -p "$_folder"
}

procd_open_instance() {
	_instance=$_service.${1:-instance1}
	_instances="$_instances $_instance"
	rm -rf "${_folder:?}/$_instance"
	mkdir "$_folder/$_instance"
}

_quoted() {
	local word
	for word; do
		printf " '%s'" "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"
	done
}

procd_set_param() {
	local name=$1
	shift
	case $name in
	command | env) _quoted "$@" >"$_folder/$_instance/$name" ;;
	stdout | stderr) [ "$1" != 1 ] || : >"$_folder/$_instance/$name" ;;
	respawn) logger -t procd "the stand-in starts nothing again: $_instance" ;;
	*) echo "$name $*" >>"$_folder/$_instance/other" ;;
	esac
}

procd_append_param() {
	_quoted "$@" >>"$_folder/$_instance/$2"
}

procd_close_instance() { :; }
procd_add_reload_trigger() { :; }
procd_add_config_trigger() { :; }
procd_add_raw_trigger() { :; }
procd_add_reload_mount_trigger() { :; }
procd_open_trigger() { :; }
procd_close_trigger() { :; }

procd_close_service() {
	local instance
	service_triggers
	for instance in $_instances; do
		setsid /sbin/instance "$_folder/$instance" </dev/null >/dev/null 2>&1 &
	done
}

procd_kill() {
	local file
	for file in "$_folder/$1".*/pid; do
		[ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null
	done
}

procd_running() {
	local file
	for file in "$_folder/$1".*/pid; do
		[ ! -f "$file" ] || ! kill -0 "$(cat "$file")" 2>/dev/null || return 0
	done
	return 1
}
