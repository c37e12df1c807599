# phram.ko as an external module: one file of the kernel's own tarball, built against a kernel whose
# configuration is fixed.  Included by the package (in OpenWrt's SDK) and by its test (with Debian's
# kernel), with
#
#   PHRAM_TARBALL   the kernel's source, linux-VERSION.tar.*
#   PHRAM_DIR       where it is built; phram.ko is there afterwards
#   KERNEL_MAKE     make in the kernel's build tree, with all it needs

PHRAM_SOURCE := drivers/mtd/devices/phram

# Down to the file's place in the tarball; --occurrence: found once, the rest is not read.
define phram/prepare
	mkdir -p $(PHRAM_DIR)
	tar -C $(PHRAM_DIR) -xf $(PHRAM_TARBALL) --strip-components=4 --occurrence=1 \
		--wildcards '*/$(PHRAM_SOURCE).c'
	echo 'obj-m := phram.o' > $(PHRAM_DIR)/Kbuild
endef

define phram/compile
	+$(KERNEL_MAKE) M="$(PHRAM_DIR)" modules
endef
