# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Work beside other work: what it raises is never lost."""

from __future__ import annotations

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.beside import Beside
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused


def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [Refused("held open"), OSError("disk"), ValueError("a line of /proc that nobody expected")])
def test_any_failure_is_raised_at_the_end(error: Exception) -> None:
    reached = False
    with pytest.raises(type(error), match=str(error)), Beside(lambda: raising(error)):
        reached = True
    assert reached


def test_the_failure_of_the_body_is_the_one_that_is_told() -> None:
    with pytest.raises(KeyError), Beside(lambda: raising(ValueError("later"))):
        raise KeyError("first")
