"""An emulated router: what `make install` lays out, a real kernel, and what can happen to both."""
