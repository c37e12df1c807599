"""New real regions for tests/data/samples: kernels with every pstore option, crashed and read.

`python -m tests.e2e.samples NAME...` makes the samples of cases.py that have these names; a name
may be a pattern, "z*".  It fetches Debian's sources of the kernel, builds what a case needs
(4 to 8 minutes each, once) and runs it in QEMU, by software emulation alone.
"""
