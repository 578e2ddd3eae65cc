// The events. Generated from the schemas by events/schemas/generate.py.

import type { Kind } from "./event.js";

/** A change that somebody asked for through an administrative interface; each is told before it is carried out and again when it is answered. */
export interface AuditAdminOperationFields {
  /** When the request's head was complete, in both events of an operation. */
  time?: number;
  /** The node that says so. */
  node: string;
  /** What both events of the operation share. */
  request_id: string;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Whether it is about to be carried out, or was. */
  stage: "requested" | "completed";
  /** Who asked: the principal of the client's certificate, else the client's network. */
  actor: string;
  /** The client's network (/24, /48) or its address under the node's key. */
  client_address?: string | null;
  /** Which way it came: admin-api, file, command. */
  interface: string;
  /** The request's method. */
  method: string;
  /** create, update, upsert, delete, load, or the endpoint's own word. */
  operation: string;
  /** What is changed, as the interface names the kind. */
  entity_kind?: string | null;
  /** The entity's id or name, as it was asked for; never a credential. */
  entity_id?: string | null;
  /** The names of the fields that the request has; never their values. */
  fields?: readonly string[];
  /** The answer's status, once there is one. */
  status?: number | null;
  /** Why it was refused, in the answer's words without values. */
  error?: string | null;
}
export const AuditAdminOperation: Kind<AuditAdminOperationFields>;

/** A request that the gateway answered. */
export interface AuditApiCallFields {
  /** When the request's head was complete. */
  time?: number;
  /** The gateway's node. */
  node: string;
  /** What the gateway answers with in X-Kong-Request-Id. */
  request_id: string;
  /** The trace that the request belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Who was authenticated. */
  consumer_id?: string | null;
  /** The consumer's username, else its custom_id. */
  consumer_name?: string | null;
  /** The credential's id; the credential itself is in no event. */
  credential_id?: string | null;
  /** The route that matched. */
  route_id?: string | null;
  /** Its name. */
  route_name?: string | null;
  /** The route's service. */
  service_id?: string | null;
  /** Its name. */
  service_name?: string | null;
  /** The request's method as it came. */
  method: string;
  /** http or https, as the client came. */
  scheme: string;
  /** HTTP/1.0, HTTP/1.1 or HTTP/2. */
  protocol: string;
  /** The host that was asked for, in its canonical form. */
  host?: string | null;
  /** What of the route matched the path. */
  path_template?: string | null;
  /** The path as it came, without its query; only where the node is told to keep it. */
  path?: string | null;
  /** The query's parameters that the node's list allows; the names of the others. */
  query?: string | null;
  /** The answer's status; 499 where the client left before it. */
  status: number;
  /** Who made the answer. */
  answered_by: "gateway" | "plugin" | "service";
  /** From the head to the end of the answer, in microseconds. */
  latency_total_us: number;
  /** What of that was spent in the gateway. */
  latency_gateway_us: number;
  /** From the last try's start to the head of its response. */
  latency_upstream_us?: number | null;
  /** Bytes of the request's body. */
  bytes_in: number;
  /** Bytes of the answer's body. */
  bytes_out: number;
  /** How many hosts of the service were asked. */
  tries: number;
  /** The client's network (/24, /48) or its address under the node's key. */
  client_address?: string | null;
  /** TLSv1.2 or TLSv1.3, where the client came by TLS. */
  tls_version?: string | null;
  /** The identity in the client's certificate. */
  source_principal?: string | null;
  /** The identity in the service's certificate. */
  destination_principal?: string | null;
}
export const AuditApiCall: Kind<AuditApiCallFields>;

/** Somebody read or changed data that is watched. */
export interface AuditDataAccessFields {
  /** When it happened. */
  time?: number;
  /** The application that says so. */
  service: string;
  /** The resource's id. */
  resource: string;
  /** Who: a user, a workload's principal. */
  actor: string;
  /** What was done. */
  operation: "read" | "write" | "delete" | "export" | "share";
  /** How it ended. */
  outcome: "success" | "failure" | "denied";
  /** What for. */
  purpose?: string | null;
  /** How the data is classified. */
  classification?: string | null;
  /** The names of the fields that were touched; never their values. */
  fields?: readonly string[];
  /** How many records. */
  records?: number | null;
  /** How many bytes. */
  bytes?: number | null;
  /** The client's network (/24, /48) or its address under a key. */
  client_address?: string | null;
  /** The request that it was part of. */
  request_id?: string | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Why it failed or was denied. */
  reason?: string | null;
}
export const AuditDataAccess: Kind<AuditDataAccessFields>;

/** Events were lost, and this says how many: loss is never silent. */
export interface AuditGapFields {
  /** When it was told. */
  time?: number;
  /** Whose events: node/role/worker. */
  producer: string;
  /** The producer's start that they were of. */
  epoch: number;
  /** The topic that lacks them. */
  topic: string;
  /** Why they were lost. */
  reason: "spool_full" | "ring_full" | "disk_failed" | "block_corrupt" | "too_large";
  /** How many. */
  count: number;
  /** When the first was lost. */
  first_time: number;
  /** When the last was lost. */
  last_time: number;
  /** The first sequence that is missing; none where they were dropped before they had one. */
  first_sequence?: number | null;
  /** The last that is missing. */
  last_sequence?: number | null;
}
export const AuditGap: Kind<AuditGapFields>;

/** Something that a user of an application did. */
export interface AuditUserActionFields {
  /** When it was done. */
  time?: number;
  /** The application that says so. */
  service: string;
  /** The user's id. */
  user: string;
  /** What was done, in the application's words. */
  action: string;
  /** How it ended. */
  outcome: "success" | "failure" | "denied";
  /** What it was done to. */
  resource_kind?: string | null;
  /** The resource's id. */
  resource_id?: string | null;
  /** A hash of the session's id. */
  session_hash?: string | null;
  /** The client's network (/24, /48) or its address under a key. */
  client_address?: string | null;
  /** The request that it was part of. */
  request_id?: string | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Why it failed or was denied. */
  reason?: string | null;
  /** What else the application has to say. */
  attributes?: Readonly<Record<string, string>>;
}
export const AuditUserAction: Kind<AuditUserActionFields>;

/** A producer is done: this is the last sequence of its epoch. */
export interface ClosingFields {
  /** When it ended; where a successor says so, when that began. */
  time?: number;
  /** node/role/worker. */
  producer: string;
  /** The start that ends. */
  epoch: number;
  /** The last sequence before this event. */
  sequence: number;
  /** How many events of this epoch were dropped before they had a sequence. */
  lost: number;
  /** Whether the producer said so itself, or a successor that found its ring. */
  reason: "stopped" | "recovered";
}
export const Closing: Kind<ClosingFields>;

/** What an entity of the configuration is now: a compacted topic keeps the last of each. */
export interface ConfigChangeFields {
  /** When it was committed. */
  time?: number;
  /** The node that says so. */
  node: string;
  /** kind/id: what changed. */
  entity: string;
  /** The entity's own name. */
  name?: string | null;
  /** What happened to it. */
  change: "created" | "updated" | "loaded";
  /** The administrative operation that did it. */
  request_id?: string | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Who asked for it. */
  actor?: string | null;
  /** The configuration's version that has it. */
  version?: number | null;
  /** The names of the fields that have a value; never their values. */
  fields?: readonly string[];
}
export const ConfigChange: Kind<ConfigChangeFields>;

/** An entity is gone: the topic forgets it. */
export interface ConfigRemovalFields {
  entity: string;
  time?: number;
}
export const ConfigRemoval: Kind<ConfigRemovalFields>;

/** A batch arrived, or did not. */
export interface DataIngestionFields {
  /** When its state was reached. */
  time?: number;
  /** The application that says so. */
  service: string;
  /** The dataset's id. */
  dataset: string;
  /** The batch's id. */
  batch: string;
  /** Where it comes from, without credentials. */
  source: string;
  /** Where it stands. */
  state: "started" | "completed" | "failed";
  /** How many records were taken. */
  records?: number | null;
  /** How many were not. */
  rejected?: number | null;
  /** How many bytes. */
  bytes?: number | null;
  /** The version of the dataset's schema. */
  schema_version?: string | null;
  /** The batch's checksum, with its algorithm in front. */
  checksum?: string | null;
  /** How long it took, in microseconds. */
  duration_us?: number | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Why it failed. */
  error?: string | null;
}
export const DataIngestion: Kind<DataIngestionFields>;

/** What a dataset was made of; a compacted topic keeps the last of each. */
export interface DataLineageFields {
  /** When it was made. */
  time?: number;
  /** The application that says so. */
  service: string;
  /** The URN of the dataset that was made. */
  output: string;
  /** The URNs of what it was made of. */
  inputs?: readonly string[];
  /** The job's id. */
  job: string;
  /** The run's id. */
  run: string;
  /** The code that made it, by name and version. */
  transformation?: string | null;
  /** For each column of the output, the columns that it comes from. */
  columns?: Readonly<Record<string, string>>;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
}
export const DataLineage: Kind<DataLineageFields>;

/** What a check of a dataset found. */
export interface DataQualityFields {
  /** When it was checked. */
  time?: number;
  /** The application that says so. */
  service: string;
  /** The dataset's id. */
  dataset: string;
  /** The check's name. */
  check: string;
  /** The column that was checked. */
  column?: string | null;
  /** Whether it held. */
  passed: boolean;
  /** How bad it is if it does not. */
  severity: "info" | "warning" | "error";
  /** What was measured. */
  observed?: number | null;
  /** What should have been. */
  expected?: number | null;
  /** How many records were looked at. */
  records_checked?: number | null;
  /** How many of them failed. */
  records_failed?: number | null;
  /** The batch that was checked. */
  batch?: string | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** More of it; no values of the data. */
  detail?: string | null;
}
export const DataQuality: Kind<DataQualityFields>;

/** A run of a job over data. */
export interface DataTransformationFields {
  /** When its state was reached. */
  time?: number;
  /** The application that says so. */
  service: string;
  /** The job's id. */
  job: string;
  /** The run's id. */
  run: string;
  /** Where it stands. */
  state: "started" | "completed" | "failed" | "cancelled";
  /** The datasets that it reads. */
  inputs?: readonly string[];
  /** The datasets that it writes. */
  outputs?: readonly string[];
  /** How many records it read. */
  records_in?: number | null;
  /** How many it wrote. */
  records_out?: number | null;
  /** How long it took, in microseconds. */
  duration_us?: number | null;
  /** The version of the code. */
  code_version?: string | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** Why it failed. */
  error?: string | null;
}
export const DataTransformation: Kind<DataTransformationFields>;

/** A step of a deployment. */
export interface DeploymentEventFields {
  /** When the step was taken. */
  time?: number;
  /** The node that says so. */
  node: string;
  /** namespace/name of what is deployed. */
  target: string;
  /** What all steps of a deployment share. */
  deployment_id: string;
  /** Where it stands. */
  phase: "planned" | "started" | "progressing" | "succeeded" | "failed" | "rolled_back";
  /** Who began it. */
  actor?: string | null;
  /** What is deployed. */
  component?: string | null;
  /** The version that comes. */
  version?: string | null;
  /** The one that goes. */
  previous_version?: string | null;
  /** The digest of the image or the bundle. */
  digest?: string | null;
  /** Why it is in that phase. */
  reason?: string | null;
  /** How long the phase took, in microseconds. */
  duration_us?: number | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
}
export const DeploymentEvent: Kind<DeploymentEventFields>;

/** How far a producer is: what has a higher sequence than is found was lost. */
export interface HeartbeatFields {
  /** When it was so. */
  time?: number;
  /** producer/epoch: whose sequences. */
  stream: string;
  /** node/role/worker. */
  producer: string;
  /** The producer's start. */
  epoch: number;
  /** The last sequence before this event. */
  sequence: number;
  /** How many events of this epoch were dropped before they had a sequence. */
  lost: number;
}
export const Heartbeat: Kind<HeartbeatFields>;

/** A refusal, or many alike told as one: count says how many, time and last_time when the first and the last were. */
export interface SecurityEventFields {
  /** When it happened; of many, the first. */
  time?: number;
  /** The node that says so. */
  node: string;
  /** carbyne-gateway, carbyne-proxy. */
  component: string;
  /** Why. */
  reason: "authentication_missing" | "authentication_invalid" | "access_denied" | "rate_limited" | "address_denied" | "too_large" | "guard_unavailable" | "policy_denied" | "token_missing" | "token_invalid" | "authorizer_denied" | "authorizer_failed" | "handshake_failed" | "plaintext_refused" | "malformed_request" | "admin_denied" | "various";
  /** What decided: the plugin, the authorization policy, the listener's setting. */
  policy?: string | null;
  /** The id of the plugin's instance, where it has one. */
  policy_id?: string | null;
  /** The answer's status, where there was one. */
  status?: number | null;
  /** More of it, in words of our own. */
  detail?: string | null;
  /** The peer's identity by its certificate. */
  source_principal?: string | null;
  /** The client's network (/24, /48) or its address under the node's key. */
  client_address?: string | null;
  /** Whom it wanted to reach, by its certificate. */
  destination_principal?: string | null;
  /** The listener that it came to. */
  listener?: string | null;
  /** The request's id; of many, the first's. */
  request_id?: string | null;
  /** The trace that it belongs to: 32 hexadecimal digits. */
  trace_id?: string | null;
  /** The request's method; of many, the first's. */
  method?: string | null;
  /** The host that was asked for. */
  host?: string | null;
  /** What of the route matched the path. */
  path_template?: string | null;
  /** The route that matched. */
  route_id?: string | null;
  /** The route's service. */
  service_id?: string | null;
  /** Who was authenticated. */
  consumer_id?: string | null;
  /** The credential's id. */
  credential_id?: string | null;
  /** The token's issuer, where it was read. */
  token_issuer?: string | null;
  /** The token's subject, where its signature held. */
  token_subject?: string | null;
  /** A hash of the token's key id. */
  token_key_hash?: string | null;
  /** How many this one stands for. */
  count: number;
  /** When the last of them was. */
  last_time: number;
}
export const SecurityEvent: Kind<SecurityEventFields>;

/** How a process is; a compacted topic keeps the last of each. */
export interface SystemHealthFields {
  /** When it was so. */
  time?: number;
  /** component/node: whose state it is. */
  instance: string;
  /** carbyne-gateway, carbyne-proxy, carbyne. */
  component: string;
  /** The node that says so. */
  node: string;
  /** How it is. */
  state: "starting" | "ready" | "degraded" | "draining" | "stopped";
  /** Why it is not ready. */
  reason?: string | null;
  /** The program's version. */
  version: string;
  /** When the process began: microseconds since 1970. */
  started: number;
  /** The configuration that it serves. */
  config_version?: string | null;
  /** Why a newer one was not taken. */
  config_error?: string | null;
  /** How long it has served that. */
  config_age_seconds?: number | null;
  /** How many workers it has. */
  workers?: number | null;
  /** What it holds in memory. */
  memory_bytes?: number | null;
  /** Connections that are open. */
  connections?: number | null;
  /** Requests since it began. */
  requests?: number | null;
}
export const SystemHealth: Kind<SystemHealthFields>;
