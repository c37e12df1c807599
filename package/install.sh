#!/bin/sh
# Lays the files of one package below a directory, as package/files.list says.
# usage: sh package/install.sh PACKAGE DIRECTORY
set -eu
umask 022

package=$1
case $2 in
/*) root=$2 ;;
*) root=$PWD/$2 ;;
esac
cd "$(dirname "$0")/.."

while read -r name mode source place; do
	[ "$name" = "$package" ] || continue
	for file in $source; do
		case $place in
		*/) target=$root$place${file##*/} ;;
		*) target=$root$place ;;
		esac
		install -d -m 0755 "${target%/*}"
		install -m "$mode" "$file" "$target"
	done
done <package/files.list
