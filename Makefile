# lastlog, one Makefile for both worlds: the package of an OpenWrt buildroot or SDK when TOPDIR is
# set (package/lastlog/Makefile leads here), and what a developer types on a PC when it is not.

LASTLOG_DIR := $(dir $(lastword $(MAKEFILE_LIST)))
LASTLOG_VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' \
	'$(LASTLOG_DIR)lastlog_py/__init__.py')
LASTLOG_RELEASE := 1
LASTLOG_PACKAGES := lastlog luci-app-lastlog

title/lastlog := Flight recorder: why did the router reboot?
title/luci-app-lastlog := The Last Crash page in LuCI
depends/lastlog := python3-light python3-jinja2
depends/luci-app-lastlog := luci-base rpcd lastlog
# The drivers: a feed has them, so the package needs them there, each where its target can have it.
# An .ipk without a feed goes onto any router, whose kernel may have them built in, or have none.
kmods/lastlog := kmod-ramoops !TARGET_x86:kmod-mtd-phram
recommends/lastlog := kmod-ramoops kmod-mtd-phram
description/lastlog := Reads kernel panics, oopses and out-of-memory kills back from memory that \
	survives a reboot, explains them, and keeps them until they are cleared.
description/luci-app-lastlog := System - Last Crash: what the router said before it rebooted, \
	with buttons to save, download and clear it.

ifdef TOPDIR
# ---------------------------------------------------------------- OpenWrt buildroot and SDK

include $(TOPDIR)/rules.mk

PKG_NAME := lastlog
PKG_VERSION := $(LASTLOG_VERSION)
PKG_RELEASE := $(LASTLOG_RELEASE)
PKG_LICENSE := Apache-2.0
PKG_LICENSE_FILES := LICENSE
PKG_MAINTAINER := The lastlog authors
# The stub's folder holds no sources: these are what a rebuild depends on.  Absolute, because paths
# that begin with a dot are not looked at (include/depends.mk).
PKG_FILE_DEPENDS := $(abspath $(addprefix $(LASTLOG_DIR),Makefile files lastlog_py luasrc package))

include $(INCLUDE_DIR)/package.mk

define Package/lastlog
  SECTION:=admin
  CATEGORY:=Administration
  TITLE:=$(title/lastlog)
  DEPENDS:=$(addprefix +,$(depends/lastlog) $(kmods/lastlog))
  PKGARCH:=all
endef

define Package/luci-app-lastlog
  SECTION:=luci
  CATEGORY:=LuCI
  SUBMENU:=3. Applications
  TITLE:=$(title/luci-app-lastlog)
  DEPENDS:=$(addprefix +,$(depends/luci-app-lastlog))
  PKGARCH:=all
endef

# Nothing is compiled here: see package/files.list for why the router does it itself.
define Build/Prepare
endef

define Build/Configure
endef

define Build/Compile
endef

# What is in package/control/$(1) is the package's; $(2) names it as OpenWrt does.
lastlog_control = $(file <$(LASTLOG_DIR)package/control/$(1)/$(2))

Package/lastlog/description = $(description/lastlog)
Package/lastlog/conffiles = $(call lastlog_control,lastlog,conffiles)
Package/lastlog/postinst = $(call lastlog_control,lastlog,postinst)
Package/lastlog/postrm = $(call lastlog_control,lastlog,postrm)

Package/luci-app-lastlog/description = $(description/luci-app-lastlog)
Package/luci-app-lastlog/postinst = $(call lastlog_control,luci-app-lastlog,postinst)
Package/luci-app-lastlog/postrm = $(call lastlog_control,luci-app-lastlog,postrm)

define Package/lastlog/install
	sh $(LASTLOG_DIR)package/install.sh lastlog $(1)
endef

define Package/luci-app-lastlog/install
	sh $(LASTLOG_DIR)package/install.sh luci-app-lastlog $(1)
endef

# Spelled indirectly: a Makefile in the root of a feed that shows the scanner (include/scan.mk) the
# words it looks for breaks the whole feed, because the name it cuts out there is empty.
LASTLOG_BUILD := BuildPackage
$(foreach name,$(LASTLOG_PACKAGES),$(eval $(call $(LASTLOG_BUILD),$(name))))

else
# ---------------------------------------------------------------- a PC

PORT ?= 8088
BUILD := build
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test crash cycles bench ipk install clean tools

help: ## this list
	@echo 'lastlog $(LASTLOG_VERSION): why did the router reboot, and what did it say last?'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

run: .venv/.ready ## the Last Crash page with a real kernel panic, on 127.0.0.1 (PORT=8088)
	@exec $(PYTHON) -m lastlog_py.page.demo --port $(PORT)

test: .venv/.ready tools ## the whole test suite, with ruff and mypy
	@status=0; \
	$(PYTHON) -m ruff check || status=1; \
	$(PYTHON) -m mypy || status=1; \
	$(PYTHON) -m pytest || status=1; \
	exit $$status

crash: .venv/.ready tools ## boot a real kernel in QEMU, crash it, reboot it, see what is retrieved
	@$(PYTHON) -m tests.e2e.crash

cycles: .venv/.ready tools ## a hundred crashes and boots of an emulated router (10 to 18 minutes)
	@LASTLOG_CYCLES=100 $(PYTHON) -m pytest tests/e2e/router/test_cycles.py

bench: .venv/.ready tools ## what it costs, as ratios; build/bench.json
	@$(PYTHON) -m tests.bench

ipk: ## build/*.ipk for a router with opkg; needs no OpenWrt SDK
	@rm -rf $(BUILD)/ipk $(BUILD)/*.ipk
	@$(foreach name,$(LASTLOG_PACKAGES),$(call build_ipk,$(name)) &&) true

define build_ipk
sh package/install.sh $(1) $(BUILD)/ipk/$(1) && \
SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) python3 package/ipk.py $(BUILD)/ipk/$(1) \
	package/control/$(1) $(BUILD) --package '$(1)' --version '$(LASTLOG_VERSION)-r$(LASTLOG_RELEASE)' \
	--depends '$(depends/$(1))' --recommends '$(recommends/$(1))' \
	--description '$(description/$(1))'
endef

install: ## lay the router's files under DESTDIR=, e.g. the files/ folder of an image builder
	@test -n '$(DESTDIR)' || { echo >&2 \
		'make install: say where with DESTDIR=; these files are meant for a router.'; exit 2; }
	@$(foreach name,$(LASTLOG_PACKAGES),sh package/install.sh $(name) '$(DESTDIR)' &&) true

clean: ## remove what was built and cached; .venv stays
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lastlog_py tests -name __pycache__ -prune -exec rm -rf {} +

tools:
	@sh package/pc.sh tools

.venv/.ready: requirements-dev.txt
	@sh package/pc.sh venv

endif
