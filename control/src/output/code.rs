//! Every code that `carbyne` says, with what it means and what to do; `carbyne explain` reads this table. A code keeps its meaning
//! for ever: one that is no longer said stays in the table's gaps and is not used again.

use std::fmt;

use serde::{Serialize, Serializer};

/// A kind of finding with a number that stays.
#[derive(Debug, Serialize)]
pub struct Code {
    /// The number; `CTL-0123` is written with four digits.
    #[serde(serialize_with = "written")]
    pub code: u16,
    /// How bad it is, where the finding does not say otherwise.
    pub severity: Severity,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means and why it matters.
    pub explanation: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know; nothing is wrong.
    Note,
    /// It works, and probably not as meant.
    Warning,
    /// Something is refused or does not work.
    Error,
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CTL-{:04}", self.code)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

fn written<S: Serializer>(code: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("CTL-{code:04}"))
}

/// The code that somebody wrote: `CTL-0123`, `ctl-123` or `123`.
#[must_use]
pub fn find(text: &str) -> Option<&'static Code> {
    let digits = text
        .get(..4)
        .filter(|start| start.eq_ignore_ascii_case("CTL-"))
        .map_or(text, |_| &text[4..]);
    let number: u16 = digits.parse().ok()?;
    ALL.iter().copied().find(|code| code.code == number)
}

macro_rules! codes {
    ($($name:ident = $code:literal $severity:ident $title:literal $explanation:literal $fix:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code {
                code: $code,
                severity: Severity::$severity,
                title: $title,
                explanation: $explanation,
                fix: $fix,
            };
        )*
        /// All of them, in the order of their numbers.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

// 01 what any verb may say · 02 lint: Istio · 03 lint: kong.yml · 04 lint and topics · 05 status and proxy · 06 verify · 07 events · 08 graph, doctor · 09 dashboards
codes! {
    UNREADABLE = 101 Error
        "A file cannot be read"
        "The file is not there, may not be read, or is not UTF-8 text. Nothing was done with it."
        "check the name and its permissions; `-` reads standard input";
    NO_SUCH_FORMAT = 102 Error
        "The verb does not write this format"
        "Pictures (mermaid, dot, svg) are drawn of graphs only; every verb writes text and json."
        "use `-o text` or `-o json`";
    NOT_WRITTEN = 103 Error
        "A result could not be written"
        "The result does not fit the format that was asked for, or the file could not be written."
        "use `-o text`; check the place that is written to";
    UNKNOWN_CODE = 104 Error
        "There is no such code"
        "`carbyne explain` knows the codes that this version says; another version may know more."
        "`carbyne explain` without a code lists all of them";
    NOT_RUNNING = 105 Error
        "No platform is running"
        "The verb looks at a platform that `carbyne up` runs, by the file running.json in its runtime directory. There is none, or the process that wrote it has ended."
        "start one with `carbyne up`, or name its directory with `--run DIR`";
    NO_ANSWER = 106 Error
        "An address does not answer"
        "Nothing listens there, the answer did not come in time, or it was no HTTP."
        "check that the process runs and that the address is its own";
    UNREADABLE_ANSWER = 107 Error
        "An answer is not what was expected"
        "Something answered, but with another status or content than this page has: the address may be another program's."
        "check that the address is a carbyne-proxy's (or Envoy's) admin port";
    SYSTEM = 108 Error
        "The system refused something"
        "A thread, a runtime or a socket could not be made."
        "check the limits of the process (`ulimit -a`)";
    INVALID = 201 Error
        "A value that Istio refuses"
        "istiod's validation, or the embedded control plane's, refuses the resource: as long as it is so, the last good version stays in effect and nothing of the new one."
        "change the value that the message names";
    NOT_YAML = 202 Error
        "The document is no YAML"
        "It cannot be read, so nothing of it has effect; other documents of the file are read."
        "look at the line and the one before it: indentation, quotes, brackets";
    NOT_SERVED = 203 Warning
        "The embedded control plane does not serve this"
        "istiod may, and `carbyne up` refuses the folder: what changes how proxies behave is never left out in silence."
        "leave it out of folders that `carbyne up` runs";
    TWICE = 204 Error
        "Two of one name"
        "Two resources of one kind, namespace and name, or two subsets of one name: applying them, the second takes the place of the first."
        "give one of them another name, or delete it";
    UNKNOWN_FIELD = 205 Warning
        "A field that nobody knows"
        "It has no effect. Most often it is misspelt or one level too deep."
        "compare its name and its place with Istio's reference";
    NOT_ISTIO = 206 Note
        "Another API's objects"
        "They are read for the names of services and the labels of workloads, and not checked."
        "`kubectl apply --dry-run=server` checks them";
    NO_NAMESPACE = 207 Note
        "A resource names no namespace"
        "`kubectl apply` puts it into the namespace of the context; here `default` is taken."
        "write `metadata.namespace`";
    HOST_TWICE = 208 Warning
        "Two ServiceEntries for one host"
        "Only the first one is served."
        "put their ports and endpoints into one";
    NO_SERVICE = 209 Warning
        "The host is no service of these files"
        "Requests to it are answered 503 (routes) or the rule has no effect, unless the cluster has the service."
        "correct the host (a short name is completed with the resource's own namespace), or lint with the files that define it";
    NO_SUBSET = 210 Error
        "No DestinationRule has the subset"
        "Requests to a subset that is not defined are answered 503."
        "add the subset to the host's DestinationRule";
    NO_GATEWAY = 211 Warning
        "The Gateway is not in these files"
        "The routes have no effect at it."
        "correct NAMESPACE/NAME, or lint with the file that defines it";
    NO_PROVIDER = 212 Warning
        "The extension provider is not in the mesh's configuration"
        "Logs, spans and metrics that it was to get are not sent; requests of a CUSTOM policy are refused."
        "add it to `extensionProviders`";
    NEVER_REACHED = 213 Warning
        "A route that no request reaches"
        "Routes are tried in order, and one before it takes every request."
        "put the route without `match` last";
    TWO_OWNERS = 214 Warning
        "Two resources want to rule the same"
        "One of them is taken: of a cluster's the oldest, which files do not tell. The other one has no effect there."
        "put them into one resource";
    SELECTS_NOBODY = 215 Warning
        "Labels that no workload has"
        "The resource has no effect on any workload of these files, or the service has nobody to answer."
        "compare the labels with those of the workloads";
    PLAINTEXT_REFUSED = 216 Error
        "Callers are told to send plaintext to a port that takes mutual TLS only"
        "Every call fails: connections are closed (flag UC or UF at the caller)."
        "remove `tls.mode: DISABLE`, or make the port PERMISSIVE first";
    CALLERS_IN_PLAINTEXT = 217 Warning
        "Callers will send plaintext under STRICT"
        "Automatic mutual TLS is used towards endpoints that say that they speak it. This one does not, and the policy of its workload refuses plaintext."
        "add the label security.istio.io/tlsMode: istio if it has a sidecar; else STRICT cannot hold for it";
    NOBODY_OF_THAT_NAME = 218 Warning
        "A principal that nobody has"
        "The rule matches nobody: an ALLOW lets nobody in, a DENY keeps nobody out."
        "write TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT as the caller's certificate has it";
    IDENTITY_NOT_PROVED = 219 Warning
        "A DENY by identity where plaintext is taken"
        "Identities are proved by mutual TLS. Who sends plaintext has none, is not matched, and passes."
        "make the port STRICT, or write an ALLOW policy for those who may";
    HTTP_RULE_ON_TCP = 220 Warning
        "A rule about HTTP at a port that is not HTTP"
        "istiod leaves such an ALLOW rule out, and takes a DENY rule without its HTTP parts: it then refuses more than is written."
        "name the port's protocol http (or appProtocol), or write rules with ports and principals only";
    KONG_INVALID = 301 Error
        "The gateway refuses the declarative configuration"
        "As long as it is so, the configuration that is loaded stays in effect and nothing of the new one."
        "change what the message names; docs/gateway.md names differences to Kong";
    NOT_CHECKED = 302 Warning
        "kong.yml was not looked at"
        "The gateway's own reader checks it, and the program is not found or could not be run."
        "put carbyne-gateway beside carbyne or on the PATH, or name it with --gateway FILE";
    TOPICS_INVALID = 401 Error
        "A value that topics.yaml cannot have"
        "`carbyne topics` refuses the file: it plans and applies nothing of it."
        "change what the message names";
    COMPACTED_WITHOUT_KEY = 402 Error
        "A compacted topic without a key"
        "Kafka refuses messages without a key where it compacts (INVALID_RECORD); what is keyed by must be said."
        "add `key:` with what its messages are keyed by, or write `cleanup: delete`";
    NOBODY_COULD_WRITE = 403 Error
        "More replicas must be in sync than there are"
        "With acks=all, which our producers use, every write is refused (NOT_ENOUGH_REPLICAS)."
        "lower min.insync.replicas below the replication, which leaves room for one broker to be down";
    TOPICS_FILE = 450 Error
        "A file of topics has a fault"
        "The file cannot be carried out as it is written, so nothing was done. All its faults are told at once."
        "see Topics in docs/operations.md for what the file may say";
    NO_PROFILE = 451 Error
        "The file of topics has no such profile"
        "A profile says how many copies each partition has and what follows from that, such as `single` and `ha`."
        "name one that the file has with `--profile`";
    NO_CLUSTER = 452 Error
        "No Kafka cluster is named"
        "The verb asks the brokers of the platform that `carbyne up` runs unless others are named; there are none."
        "name brokers with `--bootstrap HOST:PORT`";
    KAFKA_PROPERTY = 453 Error
        "A property of the Kafka client is wrong"
        "Properties are librdkafka's, one NAME=VALUE each; it does not know this one, or not this value."
        "see librdkafka's CONFIGURATION.md for names and values";
    NO_BROKER = 454 Error
        "No broker answers in time"
        "Nothing listens at the addresses, what listens is no Kafka, or it answers too slowly."
        "check the addresses; give it longer with `--timeout SECONDS`";
    BROKER_STRANGER = 455 Error
        "The brokers do not accept who is asking"
        "Name or password are wrong, or the mechanism is another one."
        "check sasl.username, sasl.password and sasl.mechanisms in the file of `--kafka-config`";
    BROKER_REFUSES = 456 Error
        "The cluster refuses a question"
        "It answers, and will not tell or do this: rights may be missing, or the cluster is too old."
        "the principal needs Describe and DescribeConfigs to look, Create, Alter and AlterConfigs to change";
    NOT_CONFIRMED = 457 Error
        "Nobody said yes"
        "`apply` asks before it changes anything; where nobody can be asked, it must be told."
        "add `--yes` after looking at `carbyne topics plan`";
    NOT_APPLIED = 458 Error
        "The cluster is not as declared after all"
        "Some of it was not done, or not in time. What was done stays; the same `apply` goes on from there."
        "run `carbyne topics plan` to see what is left";
    NO_TOPIC = 459 Error
        "The cluster has no such topic"
        "Names are compared letter by letter."
        "`carbyne topics describe` lists those that there are";
    TOPIC_DIFFERS = 460 Warning
        "A topic is not as declared"
        "The cluster has other partitions or settings than the file: somebody changed one of them."
        "run `carbyne topics apply`";
    TOPIC_REFUSED = 461 Error
        "A topic cannot be made as declared"
        "Kafka cannot do this to a topic that holds messages, or it must be allowed first."
        "declare what the cluster has, or make a new topic and move to it";
    TOPIC_WITHOUT_LEADER = 462 Error
        "Partitions without a leader"
        "Nobody can write to them or read from them: the brokers that have them are down."
        "start the brokers that hold them again";
    TOPIC_BEHIND = 463 Warning
        "Partitions with copies that are behind"
        "A broker is down, or cannot keep up. With fewer copies than min.insync.replicas writing is refused."
        "look at the brokers that are missing from the copies in sync";
    BROKER_MAKES_TOPICS = 464 Warning
        "The brokers make any topic that is named"
        "With auto.create.topics.enable a wrong name makes a topic with other partitions and settings instead of an error."
        "set auto.create.topics.enable=false on the brokers";
    SMALL_MESSAGES = 465 Warning
        "Messages may be smaller than producers send"
        "Producers send up to 1,000,000 bytes; what is larger than the topic allows is refused by the broker."
        "raise max.message.bytes of the topic, or message.max.bytes of the brokers";
    TOPIC_EXTRA = 466 Note
        "A topic that nobody declared"
        "It is left alone."
        "declare it, or delete it with `carbyne topics apply --prune NAME`";
    NO_SUCH_PROXY = 501 Error
        "There is no proxy of this name"
        "Proxies are known by the name of their workload; those of other machines by the address of their admin port."
        "`carbyne status` lists those that run";
    PROGRAM_GONE = 502 Error
        "A program of the platform is gone"
        "Its process has ended. `carbyne up` starts it again; if it stays away, it ends each time."
        "read its log in the runtime directory; `carbyne doctor` collects all of them";
    NOT_READY = 503 Warning
        "A proxy is not ready"
        "It runs and waits for configuration: listeners, clusters, routes or secrets that it was promised."
        "its /init_dump says what is missing: `curl ADMIN/init_dump`";
    NOT_CONNECTED = 504 Error
        "A proxy is not connected to the control plane"
        "It serves with the last configuration that it got and hears of no change."
        "read its log: it says why the stream ended; restart it if the control plane is well";
    REFUSED_UPDATE = 505 Error
        "A proxy refuses a part of its configuration"
        "The part that it names is not as it must be; the last good version of it stays, everything else is applied."
        "change the resource that the message names";
    STALE = 506 Warning
        "A proxy does not answer what it was sent"
        "The control plane sent configuration and the proxy neither accepted nor refused it. For a moment that is so after each change."
        "ask again; if it stays, the proxy hangs: read its log, restart it";
    CERTIFICATE_ENDS = 507 Warning
        "A certificate ends soon"
        "Certificates are renewed at half of their life. One that is this close to its end was not renewed, and calls will fail when it ends."
        "restart the proxy's control plane (its certificate authority renews); check the clock";
    NO_SIDECAR = 508 Warning
        "A workload has no sidecar"
        "The service is inside the mesh, so that callers use mutual TLS and policies are written for it; without a sidecar it can take neither."
        "give it one, or make its ServiceEntry MESH_EXTERNAL";
    NO_URL = 509 Error
        "This is no URL"
        "`why` walks a request, whose host, port and path come from a URL."
        "write http://HOST:PORT/PATH";
    NO_SPOOL = 701 Error
        "There are no events here"
        "The folder holds no process's spool, or it cannot be read. Processes make theirs below CARBYNE_EVENTS_DIR."
        "name the folder that the processes have as CARBYNE_EVENTS_DIR";
    EVENTS_LOST = 702 Error
        "Events are missing"
        "Sequences of a producer are neither in the topics nor in the spool, and nobody declared that they were dropped: a segment or a topic's records were removed, or a disk lost what it had confirmed."
        "look whether segments or records were deleted by hand; `-o json` lists every gap";
    EVENTS_DROPPED = 703 Warning
        "Events were dropped and declared"
        "There was no room (the ring or the spool was full), a block was damaged, or an event was larger than its topic takes. An AuditGap says which sequences and why."
        "see that the shipper keeps up, give the spool more room, or raise the topic's max.message.bytes";
    SPOOL_DAMAGED = 704 Warning
        "A spool has places that cannot be read"
        "Blocks are passed over whose checksums do not hold. After kill -9 the end of a segment may be torn: what it held is then in the ring."
        "check the disk; `carbyne events verify` says whether anything is missing";
    SHIPPER_FAILED = 705 Error
        "The shipper cannot begin"
        "The folder cannot be read, or the Kafka client does not take its settings."
        "check the folder and the properties (-X, --kafka-config)";
    SHIPPER_WAITS = 706 Warning
        "Events wait for somebody"
        "The brokers do not answer, refuse the credentials, or lack a topic. Nothing is lost meanwhile: the spool keeps it."
        "see the message: start the brokers, check the credentials, or run `carbyne topics apply`";
    TOPICS_UNREAD = 707 Error
        "The topics could not be read to their end"
        "The brokers did not answer in time, or refuse to be read from."
        "check the brokers and that the credentials may read";
    EVENTS_EXPIRED = 708 Note
        "Older events can no longer be proved"
        "A topic has deleted events by its retention or its compaction, so what is missing from that time may have been in it."
        "verify more often than the shortest retention (7 days), or keep the reports";
    SEGMENT_HEAD_DAMAGED = 709 Warning
        "The head of a spool's segment cannot be read"
        "It says whose events the segment holds. The ledger in the same directory says so too, and these go on as ever. Where that is gone as well, the events are kept and shipped under the node's name `?`, and are missing under their producer's own."
        "check the disk; put the directory's ledger back from a copy if it is gone, before the shipper goes on; `carbyne events verify` says whether anything is missing";
    DASHBOARD_RULE = 901 Error
        "A dashboard breaks a rule"
        "The rules are those of grafana/dashboard-linter and that every metric is in deploy/monitoring/metrics.yaml with its kind and labels: what breaks one shows nothing, or something wrong, somewhere."
        "change deploy/monitoring/panels/*.yaml and run `carbyne dashboards generate`; a dashboard of your own is changed in Grafana";
    DASHBOARD_DIFFERS = 902 Warning
        "A dashboard is not as generated"
        "The file was changed by hand, or panels or metrics were and it was not generated anew."
        "run `carbyne dashboards generate`";
    DASHBOARD_UNMADE = 903 Error
        "A dashboard cannot be made"
        "A query of a panel is no PromQL, or names a metric that is not in the table. They are built into the program, so this is its own fault."
        "report it with the version of the program";
    QUERY_REFUSED = 904 Error
        "Prometheus refuses a query"
        "Something answers at the address, but not to this query: it may be an old Prometheus, or none."
        "check the address with `--prometheus`; Prometheus 2.37 or later knows all that is asked";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_every_code_says_what_to_do() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for code in ALL {
            assert!(!code.title.ends_with('.'), "{code}: {}", code.title);
            assert!(
                code.explanation.ends_with('.'),
                "{code}: {}",
                code.explanation
            );
            assert!(!code.fix.is_empty() && !code.fix.contains('\n'), "{code}");
        }
    }

    #[test]
    fn codes_are_found_as_people_write_them() {
        for text in ["CTL-0101", "ctl-0101", "CTL-101", "101"] {
            assert_eq!(
                find(text).map(ToString::to_string).as_deref(),
                Some("CTL-0101")
            );
        }
        for text in ["CTL-9999", "CTL", "x", "", "ÄÖÜ-1"] {
            assert!(find(text).is_none(), "{text}");
        }
    }
}
