//! Miri runs these too (`cargo +nightly miri test -p carbyne-events --lib ring::tests`), but for those that need a file: it sees races and
//! reads out of turn where two threads share a ring.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const OWNER: Owner = Owner {
    epoch: 9,
    worker: 1,
};

fn draft() -> Draft<'static> {
    Draft {
        kind: 1,
        topic: 9,
        time: 5,
        awaited: false,
        key: None,
        trace: None,
    }
}

fn push(producer: &mut Producer, share: Share, body: &[u8]) -> Result<u64, NoRoom> {
    producer.push(draft(), share, |frame| frame.extend_from_slice(body))
}

fn taken(consumer: &mut Consumer) -> Option<Result<(u64, Vec<u8>), Torn>> {
    let bytes = consumer.take()?;
    Some(bytes.map(|bytes| {
        let record = Record::read(bytes).unwrap();
        (record.sequence, record.body.to_vec())
    }))
}

#[derive(Clone, Debug)]
enum Act {
    Push(usize),
    Lose,
    Take,
    Release,
    Rewind,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => (0_usize..1200).prop_map(Act::Push),
        1 => Just(Act::Lose),
        4 => Just(Act::Take),
        2 => Just(Act::Release),
        1 => Just(Act::Rewind),
    ];
    proptest::collection::vec(act, 1..if cfg!(miri) { 40 } else { 300 })
}

fn body(sequence: u64, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (sequence as usize * 31 + at) as u8)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 5 } else { 256 }, ..ProptestConfig::default() })]

    /// Against a queue: what is pushed is taken, once and in order, over any number of laps.
    #[test]
    fn a_ring_is_a_queue(acts in acts()) {
        let (mut producer, mut consumer) = in_memory(4096, OWNER);
        // Pushed and not released; how many of them are taken; the last sequence that was used.
        let (mut queue, mut ahead, mut last) = (VecDeque::new(), 0, 0);
        for act in acts {
            match act {
                Act::Push(length) => {
                    let body = body(last + 1, length);
                    match push(&mut producer, Share::All, &body) {
                        Ok(sequence) => {
                            last += 1;
                            prop_assert_eq!(sequence, last);
                            queue.push_back((sequence, body));
                        }
                        Err(NoRoom::TooLarge) => prop_assert!(length > 900),
                        Err(NoRoom::Full) => prop_assert!(!queue.is_empty()),
                    }
                }
                Act::Lose => {
                    producer.lose(9, Count::LostFull);
                    last += 1;
                }
                Act::Take => {
                    let expected = queue.get(ahead).cloned();
                    ahead += usize::from(expected.is_some());
                    prop_assert_eq!(taken(&mut consumer), expected.map(Ok));
                }
                Act::Release => {
                    consumer.release(last);
                    queue.drain(..ahead);
                    ahead = 0;
                }
                Act::Rewind => {
                    consumer.rewind();
                    ahead = 0;
                }
            }
            prop_assert_eq!(consumer.settled(), (ahead == queue.len()).then_some(last));
        }
    }
}

#[cfg(not(miri))]
proptest! {
    /// Whatever a crash makes of the file: an orphan gives records that were emitted, in order, or says that it is damaged. It never makes
    /// one up, and what lies before the damage is there.
    #[test]
    fn an_orphan_never_lies(
        acts in acts(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        zeroed in any::<Option<(prop::sample::Index, u16)>>(),
        head_back in proptest::option::of(0_u64..2000),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ring");
        let (mut producer, mut consumer) = create(&path, 4096, OWNER).unwrap();
        let (mut emitted, mut released) = (Vec::new(), 0);
        for act in acts {
            match act {
                Act::Push(length) => {
                    let body = body(producer.last() + 1, length);
                    if let Ok(sequence) = push(&mut producer, Share::All, &body) {
                        emitted.push((sequence, body));
                    }
                }
                Act::Lose => producer.lose(9, Count::LostFull),
                Act::Take | Act::Rewind => {
                    if let Some(Ok((sequence, _))) = taken(&mut consumer) {
                        released = sequence;
                    }
                }
                Act::Release => consumer.release(released),
            }
        }
        let released = consumer.released();
        // As `kill -9` leaves it: the ends are not closed, and only the file counts.
        std::mem::forget((producer, consumer));
        let mut bytes = std::fs::read(&path).unwrap();
        let sound = damage.is_empty() && zeroed.is_none();
        for (at, xor) in damage {
            let at = at.index(4096);
            bytes[4096 + at] ^= xor;
        }
        if let Some((at, length)) = zeroed {
            let at = at.index(4096);
            let end = (at + usize::from(length)).min(4096);
            bytes[4096 + at..4096 + end].fill(0);
        }
        if let Some(back) = head_back {
            // The first page is older than the others, as after a power cut.
            let tail = u64::from_ne_bytes(bytes[TAIL * 8..TAIL * 8 + 8].try_into().unwrap());
            let head = u64::from_ne_bytes(bytes[HEAD * 8..HEAD * 8 + 8].try_into().unwrap());
            let head = head.saturating_sub(back & !7).max(tail);
            bytes[HEAD * 8..HEAD * 8 + 8].copy_from_slice(&head.to_ne_bytes());
        }
        std::fs::write(&path, bytes).unwrap();

        let owed: Vec<_> = emitted.into_iter().filter(|(sequence, _)| *sequence > released).collect();
        let (owner, mut consumer) = orphan(&path).unwrap();
        prop_assert_eq!(owner, OWNER);
        let (mut found, mut torn) = (Vec::new(), false);
        while let Some(record) = taken(&mut consumer) {
            match record {
                Ok(record) => found.push(record),
                Err(Torn { .. }) => torn = true,
            }
        }
        let mut rest = owed.iter();
        for record in &found {
            prop_assert!(rest.any(|owed| owed == record), "made up: {:?}", record.0);
        }
        if sound {
            prop_assert!(!torn);
            prop_assert_eq!(found.len(), owed.len());
        }
    }
}

#[test]
fn floods_leave_an_eighth_to_the_others() {
    let (mut producer, _consumer) = in_memory(64 << 10, OWNER);
    let body = [7; 1000];
    while push(&mut producer, Share::Most, &body).is_ok() {}
    let mut others = 0;
    while push(&mut producer, Share::All, &body).is_ok() {
        others += 1;
    }
    assert!((7..=8).contains(&others), "{others}");
}

#[cfg(not(miri))]
#[test]
fn what_a_living_ring_says_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ring");
    let (mut producer, _consumer) = create(&path, 4096, OWNER).unwrap();
    push(&mut producer, Share::All, b"one").unwrap();
    producer.lose(9, Count::LostFull);
    assert_eq!(peek(&path).unwrap(), (OWNER, 2));
    assert!(
        create(&path, 4096, OWNER).is_err(),
        "a ring's file is made once"
    );
    std::fs::write(&path, [0; 8192]).unwrap();
    assert!(peek(&path).is_err());
    assert!(orphan(&path).is_err());
}

/// Two threads, and a ring so small that they meet all the time.
#[test]
fn two_threads_lose_nothing_and_repeat_nothing() {
    let count = if cfg!(miri) { 300 } else { 300_000 };
    let (mut producer, mut consumer) = in_memory(4096, OWNER);
    let emitting = std::thread::spawn(move || {
        let mut emitted = Vec::new();
        for turn in 0..count {
            let body = body(producer.last() + 1, turn % 200);
            match push(&mut producer, Share::All, &body) {
                Ok(sequence) => emitted.push(sequence),
                Err(_) => {
                    producer.lose(9, Count::LostFull);
                    std::thread::yield_now();
                }
            }
        }
        emitted
    });
    let mut found = Vec::new();
    loop {
        let closed = consumer.is_closed();
        while let Some(record) = taken(&mut consumer) {
            let (sequence, read) = record.unwrap();
            assert_eq!(read, body(sequence, read.len()));
            found.push(sequence);
            consumer.release(sequence);
        }
        if closed {
            break;
        }
        if let Some(settled) = consumer.settled() {
            // `NEXT` is stored behind `HEAD`.
            assert!(settled + 1 >= found.last().copied().unwrap_or(0));
        }
    }
    assert_eq!(found, emitting.join().unwrap());
    assert_eq!(consumer.settled(), Some(count as u64));
}
