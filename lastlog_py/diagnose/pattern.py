"""Regular expressions that cost nothing until a log needs them.

To compile one takes hundreds of times as long as to match it, and of all that kernels can say
one log holds little.  So each is compiled at its first use, and has words by which to tell that
a log has no use for it.
"""

from __future__ import annotations

import re
from functools import cached_property

__all__ = ["Pattern"]


class Pattern:
    """A regular expression; in every text that it matches is one of its `words`, if it has any."""

    def __init__(self, regex: str, *words: str) -> None:
        self.regex = regex
        self.words = words or ("",)

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.regex)

    def may_match(self, text: str) -> bool:
        """Whether it can match anywhere in `text`."""
        return any(word in text for word in self.words)

    def match(self, text: str) -> re.Match[str] | None:
        """The match at the start of `text`."""
        for word in self.words:             # not `may_match`: this is called for every line
            if word in text:
                return self.compiled.match(text)
        return None
