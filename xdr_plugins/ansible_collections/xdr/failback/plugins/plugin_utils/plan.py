# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The schema of a plan and of an environment's plans.yml. The only file that imports pydantic."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from ansible_collections.xdr.failback.plugins.module_utils import dns_names, lease
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import bandwidth, recurrence, units
from ansible_collections.xdr.failback.plugins.plugin_utils.order import PLACEHOLDERS
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Problem, Source, SourceError, kind

try:
    from pydantic import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Discriminator,
        Field,
        Tag,
        ValidationError,
        WithJsonSchema,
        model_validator,
    )
except ImportError as error:  # sanity tests import this file without it; check_model() names what is missing
    MISSING: ImportError | None = error
    if not TYPE_CHECKING:
        BaseModel = object
        AfterValidator = BeforeValidator = ConfigDict = Discriminator = Field = Tag = WithJsonSchema = lambda *_, **__: None
        model_validator = lambda **_: lambda method: method  # noqa: E731
else:
    MISSING = None

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
PLAN_NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
PLAYBOOK = r"[A-Za-z0-9][A-Za-z0-9._-]*\.ya?ml"
SERVICE_UNIT = r"^[A-Za-z0-9:_][A-Za-z0-9:_.\\-]*(@[A-Za-z0-9:_.\\-]+)?\.service$"
HOOK_FIELDS = {  # kind of a hook → what else it may have
    "script": ("args", "timeout", "on_failure", "repeatable"),
    "playbook": ("timeout", "on_failure", "repeatable"),
    "pause": ("deadline", "on_deadline"),
}
KEY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
RESERVED_ENDINGS = ("primary", "dr", "witness", "balancers")


def _text(pattern: str, expected: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}; found {value!r}")
        return value

    return check


def _plan_name(name: str) -> str:
    if not re.fullmatch(PLAN_NAME, name) or len(name) > 40:
        raise ValueError(f"expected at most 40 lower-case letters, digits and single hyphens, a letter first; found {name!r}")
    if name.rpartition("-")[2] in RESERVED_ENDINGS and "-" in name:
        raise ValueError(
            f"a plan's name must not end in -{name.rpartition('-')[2]}: the inventory has a group of that name; found {name!r}"
        )
    return name


def _service_unit(unit: str) -> str:
    if "/" in unit:
        raise ValueError(f"expected the unit's name, such as orders-db.service, and not its path; found {unit!r}")
    if not unit.endswith(".service"):
        raise ValueError(f"expected a unit that ends in .service, such as orders-db.service; found {unit!r}")
    if unit.endswith("@.service"):
        raise ValueError(f"expected one instance of the template, such as {unit.removesuffix('.service')}1.service; found {unit!r}")
    if not re.fullmatch(SERVICE_UNIT, unit) or len(unit) > 255:
        raise ValueError(f"expected at most 255 letters, digits and ':', '_', '.', '-', '\\', with one '@' at most; found {unit!r}")
    return unit


def _volume_path(path: str) -> str:
    if not path or "\0" in path or ".." in PurePosixPath(path).parts or str(PurePosixPath(path)) != path or path in (".", "/"):
        raise ValueError(
            f"expected a path below the host's first volume root (orders.img), or an absolute one, without '..' or '//'; found {path!r}"
        )
    return path


def _script_path(path: str) -> str:
    if not path or "\0" in path or ".." in PurePosixPath(path).parts or str(PurePosixPath(path)) != path or path in (".", "/"):
        raise ValueError(
            f"expected a path below the host's folder for hooks (drain.sh), or an absolute one, without '..' or '//'; found {path!r}"
        )
    return path


def _script_argument(text: str) -> str:
    if "\0" in text or len(text) > 4096:
        raise ValueError("expected at most 4096 characters without a null")
    return text


def _argument(text: str) -> str:
    unknown = sorted(set(re.findall(r"\{[a-z_]+\}", text)) - set(PLACEHOLDERS))
    if unknown:
        raise ValueError(f"unknown placeholder {unknown[0]}; accepted here: {', '.join(PLACEHOLDERS)}")
    return text


def _split(command: object) -> object:
    """One string is split as a shell would; no shell ever runs it."""
    try:
        return shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ValueError(f"expected a command, a quotation is open in {command!r} ({error})") from error


def _unit(read: Callable[[object], int], pattern: str, low: int, high: int, limits: str) -> Any:
    """A validator from text to a number between ``low`` and ``high``, which ``limits`` says in words."""

    def check(value: object) -> int:
        number = read(value)
        if not low <= number <= high:
            raise ValueError(f"expected {limits}; found {value!r}")
        return number

    return BeforeValidator(check), WithJsonSchema({"type": "string", "pattern": pattern})


def _seconds_too(value: object) -> object:
    """A TTL may be written as in a zone file, too: 300."""
    return f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else value


def _dns_server(text: str) -> str:
    dns_names.server(text)
    return text


def _rate_or_none(value: object) -> int | None:
    return None if value == "none" else units.rate(value)


def _either(word: str) -> Any:
    """Tells a word from a mapping, so that only the one that was meant is blamed."""
    return Discriminator(lambda value: "mapping" if isinstance(value, (dict, BaseModel)) else word)


if TYPE_CHECKING:
    Name = str
    PlanName = str
    SiteName = str
    VolumePath = str
    HttpPath = str
    ScriptPath = str
    ScriptArgument = str
    PlaybookName = str
    Program = str
    ServiceUnit = str
    ServerName = str
    Duration = int
    Timeout = int
    LeaseTime = int
    Interval = int
    Size = int
    Rate = int
    RateOrNone = int | None
    Clock = str
    Zone = str
    LocalTime = str
    RecurrenceRule = str
    WindowTime = int
    SocketPath = str
    Ttl = int
    DnsZone = str
    DnsServer = str
    KeyName = str
    Target = int
    Argv = list[str]
    CommandLine = list[str]
    QuiesceArgv = list[str]
else:
    _name = _text(NAME, "a name of letters, digits, '-' and '_', a letter or digit first, at most 63")
    Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": NAME})]
    PlanName = Annotated[str, AfterValidator(_plan_name), Field(json_schema_extra={"pattern": PLAN_NAME, "maxLength": 40})]
    SiteName = Name
    ServerName = Annotated[str, AfterValidator(_text(r"[A-Za-z0-9._:-]+", "a server's name as in the balancer's configuration"))]
    Program = Annotated[str, AfterValidator(_text(r"[A-Za-z0-9._:-]+", "a program's name as in supervisord's configuration"))]
    ServiceUnit = Annotated[str, AfterValidator(_service_unit), Field(json_schema_extra={"pattern": SERVICE_UNIT, "maxLength": 255})]
    VolumePath = Annotated[str, AfterValidator(_volume_path)]
    ScriptPath = Annotated[str, AfterValidator(_script_path)]
    ScriptArgument = Annotated[str, AfterValidator(_script_argument)]
    PlaybookName = Annotated[
        str,
        AfterValidator(_text(PLAYBOOK, "the name of a file in hooks/ beside the inventory, such as dns.yml")),
        Field(json_schema_extra={"pattern": f"^{PLAYBOOK}$"}),
    ]
    HttpPath = Annotated[str, AfterValidator(_text(r"/[!-~]*", "a path that begins with '/'")), Field(json_schema_extra={"pattern": "^/"})]
    Duration = Annotated[int, *_unit(units.duration, units.DURATION_PATTERN, 0, 31_536_000, "at most 365d")]
    Target = Annotated[int, *_unit(units.duration, units.DURATION_PATTERN, 1, 31_536_000, "1s to 365d")]
    Timeout = Annotated[int, *_unit(units.duration, units.DURATION_PATTERN, 1, 86_400, "1s to 24h")]
    LeaseTime = Annotated[int, *_unit(units.duration, units.DURATION_PATTERN, 1, lease.LONGEST_TTL, "1s to 15m")]
    Interval = Annotated[int, *_unit(units.duration, units.DURATION_PATTERN, 1, 604_800, "1s to 7d")]
    Size = Annotated[int, *_unit(units.size, units.SIZE_PATTERN, 0, 1 << 60, "at most 1048576TiB")]
    Rate = Annotated[int, *_unit(units.rate, units.RATE_PATTERN, 1 << 16, 1 << 50, "64KiB/s to 1024TiB/s")]
    RateOrNone = Annotated[
        int | None,
        BeforeValidator(_rate_or_none),
        WithJsonSchema({"type": "string", "pattern": rf"{units.RATE_PATTERN}|^none$"}),
    ]
    Clock = Annotated[
        str,
        AfterValidator(_text(bandwidth.CLOCK, "a time of the day such as 08:00")),
        Field(json_schema_extra={"pattern": bandwidth.CLOCK}),
    ]
    Zone = Annotated[str, AfterValidator(bandwidth.known_zone)]
    LocalTime = Annotated[str, BeforeValidator(recurrence.local), WithJsonSchema({"type": "string", "pattern": recurrence.LOCAL})]
    RecurrenceRule = Annotated[str, AfterValidator(recurrence.rule)]
    WindowTime = Annotated[int, *_unit(units.duration, units.DURATION_PATTERN, 60, 604_800, "1m to 7d")]
    SocketPath = VolumePath
    _ttl = _unit(units.duration, units.DURATION_PATTERN, 1, 604_800, "1s to 7d")[0]
    Ttl = Annotated[int, _ttl, BeforeValidator(_seconds_too), WithJsonSchema({"type": ["string", "integer"]})]
    DnsZone = Annotated[str, AfterValidator(dns_names.domain)]
    DnsServer = Annotated[str, AfterValidator(_dns_server)]
    KeyName = Annotated[str, AfterValidator(_text(KEY_NAME, "the key's name as tsig-keygen takes it, such as xdr-failback"))]
    Argv = Annotated[list[str], Field(min_length=1)]
    CommandLine = Annotated[Argv, BeforeValidator(_split), WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})]
    QuiesceArgv = Annotated[list[Annotated[str, AfterValidator(_argument)]], Field(min_length=1)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PlanSites(Model):
    """The two sites by their names in plans.yml."""

    primary: SiteName = Field(description="The site where the plan is at home")
    dr: SiteName = Field(description="The site that takes over after a disaster")


class SiteHosts(Model):
    """An inventory host of each site."""

    primary: str = Field(description="The inventory host at the primary site")
    dr: str = Field(description="The inventory host at the DR site")


class Targets(Model):
    """What the plan is measured against."""

    rpo: Target = Field(description="The most data, as a time, that a disaster may cost, such as 5m")
    rto: Target = Field(description="The longest time without service, such as 15m")


class Hours(Model):
    """Another limit at some hours of the day."""

    start: Clock = Field(alias="from", description="The time of the day from which it holds, such as 08:00")
    stop: Clock = Field(
        alias="to", description="The time before which it holds, such as 18:00; an earlier one than from is on the next day"
    )
    limit: RateOrNone = Field(description="The most that is sent at these hours, such as 50MiB/s, or none")

    @model_validator(mode="after")
    def _some_time(self) -> Hours:
        if self.start == self.stop:
            raise ValueError(f"from and to are both {self.start}; expected two different times")
        return self


class Bandwidth(Model):
    """A limit with other ones at some hours of the day."""

    limit: Rate | None = Field(default=None, description="The most that is sent at all other hours; no limit when left out")
    hours: list[Hours] = Field(min_length=1, description="Other limits at some hours; the first that hold win")
    zone: Zone = Field(
        default="UTC",
        description="The time zone of the hours, such as Europe/Berlin; UTC when left out. Each run takes the offset that holds then",
    )


class Replication(Model):
    """How volumes are kept equal."""

    interval: Interval = Field(
        default=60, description="Time from the start of one cycle to the start of the next, such as 1m (the default)"
    )
    compression: Literal["auto", "none", "zlib", "zstd"] = Field(
        default="auto",
        description="Compression of blocks on the wire; auto takes the best that both hosts have, while the link is the slower part",
    )
    bandwidth_limit: Annotated[Annotated[Rate, Tag("rate")] | Annotated[Bandwidth, Tag("mapping")], _either("rate")] | None = Field(
        default=None,
        description="The most that is sent, such as 400MiB/s, or a mapping with other limits at some hours; no limit when left out",
    )
    ready_below: Size = Field(
        default=64 << 20, description="A failback may start when fewer bytes are left to copy, such as 64MiB (the default)"
    )
    rounds: int = Field(
        default=5,
        ge=1,
        le=100,
        description="At most so many cycles in a reversal, until ready_below is reached or the rest shrinks no more; 5 when left out",
    )
    recovery_points: int = Field(
        default=3, ge=0, le=100, description="How many consistent states of earlier cycles the target keeps; 3 when left out"
    )


class Failback(Model):
    """What a failback may take, and what it does when the primary is not well."""

    on_failed_health: Literal["rollback", "hold", "commit"] = Field(
        default="rollback",
        description="When health checks fail at the primary: rollback to DR (the default), hold and ask a person (retry, skip or abort), "
        "or commit all the same",
    )
    deadline: Timeout = Field(
        default=1200,
        description="The longest downtime before the hand-over, after which the failback rolls back by itself, such as 20m (the default)",
    )
    source_check: Duration = Field(
        default=30,
        description="The longest that a whole read of the sources may take in the downtime, to find what a tracker missed, such as 30s "
        "(the default); 0s is never",
    )
    soak: Duration = Field(default=600, description="How long recovery points are kept once the plan is home, such as 10m (the default)")
    start: Literal["button", "window"] = Field(
        default="button",
        description="What begins a failback: a person with the button (the default), or the opening of a maintenance window by itself",
    )


class Lease(Model):
    """Lets a failover go on without an attestation once it has run out; ttl is at least loop_wait + 2 retry_timeout + the longest
    stop_timeout of the plan + 2s."""

    ttl: LeaseTime = Field(
        description="Without a renewal for so long nothing of the plan runs at the primary, and DR may take over, such as 2m. At least "
        "loop_wait + 2 retry_timeout (two renewals may be lost) + the longest stop_timeout of the plan + 2s (to kill what is left)"
    )
    loop_wait: Timeout = Field(default=10, description="Time between two renewals at the witness, such as 10s (the default)")
    retry_timeout: Timeout = Field(default=10, description="How long one renewal waits for the witness, such as 10s (the default)")


class Ownership(Model):
    """How the right to run the plan's instances is held."""

    lease: Lease | None = Field(
        default=None,
        description="The primary site's hosts renew a lease at the witness and stop the plan's instances when it runs out; then a failover "
        "of a site that does not answer needs no attestation. Without the witness the services stop, too. Not in a "
        "plan with instances of the driver systemd. No lease when left out",
    )


class Approval(Model):
    """Which actions a second person must have approved."""

    four_eyes: list[Literal["failback", "failover", "reverse-replication", "reprotect", "resolve"]] = Field(
        default_factory=list,
        description="Actions whose preview another person than the starter must have approved, such as [failback, failover]",
    )


class SupervisorInstance(Model):
    """A program of the host's supervisord."""

    driver: Literal["supervisor"] = Field(description="What starts and stops the instance")
    program: Program = Field(description="The program's name in supervisord's configuration, autostart=false")

    @property
    def known_as(self) -> str:
        """What its driver calls it; on a host it belongs to one plan."""
        return self.program


class SystemdInstance(Model):
    """A service of the host's systemd."""

    driver: Literal["systemd"] = Field(description="What starts and stops the instance")
    unit: ServiceUnit = Field(description="The service's own name, such as orders-db.service or orders@1.service, no alias of it")

    @property
    def known_as(self) -> str:
        """What its driver calls it; on a host it belongs to one plan."""
        return self.unit


class QemuBitmap(Model):
    """Dirty bitmaps that qemu keeps, in a qcow2 image whose data file is the volume."""

    image: VolumePath = Field(description="The qcow2 image beside the volume; a path like the volume's, and another file")
    socket: SocketPath | None = Field(
        default=None,
        description="The QMP socket of the instance, absolute or below the host's first volume root; where nobody listens, nothing runs",
    )
    node: str | None = Field(default=None, min_length=1, description="The image's node in that process; found by its file when left out")
    nbd: SocketPath | None = Field(default=None, description="The unix socket of the NBD server that the instance runs, if it does")


class QemuTracker(Model):
    """A tracker with options."""

    qemu_bitmap: QemuBitmap = Field(description="The volume is written by qemu, which notes what is written")


class Volume(Model):
    """A raw image or block device."""

    name: Name = Field(description="A name, unique in the plan")
    path: VolumePath = Field(
        description="Below the host's first volume root (orders.img), or absolute below one of its roots; the same at both sites"
    )
    driver: Literal["delta"] = Field(default="delta", description="What moves the volume's data")
    grows: bool = Field(default=False, description="The volume may change its size; without it a difference in size is an error")
    tracker: Annotated[
        Annotated[Literal["auto", "scan", "reflink"], Tag("name")] | Annotated[QemuTracker, Tag("mapping")], _either("name")
    ] = Field(
        default="auto",
        description="Where the list of changed blocks comes from: auto (the default, what the storage can do), scan (the volume is read), "
        "reflink (XFS and btrfs), or qemu_bitmap with its options",
    )

    @model_validator(mode="after")
    def _image_is_no_volume(self) -> Volume:
        if isinstance(self.tracker, QemuTracker) and self.tracker.qemu_bitmap.image == self.path:
            raise ValueError(f"tracker.qemu_bitmap.image is the volume itself ({self.path}); expected the qcow2 image beside it")
        return self


class Quiesce(Model):
    """Commands around the read of a cycle, where storage has no snapshot. No shell: each is a list of arguments."""

    before: list[QuiesceArgv] = Field(
        description="Commands that bring the volume to rest, run for each volume; {volume}, {state_dir} and {site_dir} are replaced"
    )
    after: list[QuiesceArgv] = Field(
        description="Commands that let it go again; they run in any case, and a cycle is dropped when one fails"
    )


class Http(Model):
    """A GET request."""

    port: int = Field(ge=1, le=65535, description="TCP port on the instance's host")
    path: HttpPath = Field(default="/", description="Path of the request, such as /health")
    status: int = Field(default=200, ge=100, le=599, description="The status that is expected, 200 when left out")


class HealthCheck(Model):
    """One of tcp, http and command."""

    tcp: int | None = Field(default=None, ge=1, le=65535, description="This TCP port takes connections")
    http: Http | None = Field(default=None, description="A GET request is answered with the expected status")
    command: CommandLine | None = Field(
        default=None,
        description="This command ends with 0 on the instance's host; a list of arguments, or text that is split without a shell",
    )

    @model_validator(mode="after")
    def _one(self) -> HealthCheck:
        if len(self.model_fields_set) != 1 or None in (getattr(self, name) for name in self.model_fields_set):
            raise ValueError(f"expected exactly one of tcp, http and command; found {', '.join(sorted(self.model_fields_set)) or 'none'}")
        return self


class Resource(Model):
    """An instance with its volumes and health checks."""

    name: Name = Field(description="A name, unique in the plan")
    hosts: SiteHosts = Field(description="Where it runs at each site")
    instance: Annotated[SupervisorInstance | SystemdInstance, Field(discriminator="driver")] = Field(
        description="The process, and the driver that starts and stops it: supervisor with program, or systemd with unit"
    )
    volumes: list[Volume] = Field(default=[], description="The volumes that hold its state")
    quiesce: Quiesce | None = Field(default=None, description="How to bring its volumes to rest while they are read")
    health: list[HealthCheck] = Field(default=[], description="All must pass before the next group starts")
    start_timeout: Timeout = Field(default=60, description="How long a start may take, 60s when left out")
    stop_timeout: Timeout = Field(default=60, description="How long a stop may take, 60s when left out")


class Hook(Model):
    """One step of your own: a script on a site host, a playbook on the controller, or a question to a person."""

    name: Name = Field(description="A name, unique in the plan")
    script: ScriptPath | None = Field(
        default=None, description="A script on a site host, below the host's folder for hooks (xdr_hook_dir, /etc/xdr/hooks when not set)"
    )
    args: list[ScriptArgument] = Field(default=[], description="The script's arguments; no shell splits or expands them")
    playbook: PlaybookName | None = Field(default=None, description="A playbook in the folder hooks/ beside the inventory, by its name")
    pause: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="A question that a person answers with yes or no before the run goes on"
    )
    site: Literal["primary", "dr"] | None = Field(
        default=None, description="Where the script runs; when left out at the DR site, for post_failback at the primary"
    )
    host: str | None = Field(default=None, description="One of the plan's hosts at that site; the site's record_host when left out")
    timeout: Timeout | None = Field(default=None, description="After so long a script or playbook is killed, 60s when left out")
    on_failure: Literal["halt", "continue"] | None = Field(
        default=None,
        description="halt: before the hand-over the move is undone, after it the run halts and asks. continue: the run goes on. "
        "When left out, halt for pre_failback and continue for all others",
    )
    deadline: Timeout | None = Field(default=None, description="How long a pause waits for its answer, 10m when left out")
    on_deadline: Literal["halt", "continue"] | None = Field(
        default=None, description="What a pause does when nobody has answered by then; halt when left out"
    )
    repeatable: bool = Field(
        default=False, description="May be fired again in the same run where nobody knows how an earlier attempt at it ended"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Hook:
        kinds = [name for name in HOOK_FIELDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"expected exactly one of {', '.join(HOOK_FIELDS)}; found {' and '.join(kinds) or 'none'}")
        stray = sorted(self.model_fields_set - {"name", "site", "host", *kinds, *HOOK_FIELDS[kinds[0]]})
        if stray:
            raise ValueError(f"{stray[0]} is not for a {kinds[0]}; accepted beside it: {', '.join(HOOK_FIELDS[kinds[0]])}")
        return self

    @property
    def kind(self) -> str:
        return next(name for name in HOOK_FIELDS if getattr(self, name) is not None)


class Hooks(Model):
    """Your own steps in a move, fired in their order, each once in a run."""

    pre_failback: list[Hook] = Field(
        default=[],
        description="Of the plan: before the downtime, once all checks have passed. Of a group: before it is stopped at the DR site",
    )
    post_failback: list[Hook] = Field(
        default=[], description="Of the plan: once the traffic is back at the primary site. Of a group: once it is Validated there"
    )
    pre_failover: list[Hook] = Field(
        default=[], description="Of the plan: before anything is moved. Of a group: before it is started at the DR site"
    )
    post_recover: list[Hook] = Field(
        default=[], description="Once the services are up and healthy at the DR site: all of them, before the traffic moves, or the group's"
    )


class Group(Model):
    """Resources of one priority, which start and stop in parallel."""

    name: Name = Field(description="A name, unique in the plan")
    priority: int = Field(ge=1, le=9999, description="1 starts first and stops last; each group has its own")
    consistency_group: bool = Field(default=False, description="All volumes of the group share one point in time")
    resources: list[Resource] = Field(min_length=1, description="What the group consists of")
    hooks: Hooks = Field(default_factory=lambda: Hooks(), description="Your own steps around the group's stop and start")


class Servers(Model):
    """The balancer's servers of each site."""

    primary: list[ServerName] = Field(min_length=1, description="Servers of the backend that are at the primary site")
    dr: list[ServerName] = Field(min_length=1, description="Servers of the backend that are at the DR site")


class HeaderValues(Model):
    """The header's value at each site."""

    primary: str = Field(min_length=1, description="Its value in an answer from the primary site")
    dr: str = Field(min_length=1, description="Its value in an answer from the DR site")


class Verify(Model):
    """A request through the balancer that shows which site answers."""

    url: str | None = Field(
        default=None,
        json_schema_extra={"pattern": "^https?://"},
        description="The whole URL; when left out, http at the host variables xdr_balancer_address and xdr_balancer_port, with path",
    )
    path: HttpPath | None = Field(default=None, description="The request's path, such as /health; only without url")
    header: str = Field(min_length=1, description="The response header that names the site, such as X-XDR-Site")
    values: HeaderValues = Field(description="What the header says at each site")

    @model_validator(mode="after")
    def _one_target(self) -> Verify:
        if self.url and self.path:
            raise ValueError("expected url or path, found both")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url: expected one that begins with http:// or https://; found {self.url!r}")
        return self


class LoadBalancer(Model):
    """A backend whose servers are moved from site to site."""

    name: Name = Field(description="A name, unique in the plan")
    driver: Literal["haproxy"] = Field(description="How the balancer is told")
    host: str = Field(description="The inventory host it runs on")
    socket: str | None = Field(
        default=None,
        json_schema_extra={"pattern": "^/"},
        description="Its runtime socket; the host variable xdr_haproxy_socket when left out",
    )
    backend: ServerName = Field(description="The backend's name in its configuration; it belongs to one plan")
    servers: Servers = Field(description="The servers of each site")
    verify: Verify | None = Field(default=None, description="How to see through the balancer which site answers")


class RecordValues(Model):
    """The record's values at each site: addresses, or one name for a CNAME."""

    primary: list[str] = Field(min_length=1, description="What the record says when clients are to go to the primary site")
    dr: list[str] = Field(min_length=1, description="What the record says when clients are to go to the DR site")


def _record_values(values: list[str], kind: str, field: str) -> list[str]:
    try:
        return sorted({dns_names.value(value, kind) for value in values})
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


class DnsRecord(Model):
    """A record that is changed by signed updates (RFC 2136, TSIG)."""

    name: Name = Field(description="A name, unique in the plan's traffic")
    zone: DnsZone = Field(description="The zone that is updated, such as shop.example")
    record: str = Field(description="The name in the zone, such as www; @ for the zone itself, or a whole name with a dot at its end")
    type: Literal["A", "AAAA", "CNAME"] = Field(default="A", description="The type of the record, A when left out")
    values: RecordValues = Field(description="Its values at each site")
    ttl: Ttl = Field(default=300, description="How long resolvers may keep it, but for the time around a move, such as 5m (the default)")
    lowered_ttl: Ttl = Field(
        default=30,
        description="The same around a failback, such as 30s (the default): reverse replication and xdr run lower-ttl lower it, "
        "reprotect puts it back",
    )
    require_lowered_ttl: bool = Field(
        default=False, description="Refuse a failback while resolvers may keep the record for longer than lowered_ttl; else it is only told"
    )
    servers: list[DnsServer] = Field(
        min_length=1,
        description="All authoritative servers of the zone, such as 192.0.2.53 or 192.0.2.53:5353; the first takes the updates",
    )
    resolvers: list[DnsServer] = Field(
        min_length=1,
        description="The addresses of resolvers that clients use: each must have the new values before the traffic counts as moved",
    )
    key: KeyName = Field(description="The name of the TSIG key, whose file is <key>.key in the folder xdr_tsig_dir of the host")
    host: str | None = Field(
        default=None, description="The inventory host that sends the updates and holds the key; the witness when left out"
    )
    propagation: Timeout = Field(
        default=60, description="Within which all authoritative servers must have an update, such as 60s (the default)"
    )

    @model_validator(mode="after")
    def _fits(self) -> DnsRecord:
        name = dns_names.absolute(self.record, self.zone)
        for site in ("primary", "dr"):
            setattr(self.values, site, _record_values(getattr(self.values, site), self.type, f"values.{site}"))
        if self.type == "CNAME" and (len(self.values.primary) > 1 or len(self.values.dr) > 1):
            raise ValueError("a CNAME has one value; expected one name for each site")
        if self.type == "CNAME" and (name == self.zone or name in (*self.values.primary, *self.values.dr)):
            raise ValueError(f"{name} cannot be a CNAME: it is the zone itself, or its own value; expected another record or type")
        if self.values.primary == self.values.dr:
            raise ValueError("the values of both sites are the same; expected others for each site")
        if self.lowered_ttl > self.ttl:
            raise ValueError(f"lowered_ttl ({self.lowered_ttl}s) is more than ttl ({self.ttl}s); expected at most ttl")
        return self


class Traffic(Model):
    """What leads clients to a site."""

    load_balancers: list[LoadBalancer] = Field(default=[], description="The balancers in front of the plan")
    dns: list[DnsRecord] = Field(default=[], description="The DNS records that lead to the plan")


class RecurringWindow(Model):
    """A maintenance window that comes again."""

    name: Name = Field(description="A name, unique in the plan")
    rrule: RecurrenceRule = Field(
        description="How it recurs, by RFC 5545 with FREQ one of DAILY, WEEKLY, MONTHLY and YEARLY, such as FREQ=WEEKLY;BYDAY=SU"
    )
    start: LocalTime = Field(
        description="The local date and time from which the rule counts, such as 2026-03-01T02:00; its time of the day is each window's"
    )
    duration: WindowTime = Field(description="How long it lasts, such as 3h; failback.deadline at least")
    time_zone: Zone = Field(description="The time zone of start, such as Europe/Berlin")


class Person(Model):
    """Somebody who is asked about a window and told of it."""

    name: str = Field(min_length=1, max_length=100, description="Who it is, such as Anna Weber, unique in the plan")
    notify: Name | None = Field(default=None, description="The channel that reaches them; without one they answer on the page")
    user: str | None = Field(default=None, min_length=1, max_length=32, description="Their user of the portal, who may answer on its page")


class Maintenance(Model):
    """When a failback may interrupt the services, and who is asked and told."""

    windows: list[RecurringWindow] = Field(
        default=[], description="Windows that recur; a failback begins in one of them, or in one that was added by hand, and nowhere else"
    )
    owners: list[Person] = Field(default=[], description="Who is asked, and told; owners_must says what their answers mean")
    owners_must: Literal["approve", "not_object"] = Field(
        default="not_object",
        description="What a failback that begins by itself needs: each owner's approval, or only that nobody objects (the default)",
    )
    stakeholders: list[Person] = Field(default=[], description="Who is asked, too, and told; an objection counts as an owner's")
    announce: list[Target] = Field(
        default=[86_400, 3600], max_length=10, description="How long before it begins a window is announced; 24h and 1h when left out"
    )
    notify: list[Name] = Field(default=[], description="The channels that are told of every window")


class Plan(Model):
    """A protection plan: what is protected, in which order, with which targets."""

    plan: PlanName = Field(description="The plan's name, unique in the environment")
    sites: PlanSites = Field(description="Which site is the primary and which is the DR site")
    targets: Targets = Field(description="RPO and RTO")
    replication: Replication = Field(default_factory=lambda: Replication(), description="How volumes are kept equal")
    failback: Failback = Field(default_factory=lambda: Failback(), description="Rules of a failback")
    ownership: Ownership = Field(default_factory=lambda: Ownership(), description="How the right to run the plan is held")
    approval: Approval = Field(default_factory=lambda: Approval(), description="Which actions a second person must have approved")
    groups: list[Group] = Field(min_length=1, description="What starts and stops together, in the order of their priorities")
    hooks: Hooks = Field(default_factory=lambda: Hooks(), description="Your own steps around a failback or failover")
    traffic: Traffic = Field(default_factory=lambda: Traffic(), description="What leads clients to a site")
    maintenance: Maintenance = Field(
        default_factory=lambda: Maintenance(), description="When a failback may interrupt the services, and who is asked and told"
    )


class EnvironmentSite(Model):
    """A site of the inventory."""

    group: str = Field(description="The inventory group that holds the site's hosts")
    record_host: str = Field(description="The host of the group that keeps the site's ownership record")


class EnvironmentFile(Model):
    """plans.yml: which inventory group is which site."""

    plugin: Literal["xdr.failback.plans"] = Field(description="Must be xdr.failback.plans")
    sites: dict[SiteName, EnvironmentSite] = Field(min_length=2, description="The sites, by the names that plans use")
    witness: str = Field(description="The inventory host that remembers offers of ownership, best outside all sites")


def schema() -> dict[str, Any]:
    """The JSON schema of a plan, which editors check against."""
    _need_pydantic()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Plan.model_json_schema(mode="validation")}


def schema_text() -> str:
    """The text of portal/static/plan.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def check_plan(source: Source) -> tuple[Plan | None, list[Problem]]:
    """The plan of a file, and all that is wrong with it; the plan is None where its shape is wrong."""
    plan, problems = _check(Plan, source)
    return plan, problems


def check_environment(source: Source) -> EnvironmentFile:
    """The contents of a plans.yml. Raises SourceError."""
    environment: EnvironmentFile | None
    environment, problems = _check(EnvironmentFile, source)
    if environment is None:
        raise SourceError(problems)
    return environment


def help_of(field: tuple[Any, ...]) -> str:
    """What the schema says of a field of a plan; empty where it says nothing."""
    return _told(Plan, field) if field and not isinstance(field[-1], int) else ""


def _need_pydantic() -> None:
    if MISSING:
        raise XdrError("the Python package pydantic is not installed", where="controller", todo="Install it: pip install pydantic")


def _check(model: type[Any], source: Source) -> tuple[Any, list[Problem]]:
    _need_pydantic()
    try:
        return model.model_validate(source.data), []
    except ValidationError as error:
        return None, [_problem(model, source, each) for each in error.errors(include_url=False, include_context=False)]


EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list (- item)",
    "dict_type": "a mapping (name: value)",
    "model_type": "a mapping (name: value)",
}


def _description(model: type[Any], field: tuple[Any, ...]) -> str:
    """What the schema says of a field, after a semicolon."""
    told = _told(model, field)
    return f"; expected: {told}" if told else ""


def _told(model: type[Any], field: tuple[Any, ...]) -> str:
    return next((_named(each)[field[-1]].description or "" for each in _holders(model, field[:-1]) if field[-1] in _named(each)), "")


def _problem(model: type[Any], source: Source, error: Any) -> Problem:
    field = _place(source.data, tuple(error["loc"]), missing=error["type"] == "missing")
    if error["type"] == "extra_forbidden":
        return source.problem(field, _unknown(model, field, error["loc"]))
    if error["type"].startswith("union_tag"):
        return _wrong_driver(model, source, field, error)
    if error["type"] == "missing":
        return source.problem(field, "is missing" + _description(model, field))
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] != "value_error":
        expected = EXPECTED.get(error["type"]) or text.removeprefix("Input should ").removeprefix("be ")
        text = f"expected {expected}; found {kind(error['input'])}"
    return source.problem(field, text)


def _place(data: Any, found: tuple[Any, ...], *, missing: bool) -> tuple[Any, ...]:
    """Where it is in the file: pydantic puts the names of a union's branches in between. A ``missing`` field is not there."""
    field: tuple[Any, ...] = ()
    for number, part in enumerate(found):
        inside = isinstance(part, int) and part < len(data) if isinstance(data, list) else isinstance(data, dict) and part in data
        if inside:
            field, data = (*field, part), data[part]
        elif missing and number == len(found) - 1:
            field = (*field, part)
    return field


def _unknown(model: type[Any], field: tuple[Any, ...], found: tuple[Any, ...]) -> str:
    """``unknown field; did you mean …?`` with the fields of the model that holds it; ``found`` has the driver's name where that decides."""
    known = _fields(model, field[:-1], found)
    close = difflib.get_close_matches(str(field[-1]), known, n=1)
    return "unknown field; " + (f"did you mean {close[0]!r}?" if close else f"accepted here: {', '.join(known)}")


def _wrong_driver(model: type[Any], source: Source, field: tuple[Any, ...], error: Any) -> Problem:
    """The mapping at ``field`` is of one of several models, and its driver says of which; here it says none of them."""
    if not isinstance(error["input"], dict):
        return source.problem(field, f"expected a mapping (name: value); found {kind(error['input'])}")
    drivers = sorted({name for each in _holders(model, field) for name in _drivers(each)})
    if "driver" not in error["input"]:
        return source.problem((*field, "driver"), f"is missing; expected: {' or '.join(drivers)}")
    expected = " or ".join(map(repr, drivers))
    return source.problem((*field, "driver"), f"expected {expected}; found {kind(error['input']['driver'])}")


def _drivers(model: type[Any]) -> tuple[str, ...]:
    """The drivers that a model is for, none where it has no such field."""
    named = _named(model)
    return get_args(named["driver"].annotation) if "driver" in named else ()


def _fields(model: type[Any], field: tuple[Any, ...], found: tuple[Any, ...]) -> list[str]:
    holders = _holders(model, field)
    meant = [each for each in holders if set(_drivers(each)) & set(found)] if len(holders) > 1 else holders
    return sorted({name for each in meant or holders for name in _named(each)})


def _named(model: type[Any]) -> dict[str, Any]:
    """A model's fields by the names that they have in a file."""
    return {each.alias or name: each for name, each in model.model_fields.items()}


def _holders(model: type[Any], field: tuple[Any, ...]) -> list[type[Any]]:
    """The models that describe the mapping at a field."""
    found = [model]
    for part in field:
        if not isinstance(part, int):
            annotations = [_named(each)[part].annotation for each in found if part in _named(each)]
            found = [inner for annotation in annotations for inner in _models(annotation)] or found
    return found


def _models(annotation: Any) -> list[type[Any]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for part in get_args(annotation) for inner in _models(part)]
