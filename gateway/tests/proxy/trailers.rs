//! Trailers both ways, in HTTP/1 and HTTP/2, and what may not come as one.

use crate::gateway::{Gateway, Reply, Start, Upstream, get};

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {paths: [/]}
  - {name: streamed, paths: [/streamed], request_buffering: false, response_buffering: false}
"#;

fn chunked(head: &str, trailers: &str) -> Reply {
    let text = format!(
        "HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    );
    Reply {
        bytes: text.into_bytes(),
        close: false,
    }
}

#[test]
fn trailers_go_through() {
    let upstream = Upstream::answering(|_| {
        chunked("Trailer: X-Sum, X-More\r\n", "X-Sum: 5\r\nX-More: a, b\r\n")
    });
    let gateway = Gateway::start(Start {
        yaml: Some(YAML.replace("{upstream}", &upstream.url())),
        conf: vec![("proxy_listen", "127.0.0.1:0 http2".to_owned())],
        ..Start::default()
    });
    for path in ["/x", "/streamed/x"] {
        // To the service: with the body, and announced as the client announced them.
        let mut client = gateway.client();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\nX-Check: 4\r\nx-other: 5\r\n\r\n"
        );
        client.write(request.as_bytes());
        let answer = client.read(false).expect("an answer");
        let seen = &upstream.seen()[0];
        assert_eq!(seen.text(), "text", "{path}");
        assert_eq!(seen.header("x-check"), Some("4"), "{path}: {seen:?}");
        assert_eq!(seen.header("x-other"), Some("5"), "{path}: {seen:?}");
        assert_eq!(seen.header("te"), Some("trailers"), "{path}: {seen:?}");
        // To the client, who asked for them.
        assert_eq!(answer.text(), "hello", "{path}");
        assert_eq!(answer.header("x-sum"), Some("5"), "{path}: {answer:?}");
        assert_eq!(answer.header("x-more"), Some("a, b"), "{path}: {answer:?}");
        assert_eq!(answer.header("trailer"), Some("X-Sum, X-More"), "{path}");
    }
    // A client that did not ask hears nothing of them.
    let answer = gateway.send(&get("/x"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.header("trailer"), None, "{answer:?}");
    assert_eq!(upstream.seen()[0].header("te"), None);
    crate::cases::report("trailers", 3, 3);
}
