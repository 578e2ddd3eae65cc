//! Expressions at random, in the engine's own language.

use fastrand::Rng;

use crate::words;

pub(crate) fn expression(random: &mut Rng, stream: bool) -> String {
    match random.u8(..60) {
        0 => "http.path".into(),
        1 => "http.path == 1".into(),
        2 => "http.path.segments.2_1 == \"a\"".into(),
        _ => tree(random, stream, 3),
    }
}

fn tree(random: &mut Rng, stream: bool, depth: u8) -> String {
    if depth == 0 || random.u8(..4) == 0 {
        return test(random, stream);
    }
    let parts: Vec<_> = (0..random.usize(1..4))
        .map(|_| {
            let part = tree(random, stream, depth - 1);
            match random.u8(..8) {
                0 => format!("!({part})"),
                1..4 => format!("({part})"),
                // Without brackets: `||` binds tighter than `&&`.
                _ => part,
            }
        })
        .collect();
    parts.join(if random.bool() { " && " } else { " || " })
}

fn test(random: &mut Rng, stream: bool) -> String {
    match random.u8(..if stream { 6 } else { 20 }) {
        0 => {
            let sign = words::pick(random, &["==", "!="]);
            let name = words::pick(random, &["http", "https", "tcp", "tls", "udp"]);
            format!("net.protocol {sign} \"{name}\"")
        }
        1 | 2 => text(random, "tls.sni", words::host),
        3 => address(random),
        4 | 5 => {
            let field = words::pick(random, &["net.port", "net.dst.port", "net.src.port"]);
            let sign = words::pick(random, &["==", "!=", ">", ">=", "<", "<="]);
            format!("{field} {sign} {}", words::port(random))
        }
        6 => text(random, "http.method", |random| words::method(random).into()),
        7..10 => text(random, "http.host", words::host),
        10..14 => text(random, "http.path", words::path),
        14 => {
            let sign = words::pick(random, &["==", "!=", ">", "<="]);
            format!("http.path.segments.len {sign} {}", random.u8(..4))
        }
        15 | 16 => {
            let range = words::pick(random, &["0", "1", "0_1", "1_2"]);
            let field = format!("http.path.segments.{range}");
            text(random, &field, |random| words::path(random)[1..].into())
        }
        17 | 18 => {
            let name = words::pick(random, &["x_a", "x_b", "x_b_c"]);
            let field = format!("http.headers.{name}");
            text(random, &field, |random| words::value(random).into())
        }
        _ => {
            let field = format!("http.queries.{}", words::pick(random, &["a", "B"]));
            text(random, &field, |random| words::value(random).into())
        }
    }
}

fn address(random: &mut Rng) -> String {
    let field = words::pick(random, &["net.src.ip", "net.dst.ip"]);
    match random.bool() {
        true => {
            let sign = words::pick(random, &["==", "!="]);
            format!("{field} {sign} {}", words::address(random))
        }
        false => {
            let sign = words::pick(random, &["in", "not in"]);
            let network = words::pick(
                random,
                &["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32"],
            );
            format!("{field} {sign} {network}")
        }
    }
}

fn text(random: &mut Rng, field: &str, value: impl Fn(&mut Rng) -> String) -> String {
    // Hosts and names of servers are lower-case here whoever wrote them, and so are the texts that
    // they are compared with; both sides are asked the same.
    let field = match random.u8(..6) {
        0 => format!("lower({field})"),
        1 => format!("any({field})"),
        2 => format!("any(lower({field}))"),
        _ => field.into(),
    };
    let value = value(random);
    match random.u8(..7) {
        0 => format!("{field} != {}", quoted(&value)),
        1 => format!("{field} ^= {}", quoted(&value)),
        2 => format!("{field} =^ {}", quoted(&value)),
        3 => format!("{field} contains {}", quoted(&value)),
        4 => format!(
            "{field} ~ r#\"^{}\"#",
            words::pattern(random).replace("?<", "?P<")
        ),
        _ => format!("{field} == {}", quoted(&value)),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
