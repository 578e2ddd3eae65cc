//! Pings of a client, over a socket: with a peer that answers them, and with one that does not.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::super::client::ClientConnection;
use super::*;
use crate::net::Stream;
use crate::net::stream::Socket;

/// What the client ends with, how many pings came until then, and whether it told that it closed.
async fn pinged(timeout: Duration, answers: u32) -> (Error, u32, bool) {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let settings = Settings {
        keepalive_interval: Some(Duration::from_millis(1)),
        keepalive_timeout: timeout,
        ..Settings::default()
    };
    let closed = Rc::new(Cell::new(false));
    let told = closed.clone();
    let stream = Stream::from(Socket::from(ours));
    let client = ClientConnection::begin(stream, &settings, Arc::default(), move || told.set(true));
    let request = Request::get("a", "/");
    let (_sending, mut response) = client.send(&request, false, true).unwrap();

    let reading = async move {
        let mut preface = vec![0; PREFACE.len()];
        peer.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        peer.write_all(&super::settings(&[])).await.unwrap();
        let mut pings = 0;
        loop {
            let mut head = [0; frame::HEADER_BYTES];
            if peer.read_exact(&mut head).await.is_err() {
                return pings;
            }
            let head = Head::parse(&head);
            let mut payload = vec![0; head.length as usize];
            peer.read_exact(&mut payload).await.unwrap();
            if head.kind == frame::PING {
                pings += 1;
                if pings <= answers {
                    let answer = frame(frame::PING, frame::ACK, 0, &payload);
                    peer.write_all(&answer).await.unwrap();
                } else if answers > 0 {
                    return pings;
                }
            }
        }
    };
    let pings = tokio::task::spawn_local(reading);
    let error = response.head().await.unwrap_err();
    let pings = pings.await.unwrap();
    drop(client);
    while !closed.get() {
        tokio::task::yield_now().await;
    }
    (error, pings, closed.get())
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_lost() {
    let ended = LocalSet::new()
        .run_until(pinged(Duration::from_millis(1), 0))
        .await;
    let lost = Error::Io(std::io::ErrorKind::TimedOut);
    assert_eq!(ended, (lost, 1, true));
}

/// It is asked again after each answer, and the connection ends when the peer ends it.
#[tokio::test]
async fn a_peer_that_answers_pings_is_kept() {
    let ended = LocalSet::new()
        .run_until(pinged(Duration::from_secs(3600), 3))
        .await;
    let left = Error::Io(std::io::ErrorKind::UnexpectedEof);
    assert_eq!(ended, (left, 4, true));
}
