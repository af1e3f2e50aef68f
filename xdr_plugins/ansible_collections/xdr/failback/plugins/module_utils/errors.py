# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""One exception for everything that can be told to a person: what happened, where, and what to do."""

from __future__ import annotations


class XdrError(Exception):
    """A failure in one sentence: what, where, what to do.

    ``code`` names the kind for programs; the command line turns it into an exit code (portal/results.py).
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "", code: str = "failed") -> None:
        self.what, self.where, self.todo, self.code = what, where, todo, code
        super().__init__(self.sentence())

    def sentence(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.todo}" if self.todo else text

    def failure(self) -> dict[str, str]:
        """The keyword arguments of ``AnsibleModule.fail_json``."""
        return {"msg": self.sentence(), "xdr_code": self.code, "xdr_where": self.where, "xdr_todo": self.todo}


class Refused(XdrError):  # noqa: N818  (what the site says, in one word)
    """The site will not do this: another owner, a newer attempt, a gate that is shut."""

    def __init__(self, what: str, *, where: str = "", todo: str = "", code: str = "refused") -> None:
        super().__init__(what, where=where, todo=todo, code=code)


class NotReached(XdrError):  # noqa: N818
    """The other end did not answer: nothing is known of what it did."""

    def __init__(self, what: str, *, where: str = "", todo: str = "", code: str = "not_reached") -> None:
        super().__init__(what, where=where, todo=todo, code=code)
