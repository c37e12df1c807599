"""The one exception that reaches a person: what went wrong, and what to do about it."""

__all__ = ["LastlogError", "code_of", "unexpected", "visible"]


class LastlogError(Exception):
    """A use case that cannot be carried out.

    code: "bad-argument" | "not-found" | "not-saved" | "no-region" | "no-space" | "read-only" |
          "io" | "busy".
    message: one sentence, what is wrong.  hint: one sentence, what to do.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = visible(message)
        self.hint = visible(hint)

    def reply(self) -> dict[str, dict[str, str]]:
        """What a door answers in JSON."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


def visible(text: str) -> str:
    """`text` on one line: what moves a cursor or turns text around becomes U+FFFD.  Paths, names
    and logs may hold it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def code_of(error: OSError) -> str:
    """The code of an error that a write ended with."""
    if error.errno in (1, 13, 30):          # EPERM, EACCES, EROFS
        return "read-only"
    return "no-space" if error.errno in (28, 122) else "io"     # ENOSPC, EDQUOT


def unexpected(error: Exception) -> LastlogError:
    """What a door says when something failed that nobody thought of: never a bare traceback."""
    if isinstance(error, ImportError):
        return LastlogError("io", f"Python's {error.name} is missing.",
                            "Install the packages python3-light and python3-jinja2.")
    return LastlogError("io", f"lastlog failed: {type(error).__name__}: {error}.",
                        "Please report this as a bug, with the dump or record if there is one.")
