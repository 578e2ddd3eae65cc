"""The events. Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Mapping, Optional, Sequence

from ._event import Event, Field, Kind, now

__all__ = ["AuditAdminOperation", "AuditApiCall", "AuditDataAccess", "AuditGap", "AuditUserAction", "Closing", "ConfigChange", "ConfigRemoval", "DataIngestion", "DataLineage", "DataQuality", "DataTransformation", "DeploymentEvent", "Heartbeat", "SecurityEvent", "SystemHealth"]


@dataclass(frozen=True)
class AuditAdminOperation(Event):
    """A change that somebody asked for through an administrative interface; each is told before it is carried out and again when it is answered."""

    node: str
    """The node that says so."""
    request_id: str
    """What both events of the operation share."""
    stage: Literal["requested", "completed"]
    """Whether it is about to be carried out, or was."""
    actor: str
    """Who asked: the principal of the client's certificate, else the client's network."""
    interface: str
    """Which way it came: admin-api, file, command."""
    method: str
    """The request's method."""
    operation: str
    """create, update, upsert, delete, load, or the endpoint's own word."""
    time: int = field(default_factory=now)
    """When the request's head was complete, in both events of an operation."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under the node's key."""
    entity_kind: Optional[str] = None
    """What is changed, as the interface names the kind."""
    entity_id: Optional[str] = None
    """The entity's id or name, as it was asked for; never a credential."""
    fields: Sequence[str] = ()
    """The names of the fields that the request has; never their values."""
    status: Optional[int] = None
    """The answer's status, once there is one."""
    error: Optional[str] = None
    """Why it was refused, in the answer's words without values."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-admin-operations",
        type="carbyne.audit.admin-operation",
        schema="carbyne.events.AuditAdminOperation",
        fingerprint="7cbafbdedc46a1c9",
        key=("actor",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("request_id", "string", optional=False, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("stage", "string", optional=False, values=("requested", "completed")),
            Field("actor", "string", optional=False, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("interface", "string", optional=False, values=()),
            Field("method", "string", optional=False, values=()),
            Field("operation", "string", optional=False, values=()),
            Field("entity_kind", "string", optional=True, values=()),
            Field("entity_id", "string", optional=True, values=()),
            Field("fields", "array", optional=False, values=()),
            Field("status", "int", optional=True, values=()),
            Field("error", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class AuditApiCall(Event):
    """A request that the gateway answered."""

    node: str
    """The gateway's node."""
    request_id: str
    """What the gateway answers with in X-Kong-Request-Id."""
    method: str
    """The request's method as it came."""
    scheme: str
    """http or https, as the client came."""
    protocol: str
    """HTTP/1.0, HTTP/1.1 or HTTP/2."""
    status: int
    """The answer's status; 499 where the client left before it."""
    answered_by: Literal["gateway", "plugin", "service"]
    """Who made the answer."""
    latency_total_us: int
    """From the head to the end of the answer, in microseconds."""
    latency_gateway_us: int
    """What of that was spent in the gateway."""
    bytes_in: int
    """Bytes of the request's body."""
    bytes_out: int
    """Bytes of the answer's body."""
    tries: int
    """How many hosts of the service were asked."""
    time: int = field(default_factory=now)
    """When the request's head was complete."""
    trace_id: Optional[str] = None
    """The trace that the request belongs to: 32 hexadecimal digits."""
    consumer_id: Optional[str] = None
    """Who was authenticated."""
    consumer_name: Optional[str] = None
    """The consumer's username, else its custom_id."""
    credential_id: Optional[str] = None
    """The credential's id; the credential itself is in no event."""
    route_id: Optional[str] = None
    """The route that matched."""
    route_name: Optional[str] = None
    """Its name."""
    service_id: Optional[str] = None
    """The route's service."""
    service_name: Optional[str] = None
    """Its name."""
    host: Optional[str] = None
    """The host that was asked for, in its canonical form."""
    path_template: Optional[str] = None
    """What of the route matched the path."""
    path: Optional[str] = None
    """The path as it came, without its query; only where the node is told to keep it."""
    query: Optional[str] = None
    """The query's parameters that the node's list allows; the names of the others."""
    latency_upstream_us: Optional[int] = None
    """From the last try's start to the head of its response."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under the node's key."""
    tls_version: Optional[str] = None
    """TLSv1.2 or TLSv1.3, where the client came by TLS."""
    source_principal: Optional[str] = None
    """The identity in the client's certificate."""
    destination_principal: Optional[str] = None
    """The identity in the service's certificate."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-api-calls",
        type="carbyne.audit.api-call",
        schema="carbyne.events.AuditApiCall",
        fingerprint="20d9d8ffda377fa1",
        key=(),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("request_id", "string", optional=False, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("consumer_id", "string", optional=True, values=()),
            Field("consumer_name", "string", optional=True, values=()),
            Field("credential_id", "string", optional=True, values=()),
            Field("route_id", "string", optional=True, values=()),
            Field("route_name", "string", optional=True, values=()),
            Field("service_id", "string", optional=True, values=()),
            Field("service_name", "string", optional=True, values=()),
            Field("method", "string", optional=False, values=()),
            Field("scheme", "string", optional=False, values=()),
            Field("protocol", "string", optional=False, values=()),
            Field("host", "string", optional=True, values=()),
            Field("path_template", "string", optional=True, values=()),
            Field("path", "string", optional=True, values=()),
            Field("query", "string", optional=True, values=()),
            Field("status", "int", optional=False, values=()),
            Field("answered_by", "string", optional=False, values=("gateway", "plugin", "service")),
            Field("latency_total_us", "long", optional=False, values=()),
            Field("latency_gateway_us", "long", optional=False, values=()),
            Field("latency_upstream_us", "long", optional=True, values=()),
            Field("bytes_in", "long", optional=False, values=()),
            Field("bytes_out", "long", optional=False, values=()),
            Field("tries", "int", optional=False, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("tls_version", "string", optional=True, values=()),
            Field("source_principal", "string", optional=True, values=()),
            Field("destination_principal", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class AuditDataAccess(Event):
    """Somebody read or changed data that is watched."""

    service: str
    """The application that says so."""
    resource: str
    """The resource's id."""
    actor: str
    """Who: a user, a workload's principal."""
    operation: Literal["read", "write", "delete", "export", "share"]
    """What was done."""
    outcome: Literal["success", "failure", "denied"]
    """How it ended."""
    time: int = field(default_factory=now)
    """When it happened."""
    purpose: Optional[str] = None
    """What for."""
    classification: Optional[str] = None
    """How the data is classified."""
    fields: Sequence[str] = ()
    """The names of the fields that were touched; never their values."""
    records: Optional[int] = None
    """How many records."""
    bytes: Optional[int] = None
    """How many bytes."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under a key."""
    request_id: Optional[str] = None
    """The request that it was part of."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    reason: Optional[str] = None
    """Why it failed or was denied."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-data-access",
        type="carbyne.audit.data-access",
        schema="carbyne.events.AuditDataAccess",
        fingerprint="838ef21ed62f006d",
        key=("resource",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("resource", "string", optional=False, values=()),
            Field("actor", "string", optional=False, values=()),
            Field("operation", "string", optional=False, values=("read", "write", "delete", "export", "share")),
            Field("outcome", "string", optional=False, values=("success", "failure", "denied")),
            Field("purpose", "string", optional=True, values=()),
            Field("classification", "string", optional=True, values=()),
            Field("fields", "array", optional=False, values=()),
            Field("records", "long", optional=True, values=()),
            Field("bytes", "long", optional=True, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("reason", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class AuditGap(Event):
    """Events were lost, and this says how many: loss is never silent."""

    producer: str
    """Whose events: node/role/worker."""
    epoch: int
    """The producer's start that they were of."""
    topic: str
    """The topic that lacks them."""
    reason: Literal["spool_full", "ring_full", "disk_failed", "block_corrupt", "too_large"]
    """Why they were lost."""
    count: int
    """How many."""
    first_time: int
    """When the first was lost."""
    last_time: int
    """When the last was lost."""
    time: int = field(default_factory=now)
    """When it was told."""
    first_sequence: Optional[int] = None
    """The first sequence that is missing; none where they were dropped before they had one."""
    last_sequence: Optional[int] = None
    """The last that is missing."""

    KIND: ClassVar[Kind] = Kind(
        topic="security-events",
        type="carbyne.audit.gap",
        schema="carbyne.events.AuditGap",
        fingerprint="2b240b310623364a",
        key=("producer",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("producer", "string", optional=False, values=()),
            Field("epoch", "long", optional=False, values=()),
            Field("topic", "string", optional=False, values=()),
            Field("reason", "string", optional=False, values=("spool_full", "ring_full", "disk_failed", "block_corrupt", "too_large")),
            Field("count", "long", optional=False, values=()),
            Field("first_time", "long", optional=False, values=()),
            Field("last_time", "long", optional=False, values=()),
            Field("first_sequence", "long", optional=True, values=()),
            Field("last_sequence", "long", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class AuditUserAction(Event):
    """Something that a user of an application did."""

    service: str
    """The application that says so."""
    user: str
    """The user's id."""
    action: str
    """What was done, in the application's words."""
    outcome: Literal["success", "failure", "denied"]
    """How it ended."""
    time: int = field(default_factory=now)
    """When it was done."""
    resource_kind: Optional[str] = None
    """What it was done to."""
    resource_id: Optional[str] = None
    """The resource's id."""
    session_hash: Optional[str] = None
    """A hash of the session's id."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under a key."""
    request_id: Optional[str] = None
    """The request that it was part of."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    reason: Optional[str] = None
    """Why it failed or was denied."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What else the application has to say."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-user-actions",
        type="carbyne.audit.user-action",
        schema="carbyne.events.AuditUserAction",
        fingerprint="34d285e4b1870ae1",
        key=("user",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("user", "string", optional=False, values=()),
            Field("action", "string", optional=False, values=()),
            Field("outcome", "string", optional=False, values=("success", "failure", "denied")),
            Field("resource_kind", "string", optional=True, values=()),
            Field("resource_id", "string", optional=True, values=()),
            Field("session_hash", "string", optional=True, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("reason", "string", optional=True, values=()),
            Field("attributes", "map", optional=False, values=()),
        ),
    )


@dataclass(frozen=True)
class Closing(Event):
    """A producer is done: this is the last sequence of its epoch."""

    producer: str
    """node/role/worker."""
    epoch: int
    """The start that ends."""
    sequence: int
    """The last sequence before this event."""
    lost: int
    """How many events of this epoch were dropped before they had a sequence."""
    reason: Literal["stopped", "recovered"]
    """Whether the producer said so itself, or a successor that found its ring."""
    time: int = field(default_factory=now)
    """When it ended; where a successor says so, when that began."""

    KIND: ClassVar[Kind] = Kind(
        topic="security-events",
        type="carbyne.audit.closing",
        schema="carbyne.events.Closing",
        fingerprint="f77af7c55569d12d",
        key=("producer",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("producer", "string", optional=False, values=()),
            Field("epoch", "long", optional=False, values=()),
            Field("sequence", "long", optional=False, values=()),
            Field("lost", "long", optional=False, values=()),
            Field("reason", "string", optional=False, values=("stopped", "recovered")),
        ),
    )


@dataclass(frozen=True)
class ConfigChange(Event):
    """What an entity of the configuration is now: a compacted topic keeps the last of each."""

    node: str
    """The node that says so."""
    entity: str
    """kind/id: what changed."""
    change: Literal["created", "updated", "loaded"]
    """What happened to it."""
    time: int = field(default_factory=now)
    """When it was committed."""
    name: Optional[str] = None
    """The entity's own name."""
    request_id: Optional[str] = None
    """The administrative operation that did it."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    actor: Optional[str] = None
    """Who asked for it."""
    version: Optional[int] = None
    """The configuration's version that has it."""
    fields: Sequence[str] = ()
    """The names of the fields that have a value; never their values."""

    KIND: ClassVar[Kind] = Kind(
        topic="config-changes",
        type="carbyne.config.changed",
        schema="carbyne.events.ConfigChange",
        fingerprint="dece3bb95963bc3e",
        key=("entity",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("entity", "string", optional=False, values=()),
            Field("name", "string", optional=True, values=()),
            Field("change", "string", optional=False, values=("created", "updated", "loaded")),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("actor", "string", optional=True, values=()),
            Field("version", "long", optional=True, values=()),
            Field("fields", "array", optional=False, values=()),
        ),
    )


@dataclass(frozen=True)
class ConfigRemoval(Event):
    """An entity is gone: the topic forgets it."""

    entity: str
    """kind/id: what changed."""
    time: int = field(default_factory=now)
    """When it was so."""

    KIND: ClassVar[Kind] = Kind(
        topic="config-changes",
        type="carbyne.config.removed",
        schema=None,
        fingerprint="",
        key=("entity",),
        fields=(),
    )


@dataclass(frozen=True)
class DataIngestion(Event):
    """A batch arrived, or did not."""

    service: str
    """The application that says so."""
    dataset: str
    """The dataset's id."""
    batch: str
    """The batch's id."""
    source: str
    """Where it comes from, without credentials."""
    state: Literal["started", "completed", "failed"]
    """Where it stands."""
    time: int = field(default_factory=now)
    """When its state was reached."""
    records: Optional[int] = None
    """How many records were taken."""
    rejected: Optional[int] = None
    """How many were not."""
    bytes: Optional[int] = None
    """How many bytes."""
    schema_version: Optional[str] = None
    """The version of the dataset's schema."""
    checksum: Optional[str] = None
    """The batch's checksum, with its algorithm in front."""
    duration_us: Optional[int] = None
    """How long it took, in microseconds."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    error: Optional[str] = None
    """Why it failed."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-ingestion",
        type="carbyne.data.ingestion",
        schema="carbyne.events.DataIngestion",
        fingerprint="75e81c3dbafea9e9",
        key=("dataset",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("dataset", "string", optional=False, values=()),
            Field("batch", "string", optional=False, values=()),
            Field("source", "string", optional=False, values=()),
            Field("state", "string", optional=False, values=("started", "completed", "failed")),
            Field("records", "long", optional=True, values=()),
            Field("rejected", "long", optional=True, values=()),
            Field("bytes", "long", optional=True, values=()),
            Field("schema_version", "string", optional=True, values=()),
            Field("checksum", "string", optional=True, values=()),
            Field("duration_us", "long", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("error", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class DataLineage(Event):
    """What a dataset was made of; a compacted topic keeps the last of each."""

    service: str
    """The application that says so."""
    output: str
    """The URN of the dataset that was made."""
    job: str
    """The job's id."""
    run: str
    """The run's id."""
    time: int = field(default_factory=now)
    """When it was made."""
    inputs: Sequence[str] = ()
    """The URNs of what it was made of."""
    transformation: Optional[str] = None
    """The code that made it, by name and version."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For each column of the output, the columns that it comes from."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-lineage",
        type="carbyne.data.lineage",
        schema="carbyne.events.DataLineage",
        fingerprint="9b8fd0ec63391c70",
        key=("output",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("output", "string", optional=False, values=()),
            Field("inputs", "array", optional=False, values=()),
            Field("job", "string", optional=False, values=()),
            Field("run", "string", optional=False, values=()),
            Field("transformation", "string", optional=True, values=()),
            Field("columns", "map", optional=False, values=()),
            Field("trace_id", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class DataQuality(Event):
    """What a check of a dataset found."""

    service: str
    """The application that says so."""
    dataset: str
    """The dataset's id."""
    check: str
    """The check's name."""
    passed: bool
    """Whether it held."""
    severity: Literal["info", "warning", "error"]
    """How bad it is if it does not."""
    time: int = field(default_factory=now)
    """When it was checked."""
    column: Optional[str] = None
    """The column that was checked."""
    observed: Optional[float] = None
    """What was measured."""
    expected: Optional[float] = None
    """What should have been."""
    records_checked: Optional[int] = None
    """How many records were looked at."""
    records_failed: Optional[int] = None
    """How many of them failed."""
    batch: Optional[str] = None
    """The batch that was checked."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    detail: Optional[str] = None
    """More of it; no values of the data."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-quality",
        type="carbyne.data.quality",
        schema="carbyne.events.DataQuality",
        fingerprint="179da09e13b922ec",
        key=("dataset",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("dataset", "string", optional=False, values=()),
            Field("check", "string", optional=False, values=()),
            Field("column", "string", optional=True, values=()),
            Field("passed", "boolean", optional=False, values=()),
            Field("severity", "string", optional=False, values=("info", "warning", "error")),
            Field("observed", "double", optional=True, values=()),
            Field("expected", "double", optional=True, values=()),
            Field("records_checked", "long", optional=True, values=()),
            Field("records_failed", "long", optional=True, values=()),
            Field("batch", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("detail", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class DataTransformation(Event):
    """A run of a job over data."""

    service: str
    """The application that says so."""
    job: str
    """The job's id."""
    run: str
    """The run's id."""
    state: Literal["started", "completed", "failed", "cancelled"]
    """Where it stands."""
    time: int = field(default_factory=now)
    """When its state was reached."""
    inputs: Sequence[str] = ()
    """The datasets that it reads."""
    outputs: Sequence[str] = ()
    """The datasets that it writes."""
    records_in: Optional[int] = None
    """How many records it read."""
    records_out: Optional[int] = None
    """How many it wrote."""
    duration_us: Optional[int] = None
    """How long it took, in microseconds."""
    code_version: Optional[str] = None
    """The version of the code."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    error: Optional[str] = None
    """Why it failed."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-transformation",
        type="carbyne.data.transformation",
        schema="carbyne.events.DataTransformation",
        fingerprint="9c0ef587b28697fc",
        key=("job",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("job", "string", optional=False, values=()),
            Field("run", "string", optional=False, values=()),
            Field("state", "string", optional=False, values=("started", "completed", "failed", "cancelled")),
            Field("inputs", "array", optional=False, values=()),
            Field("outputs", "array", optional=False, values=()),
            Field("records_in", "long", optional=True, values=()),
            Field("records_out", "long", optional=True, values=()),
            Field("duration_us", "long", optional=True, values=()),
            Field("code_version", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("error", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class DeploymentEvent(Event):
    """A step of a deployment."""

    node: str
    """The node that says so."""
    target: str
    """namespace/name of what is deployed."""
    deployment_id: str
    """What all steps of a deployment share."""
    phase: Literal["planned", "started", "progressing", "succeeded", "failed", "rolled_back"]
    """Where it stands."""
    time: int = field(default_factory=now)
    """When the step was taken."""
    actor: Optional[str] = None
    """Who began it."""
    component: Optional[str] = None
    """What is deployed."""
    version: Optional[str] = None
    """The version that comes."""
    previous_version: Optional[str] = None
    """The one that goes."""
    digest: Optional[str] = None
    """The digest of the image or the bundle."""
    reason: Optional[str] = None
    """Why it is in that phase."""
    duration_us: Optional[int] = None
    """How long the phase took, in microseconds."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""

    KIND: ClassVar[Kind] = Kind(
        topic="deployment-events",
        type="carbyne.deployment.step",
        schema="carbyne.events.DeploymentEvent",
        fingerprint="b89c4c7153ec3fec",
        key=("target",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("target", "string", optional=False, values=()),
            Field("deployment_id", "string", optional=False, values=()),
            Field("phase", "string", optional=False, values=("planned", "started", "progressing", "succeeded", "failed", "rolled_back")),
            Field("actor", "string", optional=True, values=()),
            Field("component", "string", optional=True, values=()),
            Field("version", "string", optional=True, values=()),
            Field("previous_version", "string", optional=True, values=()),
            Field("digest", "string", optional=True, values=()),
            Field("reason", "string", optional=True, values=()),
            Field("duration_us", "long", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
        ),
    )


@dataclass(frozen=True)
class Heartbeat(Event):
    """How far a producer is: what has a higher sequence than is found was lost."""

    stream: str
    """producer/epoch: whose sequences."""
    producer: str
    """node/role/worker."""
    epoch: int
    """The producer's start."""
    sequence: int
    """The last sequence before this event."""
    lost: int
    """How many events of this epoch were dropped before they had a sequence."""
    time: int = field(default_factory=now)
    """When it was so."""

    KIND: ClassVar[Kind] = Kind(
        topic="system-health",
        type="carbyne.audit.heartbeat",
        schema="carbyne.events.Heartbeat",
        fingerprint="dfcf7a2bd4538193",
        key=("stream",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("stream", "string", optional=False, values=()),
            Field("producer", "string", optional=False, values=()),
            Field("epoch", "long", optional=False, values=()),
            Field("sequence", "long", optional=False, values=()),
            Field("lost", "long", optional=False, values=()),
        ),
    )


@dataclass(frozen=True)
class SecurityEvent(Event):
    """A refusal, or many alike told as one: count says how many, time and last_time when the first and the last were."""

    node: str
    """The node that says so."""
    component: str
    """carbyne-gateway, carbyne-proxy."""
    reason: Literal["authentication_missing", "authentication_invalid", "access_denied", "rate_limited", "address_denied", "too_large", "guard_unavailable", "policy_denied", "token_missing", "token_invalid", "authorizer_denied", "authorizer_failed", "handshake_failed", "plaintext_refused", "malformed_request", "admin_denied", "various"]
    """Why."""
    count: int
    """How many this one stands for."""
    last_time: int
    """When the last of them was."""
    time: int = field(default_factory=now)
    """When it happened; of many, the first."""
    policy: Optional[str] = None
    """What decided: the plugin, the authorization policy, the listener's setting."""
    policy_id: Optional[str] = None
    """The id of the plugin's instance, where it has one."""
    status: Optional[int] = None
    """The answer's status, where there was one."""
    detail: Optional[str] = None
    """More of it, in words of our own."""
    source_principal: Optional[str] = None
    """The peer's identity by its certificate."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under the node's key."""
    destination_principal: Optional[str] = None
    """Whom it wanted to reach, by its certificate."""
    listener: Optional[str] = None
    """The listener that it came to."""
    request_id: Optional[str] = None
    """The request's id; of many, the first's."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    method: Optional[str] = None
    """The request's method; of many, the first's."""
    host: Optional[str] = None
    """The host that was asked for."""
    path_template: Optional[str] = None
    """What of the route matched the path."""
    route_id: Optional[str] = None
    """The route that matched."""
    service_id: Optional[str] = None
    """The route's service."""
    consumer_id: Optional[str] = None
    """Who was authenticated."""
    credential_id: Optional[str] = None
    """The credential's id."""
    token_issuer: Optional[str] = None
    """The token's issuer, where it was read."""
    token_subject: Optional[str] = None
    """The token's subject, where its signature held."""
    token_key_hash: Optional[str] = None
    """A hash of the token's key id."""

    KIND: ClassVar[Kind] = Kind(
        topic="security-events",
        type="carbyne.security.refusal",
        schema="carbyne.events.SecurityEvent",
        fingerprint="5ccbdcd852caf49a",
        key=("source_principal", "client_address",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("component", "string", optional=False, values=()),
            Field("reason", "string", optional=False, values=("authentication_missing", "authentication_invalid", "access_denied", "rate_limited", "address_denied", "too_large", "guard_unavailable", "policy_denied", "token_missing", "token_invalid", "authorizer_denied", "authorizer_failed", "handshake_failed", "plaintext_refused", "malformed_request", "admin_denied", "various")),
            Field("policy", "string", optional=True, values=()),
            Field("policy_id", "string", optional=True, values=()),
            Field("status", "int", optional=True, values=()),
            Field("detail", "string", optional=True, values=()),
            Field("source_principal", "string", optional=True, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("destination_principal", "string", optional=True, values=()),
            Field("listener", "string", optional=True, values=()),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("method", "string", optional=True, values=()),
            Field("host", "string", optional=True, values=()),
            Field("path_template", "string", optional=True, values=()),
            Field("route_id", "string", optional=True, values=()),
            Field("service_id", "string", optional=True, values=()),
            Field("consumer_id", "string", optional=True, values=()),
            Field("credential_id", "string", optional=True, values=()),
            Field("token_issuer", "string", optional=True, values=()),
            Field("token_subject", "string", optional=True, values=()),
            Field("token_key_hash", "string", optional=True, values=()),
            Field("count", "long", optional=False, values=()),
            Field("last_time", "long", optional=False, values=()),
        ),
    )


@dataclass(frozen=True)
class SystemHealth(Event):
    """How a process is; a compacted topic keeps the last of each."""

    instance: str
    """component/node: whose state it is."""
    component: str
    """carbyne-gateway, carbyne-proxy, carbyne."""
    node: str
    """The node that says so."""
    state: Literal["starting", "ready", "degraded", "draining", "stopped"]
    """How it is."""
    version: str
    """The program's version."""
    started: int
    """When the process began: microseconds since 1970."""
    time: int = field(default_factory=now)
    """When it was so."""
    reason: Optional[str] = None
    """Why it is not ready."""
    config_version: Optional[str] = None
    """The configuration that it serves."""
    config_error: Optional[str] = None
    """Why a newer one was not taken."""
    config_age_seconds: Optional[int] = None
    """How long it has served that."""
    workers: Optional[int] = None
    """How many workers it has."""
    memory_bytes: Optional[int] = None
    """What it holds in memory."""
    connections: Optional[int] = None
    """Connections that are open."""
    requests: Optional[int] = None
    """Requests since it began."""

    KIND: ClassVar[Kind] = Kind(
        topic="system-health",
        type="carbyne.system.health",
        schema="carbyne.events.SystemHealth",
        fingerprint="430773a1c19badaf",
        key=("instance",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("instance", "string", optional=False, values=()),
            Field("component", "string", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("state", "string", optional=False, values=("starting", "ready", "degraded", "draining", "stopped")),
            Field("reason", "string", optional=True, values=()),
            Field("version", "string", optional=False, values=()),
            Field("started", "long", optional=False, values=()),
            Field("config_version", "string", optional=True, values=()),
            Field("config_error", "string", optional=True, values=()),
            Field("config_age_seconds", "long", optional=True, values=()),
            Field("workers", "int", optional=True, values=()),
            Field("memory_bytes", "long", optional=True, values=()),
            Field("connections", "long", optional=True, values=()),
            Field("requests", "long", optional=True, values=()),
        ),
    )
