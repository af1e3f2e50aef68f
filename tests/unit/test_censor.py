# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A secret is found by its key, and by its value in whatever form that turns up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.censor import MASK, Censor, forms

SECRETS = [
    ({"db_password": "hunter22"}, {"db_password": MASK}),
    ({"api-key": "x", "api_key": "x"}, {"api-key": "x", "api_key": MASK}),
    ({"nested": [{"Token": "abc"}]}, {"nested": [{"Token": MASK}]}),
    ({"msg": "login hunter22 failed"}, {"msg": f"login {MASK} failed"}),
    ({"password_file": "/etc/pw"}, {"password_file": "/etc/pw"}),
    ({"token_ttl": 3600, "bypass": "no"}, {"token_ttl": 3600, "bypass": "no"}),
    ({"ansible_ssh_pass": "x", "pass": "x"}, {"ansible_ssh_pass": MASK, "pass": MASK}),
    ({"password": ""}, {"password": ""}),
    ({"count": 3, "on": True, "none": None}, {"count": 3, "on": True, "none": None}),
    ({"path": Path("/a")}, {"path": "/a"}),
]


@pytest.mark.parametrize(("value", "censored"), SECRETS)
def test_censor(value: dict[str, Any], censored: dict[str, Any]) -> None:
    assert Censor({"MY_SECRET": "hunter22", "USER": "ann"}, {"deep": {"passphrase": ["longer-one"]}})(value) == censored


def test_a_value_is_masked_where_it_turns_up() -> None:
    censor = Censor({"deep": {"passphrase": ["longer-one"]}, "short_token": "abc"})
    assert censor("x longer-one y abc") == f"x {MASK} y abc"


@pytest.mark.parametrize(
    ("secret", "said", "shown"),
    [
        (20251126, "login with 20251126", f"login with {MASK}"),
        (20251126, {"pin": 20251126, "20251126": [20251126, 20251126.0]}, {"pin": MASK, MASK: [MASK, MASK]}),
        ("20251126", {"pin": 20251126}, {"pin": MASK}),
        (12.75, "pay 12.75", f"pay {MASK}"),
        (12.75, [12.75], [MASK]),
        (-4711, "it is -4711", f"it is {MASK}"),
        (22, {"22": 22, "text": "22"}, {"22": 22, "text": "22"}),
        (0, [0, "0"], [0, "0"]),
        (True, [True, 1, "True"], [True, 1, "True"]),
        ([1, 1234], "1 of 1234", f"1 of {MASK}"),
        ('pass"word', json.dumps({"is": 'pass"word'}), json.dumps({"is": MASK})),
        ("pass\\word", str(["pass\\word"]), str([MASK])),
        ("it's it", str(["it's it"]), f'["{MASK}"]'),
        ("it's it", repr('it\'s it or "so"'), repr(f'{MASK} or "so"')),
        ("it's it", "mysql -p" + shlex.quote("it's it"), f"mysql -p'{MASK}'"),
        ("grüße", json.dumps("grüße"), json.dumps(MASK)),
        ("grüße", json.dumps("grüße", ensure_ascii=False), json.dumps(MASK)),
        ("one\ntwo", json.dumps(json.dumps("one\ntwo")), json.dumps(json.dumps(MASK))),
        ("one\ntwo\n", "one\ntwo", MASK),
        ("a first line\nand a second\n", ["a first line", "  and a second"], [MASK, f"  {MASK}"]),
        ("a first line\nand it", "and it", "and it"),
    ],
)
def test_a_secret_s_forms(secret: Any, said: Any, shown: Any) -> None:
    assert Censor({"db_password": secret})(said) == shown


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=MASK))
SECRETS = st.one_of(TEXTS, st.text("a'\"\\\n é€", min_size=4), st.integers(), st.floats(allow_nan=False))
SAYING: tuple[Callable[[str], str], ...] = (
    str,
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    repr,
    shlex.quote,
)


@given(SECRETS.filter(lambda one: len(str(one)) >= 4), TEXTS, TEXTS, st.sampled_from(SAYING), st.sampled_from(SAYING))
def test_no_secret_is_in_what_is_said(
    secret: Any, before: str, after: str, inner: Callable[[str], str], outer: Callable[[str], str]
) -> None:
    """Whatever it is and whatever is around it: neither as it is nor escaped."""
    shown = Censor({"db_password": secret})({"said": [outer(inner(f"{before}{secret}{after}")), secret]})
    said = shown["said"][0]
    assert [form for form in forms(str(secret)) if form in said] == []
    assert str(secret) not in str(shown["said"][1])
