"""lastlog: the flight recorder for OpenWrt routers."""

from . import bundled

__version__ = "0.1.0"

# A clock before this was never set: no lastlog existed then (2024-01-01 UTC, Unix seconds).
# Routers without a battery start in 1970, or at the time their firmware was built.
CLOCK_FLOOR = 1704067200

bundled.use()
