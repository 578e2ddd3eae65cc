//! Asks a port for ApiVersions, the one request that a broker answers before anybody has said who he is.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Whether a broker answers there: it opens the port when the controllers have let it in.
pub(super) fn answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&REQUEST)?;
    // Length, correlation, error code.
    let mut head = [0; 10];
    stream.read_exact(&mut head)?;
    if head[4..8] == REQUEST[8..12] && head[8..] == [0, 0] {
        Ok(())
    } else {
        Err(io::Error::other("not the answer of a broker"))
    }
}

/// Length 10; API key 18, version 0; correlation; no client id.
const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
const LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn only_a_broker_will_do() {
        for (answer, good) in [
            (&[0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 0][..], true),
            (&[0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0, 0], false),
            (&[0, 0, 0, 6, 0, 0, 0, 7, 0, 35, 0, 0], false),
            (b"HTTP/1.1 400 Bad Request\r\n", false),
            (&[], false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let serving = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; REQUEST.len()];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(answer).unwrap();
            });
            assert_eq!(answers(address).is_ok(), good, "{answer:?}");
            serving.join().unwrap();
        }
    }
}
