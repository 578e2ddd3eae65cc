//! Who decides, whose trace it is, and what it is called.

use super::{
    ALWAYS, BY_PARENT, BY_PROVIDER, HALF, INBOUND, INSIDE, NAMED, NEVER, NO_TRACE, NOTHING,
    OUTBOUND, OUTSIDE, SILENT, UNPACKED,
};
use crate::scene::{Case, case};
use crate::support::http1::get;
use crate::support::upstream::reply;

/// Who decides, and what the id says then.
pub(super) fn decisions() -> Vec<Case> {
    let id = |nibble: char| format!("00000000-0000-{nibble}000-8000-000000000000");
    vec![
        case(
            "drawn",
            INBOUND,
            get("/plain"),
            &[
                "1 spans",
                "host x-request-id: (uuid 9)",
                "told the client x-request-id: (uuid 9)",
                "host traceparent: 00 trace own of 32 digits span of \"ingress\" 01",
                "span \"ingress\" SERVER below none trace own",
                "span \"ingress\" flags 0x101",
            ],
        ),
        case(
            "not drawn",
            NEVER,
            get("/plain"),
            &[
                "0 spans",
                "host x-request-id: (uuid 4)",
                "host traceparent: *00",
            ],
        ),
        case(
            "not drawn on this route",
            INBOUND,
            get("/unsampled"),
            &["0 spans", "host x-request-id: (uuid 4)"],
        ),
        case(
            "asked for by the client",
            NEVER,
            get("/plain").header("x-client-trace-id", "mine"),
            &[
                "1 spans",
                "host x-request-id: (uuid b)",
                "span \"ingress\" tag guid:x-client-trace-id: mine",
            ],
        ),
        case(
            "forced from outside",
            NEVER,
            get("/plain").header("x-envoy-force-trace", "true"),
            &["0 spans"],
        ),
        case(
            "forced from inside",
            INSIDE,
            get("/plain").header("x-envoy-force-trace", "true"),
            &["1 spans", "host x-request-id: (uuid a)"],
        ),
        case(
            "sampled by an earlier proxy",
            NEVER,
            get("/plain").header("x-request-id", &id('9')),
            &["1 spans"],
        ),
        case(
            "forced at an earlier proxy",
            NEVER,
            get("/plain").header("x-request-id", &id('a')),
            &["1 spans"],
        ),
        case(
            "asked for at an earlier proxy",
            NEVER,
            get("/plain").header("x-request-id", &id('b')),
            &["1 spans"],
        ),
        case(
            "told so by a client at the edge",
            OUTSIDE,
            get("/plain").header("x-request-id", &id('a')),
            &["1 spans", "host x-request-id: (uuid 9)"],
        ),
        case(
            "nothing overall",
            NOTHING,
            get("/plain").header("x-request-id", &id('9')),
            &["0 spans", "host x-request-id: 00000000-0000-4"],
        ),
        case(
            "half, by a low id",
            HALF,
            // 4999 of 10000.
            get("/plain").header("x-request-id", "00001387-0000-4000-8000-000000000000"),
            &["1 spans", "host x-request-id: 00001387-0000-9"],
        ),
        case(
            "half, by a high id",
            HALF,
            get("/plain").header("x-request-id", "00001388-0000-4000-8000-000000000000"),
            &["0 spans", "host x-request-id: 00001388-0000-4"],
        ),
        case(
            "an id that is no number",
            INBOUND,
            get("/plain").header("x-request-id", "abc"),
            &["0 spans"],
        ),
        case(
            "an id with a letter beyond f",
            INBOUND,
            get("/plain").header("x-request-id", "0000000g-0000-4000-8000-000000000000"),
            &["0 spans"],
        ),
        case(
            "an id that is a number",
            INBOUND,
            get("/plain").header("x-request-id", "12345678"),
            &["1 spans", "host x-request-id: 12345678"],
        ),
        case("by the provider", BY_PROVIDER, get("/plain"), &["1 spans"]),
        case(
            "not packed",
            UNPACKED,
            get("/plain"),
            &["1 spans", "host x-request-id: (uuid 4)"],
        ),
        case("nobody traces", NO_TRACE, get("/"), &["0 spans"]),
    ]
}

/// Whose trace it is.
pub(super) fn contexts() -> Vec<Case> {
    let parent = |flags: &str| {
        get("/plain").header("traceparent", &format!("00-{{trace}}-{{span}}-{flags}"))
    };
    vec![
        case(
            "below a sampled span",
            INBOUND,
            parent("01").header("tracestate", "a=1,b=2"),
            &[
                "1 spans",
                "span \"ingress\" SERVER below incoming trace incoming",
                "span \"ingress\" flags 0x301",
                "span \"ingress\" state \"a=1,b=2\"",
                "host tracestate: a=1,b=2",
                "host traceparent: 00 trace incoming span of \"ingress\" 01",
            ],
        ),
        case(
            "below a span that is not sampled",
            INBOUND,
            parent("00"),
            &[
                "0 spans",
                "host traceparent: 00 trace incoming span unknown 00",
            ],
        ),
        case(
            "below a sampled span, and not drawn",
            NEVER,
            parent("01"),
            &[
                "0 spans",
                "host traceparent: 00 trace incoming span unknown 00",
            ],
        ),
        case(
            "not sampled above, asked for here",
            INBOUND,
            parent("00").header("x-client-trace-id", "mine"),
            &["0 spans", "host x-request-id: (uuid b)"],
        ),
        case(
            "on the outbound side",
            OUTBOUND,
            parent("01"),
            &["span * CLIENT below incoming trace incoming"],
        ),
        case(
            "other versions and flags",
            INBOUND,
            get("/plain").header("traceparent", "01-{trace}-{span}-03"),
            &[
                "1 spans",
                "host traceparent: 00 trace incoming span of \"ingress\" 01",
            ],
        ),
        case(
            "a version that is none",
            INBOUND,
            get("/plain").header("traceparent", "ff-{trace}-{span}-01"),
            &["1 spans"],
        ),
        case(
            "capital digits",
            INBOUND,
            get("/plain").header(
                "traceparent",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            ),
            &["1 spans"],
        ),
        case(
            "garbage",
            INBOUND,
            get("/plain").header("traceparent", "garbage"),
            &["0 spans", "host traceparent: garbage"],
        ),
        case(
            "more behind it",
            INBOUND,
            get("/plain").header("traceparent", "01-{trace}-{span}-01-more"),
            &["0 spans"],
        ),
        case(
            "no trace",
            INBOUND,
            get("/plain").header(
                "traceparent",
                "00-00000000000000000000000000000000-{span}-01",
            ),
            &["0 spans"],
        ),
        case(
            "B3 is nothing to it",
            INBOUND,
            get("/plain")
                .header("x-b3-traceid", "{trace}")
                .header("x-b3-spanid", "{span}")
                .header("x-b3-sampled", "0"),
            &[
                "1 spans",
                "host x-b3-traceid: incoming",
                "span \"ingress\" SERVER below none",
            ],
        ),
        case(
            "not told on",
            SILENT,
            parent("01"),
            &[
                "2 spans",
                "host traceparent: 00 trace incoming span incoming 01",
            ],
        ),
        case(
            "a sampler for all, and drawn",
            ALWAYS,
            parent("00"),
            &["1 spans"],
        ),
        case("a parent decides", BY_PARENT, parent("01"), &["1 spans"]),
        case(
            "a parent decides against",
            BY_PARENT,
            parent("00"),
            &["0 spans"],
        ),
        case(
            "without a parent another decides",
            BY_PARENT,
            get("/plain"),
            &["0 spans"],
        ),
    ]
}

/// What it is called.
pub(super) fn operations() -> Vec<Case> {
    let peer = |path: &str| get(path).header("x-envoy-decorator-operation", "of-the-peer");
    let answered = || {
        vec![vec![reply(
            "200 OK",
            &["x-envoy-decorator-operation: of-the-server"],
            "",
        )]]
    };
    vec![
        case(
            "outbound, nobody names it",
            OUTBOUND,
            get("/plain").host("some.host:1234"),
            &["span \"egress some.host:1234\" CLIENT below none"],
        ),
        case(
            "inbound, the route names it",
            INBOUND,
            get("/"),
            &[
                "span \"service.namespace:80/*\" SERVER",
                "told the client x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "outbound, the route names it",
            OUTBOUND,
            get("/"),
            &[
                "span \"service.namespace:80/*\" CLIENT",
                "host x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "inbound, the client's proxy names it",
            INBOUND,
            peer("/"),
            &["span \"of-the-peer\" SERVER"],
        ),
        case(
            "inbound, an empty name",
            INBOUND,
            get("/").header("x-envoy-decorator-operation", ""),
            &["span \"service.namespace:80/*\""],
        ),
        case(
            "at the edge nobody does",
            OUTSIDE,
            peer("/plain"),
            &["span \"egress a.test\""],
        ),
        case(
            "outbound, the server's proxy names it",
            OUTBOUND,
            get("/"),
            &["span \"of-the-server\" CLIENT"],
        )
        .script(answered()),
        case(
            "outbound, not told on",
            OUTBOUND,
            get("/quiet"),
            &["span \"quiet-operation\""],
        ),
        case(
            "inbound, not told on",
            INBOUND,
            get("/quiet"),
            &["span \"quiet-operation\""],
        ),
        case(
            "not sampled, told all the same",
            NEVER,
            get("/"),
            &[
                "0 spans",
                "told the client x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "the route's text",
            INBOUND,
            peer("/named"),
            &[
                "span \"route-GET-200\" SERVER",
                "host x-envoy-decorator-operation: of-the-peer",
            ],
        ),
        case(
            "the manager's text",
            NAMED,
            get("/"),
            &[
                "span \"request-GET-200\" SERVER",
                "span \"try-/\" CLIENT below of \"request-GET-200\"",
            ],
        ),
        case(
            "the route's text wins",
            NAMED,
            get("/named"),
            &["span \"route-GET-200\"", "span \"try-/named\""],
        )
        .script(answered()),
    ]
}
