# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The site agent: what a site host does when a peer, the supervisor or the boot asks it. Run as a zipapp.

What the verbs need is imported when a verb is called: the channel is opened with services waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import XdrError

USAGE = 2
FAILED = 255


def main(argv: Sequence[str], version: str) -> int:
    """The exit code: 0, 1 for a failure told on stderr (255 by ``condition``), 2 for a wrong call, 77 for a start that was refused."""
    options = _parser().parse_args(argv)
    try:
        return _dispatch(options, version)
    except XdrError as error:
        print(f"xdr agent: {error.sentence()}", file=sys.stderr, flush=True)
        return 1


def _dispatch(options: argparse.Namespace, version: str) -> int:
    if options.verb == "ssh":
        return _ssh(options.state_dir, version)
    if options.verb == "guard":
        from .guard import guard

        return guard(options.state_dir, options.plan, options.instance, options.argv)
    if options.verb == "condition":
        return _condition(options)
    if options.verb == "boot":
        from .boot import boot

        return boot(options.state_dir, options.plan, options.instance)
    if options.verb == "lease-keeper":
        from .lease_keeper import keep

        return keep(options.state_dir, options.plan, options.part)
    return _remote(options, options.state_dir, version)


def _condition(options: argparse.Namespace) -> int:
    """systemd takes 255 for a failure, which it shows and may try again, and any other code for a start that is to be skipped."""
    from .guard import condition

    try:
        return condition(options.state_dir, options.plan, options.instance)
    except (XdrError, OSError) as error:
        print(f"xdr guard: {error.sentence() if isinstance(error, XdrError) else error}", file=sys.stderr, flush=True)
        return FAILED


def _ssh(state_dir: Path, version: str) -> int:
    """The forced command: what the peer asked for is parsed, and never given to a shell."""
    try:
        words = shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    except ValueError as error:
        print(f"xdr agent: the command cannot be parsed: {error}", file=sys.stderr)
        return USAGE
    return _remote(_remote_parser().parse_args(words), state_dir, version)


def _remote(options: argparse.Namespace, state_dir: Path, version: str) -> int:
    if options.verb == "receive":
        from .delta.receiver import serve

        return serve(state_dir, sys.stdin.buffer, sys.stdout.buffer)
    if options.verb == "measure":
        from .measuring import serve as answer_measure

        return answer_measure(sys.stdin.buffer, sys.stdout.buffer)
    if options.verb == "record":
        from .record import load

        print(json.dumps(load(state_dir, options.plan).to_json()), flush=True)
    elif options.verb == "lease":
        from .lease_grants import answer

        print(json.dumps(answer(state_dir, options.plan, options.host, options.site, options.epoch, options.ttl)), flush=True)
    elif options.verb == "lease-end":
        from .lease_grants import give_back

        give_back(state_dir, options.plan, options.host)
    elif options.verb == "ping":
        from .site import load_site

        print(json.dumps({"host": load_site(state_dir).host, "version": version, "time": time.time()}), flush=True)
    else:
        print(version, flush=True)
    return 0


def _remote_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xdr-site-agent", allow_abbrev=False)
    _remote_verbs(parser.add_subparsers(dest="verb", required=True))
    return parser


def _parser() -> argparse.ArgumentParser:
    """Every verb; those of a peer take --state-dir too, for a person at the host."""
    parser = argparse.ArgumentParser(prog="xdr-site-agent", allow_abbrev=False, description="The XDR agent of a site host")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in _remote_verbs(verbs):
        _state_dir(verb, required=not verb.prog.endswith(" version"))
    _state_dir(verbs.add_parser("ssh", help="forced command of the site-to-site channel"))
    guard = verbs.add_parser("guard", help="become an instance, if this site owns the plan")
    condition = verbs.add_parser("condition", help="whether systemd may start an instance (its ExecCondition=)")
    boot = verbs.add_parser("boot", help="start the instances of a plan, if this site owns it")
    keeper = verbs.add_parser("lease-keeper", help="hold the plan's ownership lease for this host, in the background")
    for verb in (guard, condition, boot, keeper):
        _state_dir(verb)
        verb.add_argument("--plan", required=True)
    for verb in (guard, condition):
        verb.add_argument("--instance", required=True)
    boot.add_argument("--instance", action="append", default=[], help="only this one; may be given several times")
    keeper.add_argument("--part", choices=("renew", "watch"), required=True)
    guard.add_argument("argv", nargs="+", metavar="COMMAND")
    return parser


def _remote_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    receive = verbs.add_parser("receive", help="be the target of a sync, on stdin and stdout")
    ping = verbs.add_parser("ping", help="answer with name, version and time")
    record = verbs.add_parser("record", help="print the ownership record of a plan")
    record.add_argument("plan")
    lease = verbs.add_parser("lease", help="as the witness, grant or renew a host's ownership lease of a plan")
    end = verbs.add_parser("lease-end", help="as the witness, forget it: the host holds to none")
    for verb in (lease, end):
        verb.add_argument("plan")
        verb.add_argument("host")
    lease.add_argument("site", choices=("primary", "dr"))
    lease.add_argument("epoch", type=int)
    lease.add_argument("ttl", type=int, help="seconds")
    measure = verbs.add_parser("measure", help="answer a peer that measures the channel, on stdin and stdout; keeps nothing")
    return [receive, ping, measure, record, lease, end, verbs.add_parser("version", help="print the version")]


def _state_dir(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--state-dir", type=Path, required=required)
