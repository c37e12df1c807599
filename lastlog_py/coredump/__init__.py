"""From a core dump on a pipe to a backtrace of every thread.

Everything here runs as root in the kernel's core handler, on hostile input: bounded, never raising
on bad bytes, and importing no more than os, time, zlib and struct.
"""
