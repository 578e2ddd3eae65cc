//! The service behind the gateway.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

/// Serves until the test ends: bodies with a length, in chunks, and none.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut target = String::new();
    loop {
        line.clear();
        if !stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            return;
        }
        if target.is_empty() {
            target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        // Requests have no body here.
        if line == "\r\n" {
            let answer = match target.as_str() {
                "/chunks" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n again\r\n0\r\n\r\n"
                }
                "/nothing" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/until-the-end" => {
                    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it lasts"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            };
            let written = stream.get_mut().write_all(answer.as_bytes());
            if written.is_err() || answer.contains("Connection: close") {
                return;
            }
            target.clear();
        }
    }
}
