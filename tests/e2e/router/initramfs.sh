#!/bin/busybox sh
# First program of the initramfs: what a bootloader and OpenWrt's preinit do.  The root is an
# overlay: below it the firmware, read-only; above it the flash.  /dev/vdc is the laboratory's.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done
for wait in 1 2 3 4 5 6 7 8 9 10; do
	[ -b /dev/vdc ] && break
	usleep 200000
done
mount -t ext4 -o ro /dev/vda /rom && mount -t ext4 -o noatime /dev/vdb /overlay \
	&& mkdir -p /overlay/upper /overlay/work \
	&& mount -t overlay -o lowerdir=/rom,upperdir=/overlay/upper,workdir=/overlay/work o /root \
	&& mount -t ext4 /dev/vdc /root/lab || { echo 'lab: off'; sleep 1000; }
mount --move /dev /root/dev
mount --move /rom /root/rom
mount --move /overlay /root/overlay
exec switch_root /root /sbin/init
