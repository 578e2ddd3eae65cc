// The events. Generated from the schemas by events/schemas/generate.py.

import { define } from "./event.js";

/** A change that somebody asked for through an administrative interface; each is told before it is carried out and again when it is answered. */
export const AuditAdminOperation = define({
  topic: "audit-admin-operations",
  type: "carbyne.audit.admin-operation",
  schema: "carbyne.events.AuditAdminOperation",
  fingerprint: "7cbafbdedc46a1c9",
  key: ["actor"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "node", "type": "string"},
    {"name": "request_id", "type": "string"},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "stage", "type": "string", "values": ["requested", "completed"]},
    {"name": "actor", "type": "string"},
    {"name": "client_address", "type": "string", "optional": true, "default": null},
    {"name": "interface", "type": "string"},
    {"name": "method", "type": "string"},
    {"name": "operation", "type": "string"},
    {"name": "entity_kind", "type": "string", "optional": true, "default": null},
    {"name": "entity_id", "type": "string", "optional": true, "default": null},
    {"name": "fields", "type": "array", "default": []},
    {"name": "status", "type": "int", "optional": true, "default": null},
    {"name": "error", "type": "string", "optional": true, "default": null},
  ],
});

/** A request that the gateway answered. */
export const AuditApiCall = define({
  topic: "audit-api-calls",
  type: "carbyne.audit.api-call",
  schema: "carbyne.events.AuditApiCall",
  fingerprint: "20d9d8ffda377fa1",
  key: [],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "node", "type": "string"},
    {"name": "request_id", "type": "string"},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "consumer_id", "type": "string", "optional": true, "default": null},
    {"name": "consumer_name", "type": "string", "optional": true, "default": null},
    {"name": "credential_id", "type": "string", "optional": true, "default": null},
    {"name": "route_id", "type": "string", "optional": true, "default": null},
    {"name": "route_name", "type": "string", "optional": true, "default": null},
    {"name": "service_id", "type": "string", "optional": true, "default": null},
    {"name": "service_name", "type": "string", "optional": true, "default": null},
    {"name": "method", "type": "string"},
    {"name": "scheme", "type": "string"},
    {"name": "protocol", "type": "string"},
    {"name": "host", "type": "string", "optional": true, "default": null},
    {"name": "path_template", "type": "string", "optional": true, "default": null},
    {"name": "path", "type": "string", "optional": true, "default": null},
    {"name": "query", "type": "string", "optional": true, "default": null},
    {"name": "status", "type": "int"},
    {"name": "answered_by", "type": "string", "values": ["gateway", "plugin", "service"]},
    {"name": "latency_total_us", "type": "long"},
    {"name": "latency_gateway_us", "type": "long"},
    {"name": "latency_upstream_us", "type": "long", "optional": true, "default": null},
    {"name": "bytes_in", "type": "long"},
    {"name": "bytes_out", "type": "long"},
    {"name": "tries", "type": "int"},
    {"name": "client_address", "type": "string", "optional": true, "default": null},
    {"name": "tls_version", "type": "string", "optional": true, "default": null},
    {"name": "source_principal", "type": "string", "optional": true, "default": null},
    {"name": "destination_principal", "type": "string", "optional": true, "default": null},
  ],
});

/** Somebody read or changed data that is watched. */
export const AuditDataAccess = define({
  topic: "audit-data-access",
  type: "carbyne.audit.data-access",
  schema: "carbyne.events.AuditDataAccess",
  fingerprint: "838ef21ed62f006d",
  key: ["resource"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "service", "type": "string"},
    {"name": "resource", "type": "string"},
    {"name": "actor", "type": "string"},
    {"name": "operation", "type": "string", "values": ["read", "write", "delete", "export", "share"]},
    {"name": "outcome", "type": "string", "values": ["success", "failure", "denied"]},
    {"name": "purpose", "type": "string", "optional": true, "default": null},
    {"name": "classification", "type": "string", "optional": true, "default": null},
    {"name": "fields", "type": "array", "default": []},
    {"name": "records", "type": "long", "optional": true, "default": null},
    {"name": "bytes", "type": "long", "optional": true, "default": null},
    {"name": "client_address", "type": "string", "optional": true, "default": null},
    {"name": "request_id", "type": "string", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "reason", "type": "string", "optional": true, "default": null},
  ],
});

/** Events were lost, and this says how many: loss is never silent. */
export const AuditGap = define({
  topic: "security-events",
  type: "carbyne.audit.gap",
  schema: "carbyne.events.AuditGap",
  fingerprint: "2b240b310623364a",
  key: ["producer"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "producer", "type": "string"},
    {"name": "epoch", "type": "long"},
    {"name": "topic", "type": "string"},
    {"name": "reason", "type": "string", "values": ["spool_full", "ring_full", "disk_failed", "block_corrupt", "too_large"]},
    {"name": "count", "type": "long"},
    {"name": "first_time", "type": "long"},
    {"name": "last_time", "type": "long"},
    {"name": "first_sequence", "type": "long", "optional": true, "default": null},
    {"name": "last_sequence", "type": "long", "optional": true, "default": null},
  ],
});

/** Something that a user of an application did. */
export const AuditUserAction = define({
  topic: "audit-user-actions",
  type: "carbyne.audit.user-action",
  schema: "carbyne.events.AuditUserAction",
  fingerprint: "34d285e4b1870ae1",
  key: ["user"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "service", "type": "string"},
    {"name": "user", "type": "string"},
    {"name": "action", "type": "string"},
    {"name": "outcome", "type": "string", "values": ["success", "failure", "denied"]},
    {"name": "resource_kind", "type": "string", "optional": true, "default": null},
    {"name": "resource_id", "type": "string", "optional": true, "default": null},
    {"name": "session_hash", "type": "string", "optional": true, "default": null},
    {"name": "client_address", "type": "string", "optional": true, "default": null},
    {"name": "request_id", "type": "string", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "reason", "type": "string", "optional": true, "default": null},
    {"name": "attributes", "type": "map", "default": {}},
  ],
});

/** A producer is done: this is the last sequence of its epoch. */
export const Closing = define({
  topic: "security-events",
  type: "carbyne.audit.closing",
  schema: "carbyne.events.Closing",
  fingerprint: "f77af7c55569d12d",
  key: ["producer"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "producer", "type": "string"},
    {"name": "epoch", "type": "long"},
    {"name": "sequence", "type": "long"},
    {"name": "lost", "type": "long"},
    {"name": "reason", "type": "string", "values": ["stopped", "recovered"]},
  ],
});

/** What an entity of the configuration is now: a compacted topic keeps the last of each. */
export const ConfigChange = define({
  topic: "config-changes",
  type: "carbyne.config.changed",
  schema: "carbyne.events.ConfigChange",
  fingerprint: "dece3bb95963bc3e",
  key: ["entity"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "node", "type": "string"},
    {"name": "entity", "type": "string"},
    {"name": "name", "type": "string", "optional": true, "default": null},
    {"name": "change", "type": "string", "values": ["created", "updated", "loaded"]},
    {"name": "request_id", "type": "string", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "actor", "type": "string", "optional": true, "default": null},
    {"name": "version", "type": "long", "optional": true, "default": null},
    {"name": "fields", "type": "array", "default": []},
  ],
});

/** An entity is gone: the topic forgets it. */
export const ConfigRemoval = define({
  topic: "config-changes",
  type: "carbyne.config.removed",
  schema: null,
  fingerprint: "",
  key: ["entity"],
  fields: [
    {"name": "entity", "type": "string"},
    {"name": "time", "type": "long"},
  ],
});

/** A batch arrived, or did not. */
export const DataIngestion = define({
  topic: "data-ingestion",
  type: "carbyne.data.ingestion",
  schema: "carbyne.events.DataIngestion",
  fingerprint: "75e81c3dbafea9e9",
  key: ["dataset"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "service", "type": "string"},
    {"name": "dataset", "type": "string"},
    {"name": "batch", "type": "string"},
    {"name": "source", "type": "string"},
    {"name": "state", "type": "string", "values": ["started", "completed", "failed"]},
    {"name": "records", "type": "long", "optional": true, "default": null},
    {"name": "rejected", "type": "long", "optional": true, "default": null},
    {"name": "bytes", "type": "long", "optional": true, "default": null},
    {"name": "schema_version", "type": "string", "optional": true, "default": null},
    {"name": "checksum", "type": "string", "optional": true, "default": null},
    {"name": "duration_us", "type": "long", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "error", "type": "string", "optional": true, "default": null},
  ],
});

/** What a dataset was made of; a compacted topic keeps the last of each. */
export const DataLineage = define({
  topic: "data-lineage",
  type: "carbyne.data.lineage",
  schema: "carbyne.events.DataLineage",
  fingerprint: "9b8fd0ec63391c70",
  key: ["output"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "service", "type": "string"},
    {"name": "output", "type": "string"},
    {"name": "inputs", "type": "array", "default": []},
    {"name": "job", "type": "string"},
    {"name": "run", "type": "string"},
    {"name": "transformation", "type": "string", "optional": true, "default": null},
    {"name": "columns", "type": "map", "default": {}},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
  ],
});

/** What a check of a dataset found. */
export const DataQuality = define({
  topic: "data-quality",
  type: "carbyne.data.quality",
  schema: "carbyne.events.DataQuality",
  fingerprint: "179da09e13b922ec",
  key: ["dataset"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "service", "type": "string"},
    {"name": "dataset", "type": "string"},
    {"name": "check", "type": "string"},
    {"name": "column", "type": "string", "optional": true, "default": null},
    {"name": "passed", "type": "boolean"},
    {"name": "severity", "type": "string", "values": ["info", "warning", "error"]},
    {"name": "observed", "type": "double", "optional": true, "default": null},
    {"name": "expected", "type": "double", "optional": true, "default": null},
    {"name": "records_checked", "type": "long", "optional": true, "default": null},
    {"name": "records_failed", "type": "long", "optional": true, "default": null},
    {"name": "batch", "type": "string", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "detail", "type": "string", "optional": true, "default": null},
  ],
});

/** A run of a job over data. */
export const DataTransformation = define({
  topic: "data-transformation",
  type: "carbyne.data.transformation",
  schema: "carbyne.events.DataTransformation",
  fingerprint: "9c0ef587b28697fc",
  key: ["job"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "service", "type": "string"},
    {"name": "job", "type": "string"},
    {"name": "run", "type": "string"},
    {"name": "state", "type": "string", "values": ["started", "completed", "failed", "cancelled"]},
    {"name": "inputs", "type": "array", "default": []},
    {"name": "outputs", "type": "array", "default": []},
    {"name": "records_in", "type": "long", "optional": true, "default": null},
    {"name": "records_out", "type": "long", "optional": true, "default": null},
    {"name": "duration_us", "type": "long", "optional": true, "default": null},
    {"name": "code_version", "type": "string", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "error", "type": "string", "optional": true, "default": null},
  ],
});

/** A step of a deployment. */
export const DeploymentEvent = define({
  topic: "deployment-events",
  type: "carbyne.deployment.step",
  schema: "carbyne.events.DeploymentEvent",
  fingerprint: "b89c4c7153ec3fec",
  key: ["target"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "node", "type": "string"},
    {"name": "target", "type": "string"},
    {"name": "deployment_id", "type": "string"},
    {"name": "phase", "type": "string", "values": ["planned", "started", "progressing", "succeeded", "failed", "rolled_back"]},
    {"name": "actor", "type": "string", "optional": true, "default": null},
    {"name": "component", "type": "string", "optional": true, "default": null},
    {"name": "version", "type": "string", "optional": true, "default": null},
    {"name": "previous_version", "type": "string", "optional": true, "default": null},
    {"name": "digest", "type": "string", "optional": true, "default": null},
    {"name": "reason", "type": "string", "optional": true, "default": null},
    {"name": "duration_us", "type": "long", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
  ],
});

/** How far a producer is: what has a higher sequence than is found was lost. */
export const Heartbeat = define({
  topic: "system-health",
  type: "carbyne.audit.heartbeat",
  schema: "carbyne.events.Heartbeat",
  fingerprint: "dfcf7a2bd4538193",
  key: ["stream"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "stream", "type": "string"},
    {"name": "producer", "type": "string"},
    {"name": "epoch", "type": "long"},
    {"name": "sequence", "type": "long"},
    {"name": "lost", "type": "long"},
  ],
});

/** A refusal, or many alike told as one: count says how many, time and last_time when the first and the last were. */
export const SecurityEvent = define({
  topic: "security-events",
  type: "carbyne.security.refusal",
  schema: "carbyne.events.SecurityEvent",
  fingerprint: "5ccbdcd852caf49a",
  key: ["source_principal", "client_address"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "node", "type": "string"},
    {"name": "component", "type": "string"},
    {"name": "reason", "type": "string", "values": ["authentication_missing", "authentication_invalid", "access_denied", "rate_limited", "address_denied", "too_large", "guard_unavailable", "policy_denied", "token_missing", "token_invalid", "authorizer_denied", "authorizer_failed", "handshake_failed", "plaintext_refused", "malformed_request", "admin_denied", "various"]},
    {"name": "policy", "type": "string", "optional": true, "default": null},
    {"name": "policy_id", "type": "string", "optional": true, "default": null},
    {"name": "status", "type": "int", "optional": true, "default": null},
    {"name": "detail", "type": "string", "optional": true, "default": null},
    {"name": "source_principal", "type": "string", "optional": true, "default": null},
    {"name": "client_address", "type": "string", "optional": true, "default": null},
    {"name": "destination_principal", "type": "string", "optional": true, "default": null},
    {"name": "listener", "type": "string", "optional": true, "default": null},
    {"name": "request_id", "type": "string", "optional": true, "default": null},
    {"name": "trace_id", "type": "string", "optional": true, "default": null},
    {"name": "method", "type": "string", "optional": true, "default": null},
    {"name": "host", "type": "string", "optional": true, "default": null},
    {"name": "path_template", "type": "string", "optional": true, "default": null},
    {"name": "route_id", "type": "string", "optional": true, "default": null},
    {"name": "service_id", "type": "string", "optional": true, "default": null},
    {"name": "consumer_id", "type": "string", "optional": true, "default": null},
    {"name": "credential_id", "type": "string", "optional": true, "default": null},
    {"name": "token_issuer", "type": "string", "optional": true, "default": null},
    {"name": "token_subject", "type": "string", "optional": true, "default": null},
    {"name": "token_key_hash", "type": "string", "optional": true, "default": null},
    {"name": "count", "type": "long"},
    {"name": "last_time", "type": "long"},
  ],
});

/** How a process is; a compacted topic keeps the last of each. */
export const SystemHealth = define({
  topic: "system-health",
  type: "carbyne.system.health",
  schema: "carbyne.events.SystemHealth",
  fingerprint: "430773a1c19badaf",
  key: ["instance"],
  fields: [
    {"name": "time", "type": "long"},
    {"name": "instance", "type": "string"},
    {"name": "component", "type": "string"},
    {"name": "node", "type": "string"},
    {"name": "state", "type": "string", "values": ["starting", "ready", "degraded", "draining", "stopped"]},
    {"name": "reason", "type": "string", "optional": true, "default": null},
    {"name": "version", "type": "string"},
    {"name": "started", "type": "long"},
    {"name": "config_version", "type": "string", "optional": true, "default": null},
    {"name": "config_error", "type": "string", "optional": true, "default": null},
    {"name": "config_age_seconds", "type": "long", "optional": true, "default": null},
    {"name": "workers", "type": "int", "optional": true, "default": null},
    {"name": "memory_bytes", "type": "long", "optional": true, "default": null},
    {"name": "connections", "type": "long", "optional": true, "default": null},
    {"name": "requests", "type": "long", "optional": true, "default": null},
  ],
});
