# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The text of a plan: priorities that are written back and nothing else with them, the order, differences, the schema's help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import environment
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Source, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from portal import PROJECT
from portal.plan_view import one_plan
from portal.plans import load
from portal.runbook import Place, Runbook, difference, moved, order, reprioritised, typed
from portal.schema_help import Field, reference
from tests.support.examples import examples

LAB = PROJECT / "inventories" / "lab"
NAMES = ("database", "application", "front")
TEXT = """\
groups:
  - {name: database, priority: 1}  # first
  - name: application
    priority:   2 # quoting: 'x' "y"
    resources: &all [{name: cart}, {name: 'b'}]
  - priority: 3
    name: front
"""
SECOND = Place("b", 2, ("x",))


def priorities(text: str) -> dict[str, int]:
    return {group["name"]: group["priority"] for group in parse(text, "t").data["groups"]}


@pytest.mark.parametrize(
    ("text", "wanted", "changed"),
    [
        (TEXT, {"database": 7}, {"  - {name: database, priority: 7}  # first"}),
        (TEXT, {"application": 12}, {"    priority:   12 # quoting: 'x' \"y\""}),
        (TEXT, {"front": 1, "database": 3}, {"  - priority: 1", "  - {name: database, priority: 3}  # first"}),
        (TEXT.replace("priority: 3", '"priority" : 0x3'), {"front": 9}, {'  - "priority" : 9'}),
        (TEXT.replace("priority: 3", "priority: &p 3"), {"front": 9}, {"  - priority: &p 9"}),
        (TEXT.replace("priority: 3", "? priority\n    : 3"), {"front": 9}, {"    : 9"}),
        (TEXT.replace("priority: 3", "priority: *p").replace("groups", "rounds: &p 3\ngroups"), {"front": 9}, {"  - priority: 9"}),
        (TEXT.replace("priority: 3", "priority:\n      3"), {"front": 9}, {"      9"}),
        (TEXT, {"database": 1, "front": 3}, set()),
    ],
    ids=["flow", "comment", "two", "quoted key", "anchor", "explicit key", "alias", "own line", "nothing"],
)
def test_a_priority_is_written_in_its_place(text: str, wanted: dict[str, int], changed: set[str]) -> None:
    new = reprioritised(text, wanted)
    pairs = list(zip(text.splitlines(), new.splitlines(), strict=True))
    assert {after for before, after in pairs if before != after} == changed
    assert priorities(new) == priorities(text) | wanted


@pytest.mark.parametrize(
    ("text", "wanted", "told"),
    [
        (TEXT, {"nix": 1}, "group nix has no priority in the text"),
        (TEXT.replace("  - priority: 3\n    name", "  - name"), {"front": 1}, "group front has no priority"),
        (TEXT.replace("priority: 3", "priority: &p 3") + "rounds: *p\n", {"front": 1}, "that other fields take over (&p)"),
        (TEXT + "x: [\n", {"front": 1}, "not valid YAML"),
        ("groups: 5\n", {"front": 1}, "group front has no priority"),
        ("groups: [5, {name: [x]}, {name: front}]\n", {"front": 1}, "group front has no priority"),
    ],
    ids=["no group", "no priority", "taken over", "no YAML", "no groups", "no names"],
)
def test_a_priority_that_cannot_be_changed_alone(text: str, wanted: dict[str, int], told: str) -> None:
    with pytest.raises(XdrError) as refusal:
        reprioritised(text, wanted)
    assert told in refusal.value.sentence()


comments = st.sampled_from(["", "  # why", " #", " # priority: 5", "  # ä ✔ 'x'"])
between = st.sampled_from(["", "# a comment\n", "\n", "  # indented\n\n"])
shapes = st.sampled_from(
    [
        "  - name: {name}\n    priority: {token}{comment}\n",
        "  - priority: {token}{comment}\n    name: '{name}'\n",
        '  - {{"name": "{name}", priority: {token}}}{comment}\n',
        "  - {{\n      priority: {token} ,{comment}\n      name: {name} }}\n",
        "  - name: >-\n      {name}\n    priority: &{name} {token}{comment}\n    resources: []\n",
        "  -   name: {name}{comment}\n      'priority'  :   {token}\n",
    ]
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    """A text, and the same with a hole in the place of each priority."""
    whole = holes = draw(st.sampled_from(["", "---\n", "# first\n---\n", "%YAML 1.2\n---\n"])) + "plan: x\ngroups:\n"
    for name in draw(st.permutations(NAMES)):
        shape, comment, more = draw(shapes), draw(comments), draw(between)
        token = draw(st.sampled_from(["1", "02", "0x10", "1_0", "9999"]))
        whole += shape.format(name=name, token=token, comment=comment) + more
        holes += shape.format(name=name, token=f"<{name}>", comment=comment) + more
    end = draw(st.sampled_from(["", "...\n", "traffic: {}", "# no end of line"]))
    mark, newline = draw(st.sampled_from(["", "\ufeff"])), draw(st.sampled_from(["\n", "\r\n"]))
    return mark + (whole + end).replace("\n", newline), mark + (holes + end).replace("\n", newline)


@settings(max_examples=examples(40), deadline=None)
@given(texts(), st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9999)))
def test_all_but_the_numbers_stays_to_the_byte(text: tuple[str, str], wanted: dict[str, int]) -> None:
    whole, holes = text
    before = priorities(whole)
    new = reprioritised(whole, wanted)
    assert priorities(new) == before | wanted
    pattern = re.sub(r"<(\w+)>", r"(?P<\1>[\\w]+)", re.escape(holes))
    found = re.fullmatch(pattern, new)
    assert found, "something else has changed"
    assert {name: found[name] for name in wanted if wanted[name] != before[name]} == {
        name: str(number) for name, number in wanted.items() if number != before[name]
    }
    assert reprioritised(whole, {}) == whole


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "a: 1", "  - b", "a: 1", "# ä"]), st.sampled_from(["\n", "\r\n"]))),
    st.booleans(),
    st.booleans(),
)
def test_a_form_gives_back_the_text_that_it_was_given(lines: list[tuple[str, str]], mark: bool, ended: bool) -> None:
    text = "\ufeff" * mark + "".join(line + end for line, end in lines) + "last" * ended
    sent = re.sub("\r?\n", "\r\n", text)
    assert typed(sent, text) == text
    assert typed(sent.removeprefix("\ufeff"), text) == text, "a browser may drop the mark"


def test_new_lines_end_as_the_others_do() -> None:
    assert typed("a\r\nnew\r\nb\r\n", "a\nb\n") == "a\nnew\nb\n"
    assert typed("a\r\nnew\r\nb\r\n", "a\r\nb\r\n") == "a\r\nnew\r\nb\r\n"
    assert typed("a\r\nnew\r\nb\r\nc", "a\r\nb\r\nc\n") == "a\r\nnew\r\nb\r\nc"
    assert typed("", "a\n") == ""
    assert typed("a\r\n", "") == "a\n"


def test_moving_a_group_exchanges_two_numbers() -> None:
    numbers = {"a": 10, "b": 30, "c": 20}
    assert moved(numbers, "b", -1) == {"a": 10, "b": 20, "c": 30}
    assert moved(numbers, "a", 1) == {"a": 20, "b": 30, "c": 10}
    assert moved(numbers, "a", -1) == moved(numbers, "b", 1) == numbers


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (
            [{"name": "b", "priority": 2, "resources": [{"name": "x"}, 5]}, {"name": "a", "priority": 1}],
            [Place("a", 1), Place("b", 2, ("x",))],
        ),
        ([{"name": "a"}, {"name": "b", "priority": True}, {"priority": 1}], [Place("None", 1), Place("a", None), Place("b", None)]),
        (["a", None, {"name": "b", "priority": -1, "resources": "x"}], [Place("b", -1)]),
        (None, []),
        ({"a": 1}, []),
    ],
)
def test_the_order_of_what_can_be_read(groups: object, expected: list[Place]) -> None:
    assert order({"groups": groups}) == expected


def test_a_difference_names_the_lines_of_both() -> None:
    old = "".join(f"line {number}\n" for number in range(1, 21))
    lines = difference(old, old.replace("line 10\n", "line ten\nand more\n"), around=1)
    assert [(line.kind, line.text, line.old, line.new) for line in lines] == [
        ("@", "line 9", None, None),
        (" ", "line 9", 9, 9),
        ("-", "line 10", 10, None),
        ("+", "line ten", None, 10),
        ("+", "and more", None, 11),
        (" ", "line 11", 11, 12),
    ]
    assert difference(old, old) == []
    assert [line.kind for line in difference("a\r\n", "a\n")] == ["@", "-", "+"]


def test_the_whole_environment_is_checked_with_the_text_in_its_place() -> None:
    book = Runbook(LAB, one_plan("webshop", LAB))
    text = book.read()
    found = book.check(text)
    assert found.plan == book.plan
    assert found.help[6] == "replication: How volumes are kept equal"
    found = book.check(text.replace("dr: amsterdam", "dr: paris"))
    assert [(problem.line, problem.column, problem.field) for problem in found.problems] == [(4, 29, "sites.dr")]
    assert (found.plan, [place.group for place in found.stop]) == (None, ["frontend", "application", "database"])
    assert book.check("x").problems[0].text.startswith("expected a mapping")
    assert "larger than 512 KiB" in book.check("#" * (600 << 10)).problems[0].text


def test_no_file_that_was_read_before_is_read_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 500 plans that took half a minute for each look at the page."""
    read: list[Source | None] = []
    real = environment._read_plan

    def counted(path: Path, *of: Any) -> Any:
        read.append(of[-1])
        return real(path, *of)

    monkeypatch.setattr(environment, "_read_plan", counted)
    kept = environment.Kept()
    load(LAB, kept=kept)
    book = Runbook(LAB, one_plan("webshop", LAB), kept)
    text = book.read()
    read.clear()
    assert (book.check(text).plan, read) == (book.plan, [])
    edited = book.check(text.replace("priority: 1", "priority: 5", 1))
    assert edited.plan
    assert (edited.plan["hash"] != book.plan["hash"], [source is not None for source in read]) == (True, [True])
    assert (book.check(text).plan, len(read)) == (book.plan, 1), "what was only typed is not kept"


def test_every_field_of_the_schema_is_explained() -> None:
    def walk(fields: tuple[Field, ...], path: str = "") -> dict[str, Field]:
        return {
            key: field for each in fields for key, field in {f"{path}{each.name}": each, **walk(each.fields, f"{path}{each.name}.")}.items()
        }

    found = walk(reference())
    assert [path for path, field in found.items() if not field.about] == []
    assert found["groups.resources.instance.driver"].kind == "supervisor or systemd"
    assert found["groups.resources.instance.unit"].required is False, "only of one of the drivers"
    assert found["groups.resources.instance.driver"].required
    assert found["replication.bandwidth_limit"].kind == "text or a mapping"
    assert found["replication.bandwidth_limit.hours.from"].required
    assert found["groups.resources.volumes.tracker.qemu_bitmap.image"].kind == "text"
