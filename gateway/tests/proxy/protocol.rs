//! The PROXY protocol in front of requests, and whom it is believed.

use std::io::Write;
use std::net::TcpStream;

use crate::gateway::{Client, Gateway, Start, Upstream, get, program};

const V2_IPV4: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x05\x1f\x90\x01\xbb";
const V2_IPV6: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x1f\x90\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
/// With a value of a type that nobody knows behind the addresses.
const V2_MORE: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x01\xc6\x33\x64\x05\x1f\x90\x01\xbb\xee\0\x02ab";

#[test]
fn clients_are_introduced() {
    let upstream = Upstream::start();
    let yaml = format!(
        "_format_version: \"3.0\"\nservices: [{{name: s, url: \"{}\", routes: [{{paths: [/]}}]}}]\n",
        upstream.url()
    );
    let start = |trusted: &str, header: &str| {
        Gateway::start(Start {
            yaml: Some(yaml.clone()),
            conf: vec![
                (
                    "proxy_listen",
                    "127.0.0.1:0 proxy_protocol, 127.0.0.1:0 ssl http2 proxy_protocol".to_owned(),
                ),
                ("trusted_ips", trusted.to_owned()),
                ("real_ip_header", header.to_owned()),
            ],
            ..Start::default()
        })
    };
    let believing = start("127.0.0.0/8", "proxy_protocol");
    // Header, who the service is told that the client is.
    let rows: [(&[u8], &str); 7] = [
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.5 8080 443\r\n",
            "192.0.2.1",
        ),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 8080 443\r\n",
            "2001:db8::1",
        ),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (V2_IPV4, "192.0.2.1"),
        (V2_IPV6, "2001:db8::1"),
        (V2_LOCAL, "127.0.0.1"),
        (V2_MORE, "192.0.2.1"),
    ];
    let port = believing.proxy[0].port().to_string();
    for (header, client) in rows {
        let mut connection = believing.client().introduced(header);
        // Of the connection, not of its first request.
        for _ in 0..2 {
            let answer = connection.send(&get("/x").header("x-real-ip", "203.0.113.9"));
            assert_eq!(answer.status(), 200, "{header:?}: {answer:?}");
            let seen = &upstream.seen()[0];
            let told = |name| seen.header(name);
            assert_eq!(told("x-real-ip"), Some(client), "{header:?}: {seen:?}");
            assert_eq!(told("x-forwarded-for"), Some(client), "{header:?}");
            assert_eq!(told("x-forwarded-port"), Some(port.as_str()), "{header:?}");
        }
    }
    // Without a header, with one that is none, or with one that does not end: no request is served.
    let refused: [&[u8]; 4] = [
        b"",
        b"PROXY TCP4 nobody 198.51.100.5 8080 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.5 8080 443 more and more and more and more and more and more and more and more and more\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x05\x1f\x90\x01\xbb",
    ];
    for header in refused {
        let mut connection = Client::connect(believing.proxy[0]).introduced(header);
        connection.write(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(connection.is_closed(), "{header:?}");
    }
    assert!(upstream.seen().is_empty());
    // In front of TLS, by HAProxy's own words through openssl's client.
    let address = believing.proxy[1];
    let version = program(
        "curl",
        &[
            "-sk",
            "--haproxy-protocol",
            "-w",
            " %{http_code} %{http_version}",
            &format!("https://{address}/x"),
        ],
    );
    assert_eq!(version, "hello 200 2");
    let mut stream = TcpStream::connect(address).expect("the gateway takes connections");
    stream
        .write_all(b"\x16\x03\x01\x00\x05hello")
        .expect("a socket");
    assert!(
        Client::connect(address)
            .introduced(b"\x16\x03\x01\x00\x05hello")
            .is_closed()
    );

    // Who is not trusted is heard and not believed; nor is the header where another one is asked for.
    for gateway in [
        start("10.0.0.0/8", "proxy_protocol"),
        start("127.0.0.1", "X-Real-IP"),
    ] {
        upstream.seen();
        let answer = gateway.client().introduced(V2_IPV4).send(&get("/x"));
        assert_eq!(answer.status(), 200);
        assert_eq!(upstream.seen()[0].header("x-real-ip"), Some("127.0.0.1"));
    }
    let all = rows.len() + refused.len() + 4;
    crate::cases::report("PROXY protocol", all, all);
}
