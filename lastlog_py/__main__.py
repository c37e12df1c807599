"""`python3 -m lastlog_py` is the command `lastlog`."""

import sys

from .cli import main

sys.exit(main())
