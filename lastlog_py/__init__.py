"""lastlog: the flight recorder for OpenWrt routers."""

__version__ = "0.1.0"
