use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::*;
use crate::net::stream::Socket;

/// A stream between two pairs of sockets, and what it counted; the ends that are the client's and the host's.
async fn stream() -> (
    TcpStream,
    TcpStream,
    tokio::task::JoinHandle<(End, u64, u64)>,
) {
    let (client, near) = pair().await;
    let (far, host) = pair().await;
    let relay = tokio::task::spawn_local(async move {
        let progress = Rc::new(Progress::default());
        let mut near = Stream::from(Socket::from(near));
        let mut far = Stream::from(Socket::from(far));
        let end = relay(
            &mut near,
            &mut far,
            Limits::default(),
            &progress,
            Heads::default(),
        )
        .await;
        (end, progress.received.get(), progress.sent.get())
    });
    (client, host, relay)
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.unwrap(), other.unwrap().0)
}

/// Bytes that repeat nowhere near a buffer's size.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

#[tokio::test]
async fn bulk_and_messages_arrive_whole_both_ways_at_once() {
    LocalSet::new()
        .run_until(async {
            let (client, host, relay) = stream().await;
            let (mut client_read, mut client_write) = client.into_split();
            let (mut host_read, mut host_write) = host.into_split();
            let down = pattern(9 << 20);
            let up = pattern(3 << 20);
            let send_down = async {
                host_write.write_all(&down).await.unwrap();
                host_write.shutdown().await.unwrap();
            };
            let send_up = async {
                // Messages, bulk, messages: the appetite changes on the way.
                for piece in up[..4096].chunks(100) {
                    client_write.write_all(piece).await.unwrap();
                }
                client_write
                    .write_all(&up[4096..up.len() - 4096])
                    .await
                    .unwrap();
                for piece in up[up.len() - 4096..].chunks(100) {
                    client_write.write_all(piece).await.unwrap();
                }
                client_write.shutdown().await.unwrap();
            };
            let (mut got_down, mut got_up) = (Vec::new(), Vec::new());
            let receive_down = client_read.read_to_end(&mut got_down);
            let receive_up = host_read.read_to_end(&mut got_up);
            let (_, _, one, other) = tokio::join!(send_down, send_up, receive_down, receive_up);
            assert_eq!((one.unwrap(), other.unwrap()), (down.len(), up.len()));
            assert!(got_down == down && got_up == up);
            let (end, received, sent) = relay.await.unwrap();
            assert!(matches!(end, End::Closed), "{end:?}");
            assert_eq!((received, sent), (up.len() as u64, down.len() as u64));
        })
        .await;
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_no_bytes_to_the_next_stream() {
    LocalSet::new()
        .run_until(async {
            for round in 0..4 {
                let (mut client, mut host, relay) = stream().await;
                let bulk = vec![0xaa; 8 << 20];
                let send = async { drop(host.write_all(&bulk).await) };
                let leave = async {
                    let mut some = vec![0; 300_000];
                    client.read_exact(&mut some).await.unwrap();
                    drop(client);
                };
                tokio::join!(send, leave);
                drop(host);
                let (end, ..) = relay.await.unwrap();
                assert!(!matches!(end, End::Closed), "round {round}: {end:?}");

                let (mut client, mut host, relay) = stream().await;
                let wanted = pattern(2 << 20);
                let send = async {
                    host.write_all(&wanted).await.unwrap();
                    host.shutdown().await.unwrap();
                };
                let mut got = Vec::new();
                let (_, read) = tokio::join!(send, client.read_to_end(&mut got));
                read.unwrap();
                assert!(got == wanted);
                drop((client, host));
                relay.await.unwrap();
            }
        })
        .await;
}
