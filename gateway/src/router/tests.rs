//! Kong's documented cases: texts, priorities and order of routes.

use carbyne_engine::http::Headers;
use http::{HeaderName, HeaderValue, Method};

use super::*;
use crate::value::Value;

mod conditions;
mod expressions;

const ORIGINAL: Rules = Rules {
    flavor: Flavor::TraditionalCompatible,
    calculation: Calculation::Original,
};
const STRICT: Rules = Rules {
    calculation: Calculation::Strict,
    ..ORIGINAL
};
const EXPRESSIONS: Rules = Rules {
    flavor: Flavor::Expressions,
    ..ORIGINAL
};

/// A route of JSON fields; its id ends in `number`.
fn route(number: usize, fields: &str) -> Route {
    let row = Value::from_json(format!("{{{fields}}}").as_bytes()).expect(fields);
    let mut row = row.as_object().unwrap().clone();
    let id = format!("e8fb37f1-102d-461e-9c51-6608a6bb8{number:03}");
    row.entry("id".into()).or_insert_with(|| id.into());
    row.entry("protocols".into())
        .or_insert_with(|| vec!["http".into(), "https".into()].into());
    Route::read(&row).expect(fields)
}

fn table(rules: Rules, fields: &[&str]) -> Router<usize> {
    let routes: Vec<_> = (0..)
        .zip(fields)
        .map(|(at, fields)| route(at, fields))
        .collect();
    let (router, rejected) = Router::build(rules, routes.iter().zip(0..));
    assert!(rejected.is_empty(), "{rejected:?}");
    router
}

/// A request in one line: `GET http://host:port/path name=value …`.
struct Asked {
    protocol: Protocol,
    method: Method,
    host: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
    headers: Headers,
}

impl Asked {
    fn new(line: &str) -> Self {
        let mut words = line.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let url: http::Uri = words.next().unwrap().parse().expect(line);
        let mut headers = Headers::new();
        for word in words {
            let (name, value) = word.split_once('=').unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        Self {
            protocol: match url.scheme_str() {
                Some("https") => Protocol::Https,
                _ => Protocol::Http,
            },
            method,
            host: url.host().unwrap().into(),
            port: url.port_u16(),
            path: url.path().into(),
            query: url.query().map(Into::into),
            headers,
        }
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            protocol: self.protocol,
            sni: (self.protocol == Protocol::Https).then_some(self.host.as_str()),
            source: ([10, 0, 0, 1], 40_000).into(),
            destination: ([10, 0, 0, 2], 8000).into(),
            http: Some(Http {
                method: &self.method,
                host: self.host.as_bytes(),
                port: self.port,
                path: self.path.as_bytes(),
                query: self.query.as_deref().map(str::as_bytes),
                headers: &self.headers,
                authority: self.host.as_bytes(),
            }),
        }
    }
}

fn find(router: &Router<usize>, line: &str) -> Option<usize> {
    let asked = Asked::new(line);
    router.find(&asked.lookup()).map(|found| *found.payload)
}

/// Checks a table: each request with the place of the route that it takes.
fn check(rules: Rules, fields: &[&str], requests: &[(&str, Option<usize>)]) {
    let router = table(rules, fields);
    for (line, expected) in requests {
        assert_eq!(find(&router, line), *expected, "{line} among {fields:#?}");
    }
}

/// What Kong 3.9.3 makes of a route (its own code was run), and the order that it documents.
#[test]
fn fields_become_kongs_expressions_and_priorities() {
    for (fields, text, original, strict) in [
        (
            r#""hosts":["A.com"]"#,
            r##"(http.host == r#"a.com"#)"##,
            0x1000_0000_2000_0000,
            0x3000_0000_0000_0000_u64,
        ),
        (
            r#""hosts":["*.a.com:80","b.*"],"paths":["/p"]"#,
            r##"((http.host =^ r#".a.com"# && net.dst.port == 80) || http.host ^= r#"b."#) && (http.path ^= r#"/p"#)"##,
            0x0000_0000_4000_0002,
            0x4000_0000_0000_0002,
        ),
        (
            r#""methods":["GET","PUT"],"paths":["~/p/(?<a>x)"],"regex_priority":5"#,
            r##"(http.method == r#"GET"# || http.method == r#"PUT"#) && (http.path ~ r#"^/p/(?P<a>x)"#)"##,
            0x0008_0000_4028_0000,
            0x4008_0000_0028_0000,
        ),
        (
            r#""protocols":["https"],"snis":["a.com.","*.b.com","c.*"],"headers":{"X-Foo":["A","~*^B"]}"#,
            r##"(net.protocol != r#"https"# || (tls.sni == r#"a.com"# || tls.sni =^ r#".b.com"# || tls.sni ^= r#"c."#)) && (any(lower(http.headers.x_foo)) == r#"a"# || any(lower(http.headers.x_foo)) ~ r#"^b"#)"##,
            0x0000_0000_4010_0000,
            0x4010_0000_0000_0000,
        ),
        (
            r#""sources":[{"ip":"10.1.2.3/16"},{"ip":"1.1.1.1","port":80},{"port":8080}],"paths":["/"]"#,
            r##"(net.src.ip in 10.1.0.0/16 || (net.src.ip == 1.1.1.1 && net.src.port == 80) || net.src.port == 8080) && (http.path ^= r#"/"#)"##,
            0x0000_0000_4000_0001,
            0x4000_0000_0000_0001,
        ),
        (
            r#""hosts":["a"],"paths":["/"],"methods":["GET"],"headers":{"a":["b"]}"#,
            r##"(http.method == r#"GET"#) && (http.host == r#"a"#) && (http.path ^= r#"/"#) && (any(lower(http.headers.a)) == r#"b"#)"##,
            0x9000_0000_0010_0001,
            0x9010_0000_0000_0001,
        ),
        (
            r#""paths":["~/"],"regex_priority":-1"#,
            r##"(http.path ~ r#"^/"#)"##,
            0x8008_0000_7ff8_0000,
            0x2008_0000_0000_0000,
        ),
        (
            r#""protocols":["tcp","tls"],"snis":["a.com"]"#,
            r##"(net.protocol != r#"tls"# || (tls.sni == r#"a.com"#))"##,
            0x2000_0000_0000_0000,
            0x2000_0000_0000_0000,
        ),
        (
            r#""protocols":["tcp"],"sources":[{"ip":"::1","port":1}],"destinations":[{"ip":"10.0.0.0/8"},{"port":2}]"#,
            r##"((net.src.ip == ::1 && net.src.port == 1)) && (net.dst.ip in 10.0.0.0/8 || net.dst.port == 2)"##,
            0x2000_0000_0000_00c5,
            0x2000_0000_0000_00c5,
        ),
    ] {
        let route = route(1, fields);
        for (rules, priority) in [(ORIGINAL, original), (STRICT, strict)] {
            let matchers = matchers(rules, &route).unwrap();
            assert_eq!(matchers.len(), 1, "{fields}");
            assert_eq!(
                format!("{:#x}", matchers[0].priority),
                format!("{priority:#x}"),
                "{fields} {rules:?}"
            );
            let strict_sni = rules == STRICT && fields.contains("[\"https\"]");
            assert!(
                strict_sni || matchers[0].expression.to_string() == text,
                "{}",
                matchers[0].expression
            );
        }
    }
}

#[test]
fn paths_of_several_kinds_are_several_routes() {
    let route = route(
        101,
        r#""paths":["/long","~/re","/a","/b","~/other","/thus"]"#,
    );
    let matchers = matchers(ORIGINAL, &route).unwrap();
    let shown: Vec<_> = matchers
        .iter()
        .map(|matcher| {
            let id = crate::schema::uuid_text(matcher.id);
            (id, matcher.expression.to_string())
        })
        .collect();
    let expected = [
        (
            "086b6591-cafa-58be-b2dd-7640f294421f",
            r##"(http.path ^= r#"/long"# || http.path ^= r#"/thus"#)"##,
        ),
        (
            "f3f66107-db02-53dc-baaf-ff30ef99a039",
            r##"(http.path ~ r#"^/re"# || http.path ~ r#"^/other"#)"##,
        ),
        (
            "29b35d7d-4f89-5f5e-8007-76fd007e8cbd",
            r##"(http.path ^= r#"/a"# || http.path ^= r#"/b"#)"##,
        ),
    ];
    let expected = expected.map(|(id, text)| (id.to_owned(), text.to_owned()));
    assert_eq!(shown, expected);
}

#[test]
fn more_specific_routes_go_first() {
    // What both calculations agree on.
    for rules in [ORIGINAL, STRICT] {
        check(
            rules,
            &[
                r#""hosts":["a.com"]"#,
                r#""hosts":["a.com"],"paths":["/x"]"#,
                r#""hosts":["a.com"],"paths":["/x/y"]"#,
                r#""hosts":["a.com"],"paths":["~/x/z"]"#,
                r#""hosts":["*.com"],"paths":["/x/y/z"]"#,
                r#""paths":["/x/y/z/longest"]"#,
                r#""hosts":["a.com"],"methods":["POST"],"paths":["/x"]"#,
            ],
            &[
                ("GET http://a.com/", Some(0)),
                ("GET http://a.com/xx", Some(1)),
                ("GET http://a.com/x/y/z", Some(2)),
                ("GET http://a.com/x/zz", Some(3)),
                ("GET http://b.com/x/y/z/longest", Some(4)),
                ("GET http://b.com/x/y", None),
                ("GET http://b.org/x/y/z/longest", Some(5)),
                ("POST http://a.com/xx", Some(6)),
            ],
        );
        check(
            rules,
            &[
                r#""paths":["/a/very/long/path"],"headers":{"a":["1"]}"#,
                r#""paths":["/a"],"headers":{"a":["1"],"b":["2"]}"#,
            ],
            &[
                ("GET http://x/a/very/long/path a=1", Some(0)),
                ("GET http://x/a/very/long/path a=1 b=2", Some(1)),
            ],
        );
        // Equals: the higher id.
        check(
            rules,
            &[
                r#""hosts":["*.a.com"]"#,
                r#""hosts":["*.b.a.com"]"#,
                r#""hosts":["c.*"]"#,
            ],
            &[
                ("GET http://c.b.a.com/", Some(2)),
                ("GET http://x.b.a.com/", Some(1)),
                ("GET http://x.a.com/", Some(0)),
            ],
        );
    }
}

/// Where Kong does not do what it documents.
#[test]
fn calculations_differ() {
    for (fields, line, original, strict) in [
        // A plain host goes before two other conditions.
        (
            [r#""hosts":["a.com"]"#, r#""paths":["/"],"methods":["GET"]"#],
            "GET http://a.com/",
            0,
            1,
        ),
        // A regular expression goes before two other conditions.
        (
            [r#""paths":["~/a"]"#, r#""paths":["/a"],"methods":["GET"]"#],
            "GET http://a.com/a",
            0,
            1,
        ),
        // A regular expression goes before headers.
        (
            [
                r#""paths":["~/a"],"methods":["GET"]"#,
                r#""paths":["/a"],"headers":{"a":["1"],"b":["1"]}"#,
            ],
            "GET http://a.com/a a=1 b=1",
            0,
            1,
        ),
        // A negative `regex_priority` is the highest of all.
        (
            [
                r#""paths":["~/a"],"regex_priority":-1"#,
                r#""paths":["~/a"],"regex_priority":9"#,
            ],
            "GET http://a.com/a",
            0,
            1,
        ),
        // Of HTTPS alone, with a server's name that a plain client did not send.
        (
            [
                r#""paths":["/"]"#,
                r#""paths":["/"],"protocols":["https"],"snis":["b.com"]"#,
            ],
            "GET http://a.com/",
            1,
            0,
        ),
    ] {
        for (rules, expected) in [(ORIGINAL, original), (STRICT, strict)] {
            assert_eq!(
                find(&table(rules, &fields), line),
                Some(expected),
                "{fields:?} {rules:?}"
            );
        }
    }
}

fn object_of(fields: &[(&str, Value)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{}", value.to_json()));
    fields.collect::<Vec<_>>().join(",")
}

#[test]
fn a_route_that_cannot_be_matched_takes_no_other_down() {
    let good = route(1, r#""paths":["/"],"name":"good""#);
    for (fields, why) in [
        (r#""paths":["~/(?=a)"]"#, "look-around"),
        (r#""headers":{"a":["~*("]}"#, "unclosed group"),
        (r#""headers":{"a":[]}"#, "nothing to match"),
        (r#""methods":[]"#, "nothing to match"),
        (r#""sources":[{"ip":"10.0.0.1/0"}]"#, "10.0.0.1/0 is no"),
        (r#""sources":[{"ip":"::ffff:1.1.1.1"}]"#, "is no address"),
        (r#""expression":"http.path""#, "expected"),
        (r#""expression":"http.path == 1""#, "Type mismatch"),
        (r#""expression":"foo == 1""#, "Unknown LHS field"),
        (r#""expression":"http.path ~ \"(\"""#, "unclosed group"),
        (
            r#""expression":"http.path.segments.1_1 == \"a\"""#,
            "illformed",
        ),
    ] {
        let bad = route(2, &format!("\"name\":\"bad\",{fields}"));
        let (router, rejected) = Router::build(EXPRESSIONS, [(&bad, 2), (&good, 1)]);
        assert_eq!(find(&router, "GET http://a/"), Some(1), "{fields}");
        let [rejected] = rejected.as_slice() else {
            panic!("{fields}");
        };
        let said = rejected.to_string();
        assert!(
            said.starts_with("route bad is left out") && said.contains(why),
            "{said}"
        );
        assert!(super::check(EXPRESSIONS, &bad).is_err(), "{fields}");
    }
}
