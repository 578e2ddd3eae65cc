use std::fs;
use std::path::Path;

use super::*;
use crate::emit::{Options, Outlet};
use crate::samples::Calls;
use crate::spool::directories;

/// Two nodes one after the other, each with a segment of six calls and a closing (the second begins with where the first ended).
fn spooled(root: &Path) -> Directory {
    for node in ["first", "second"] {
        let outlet = Outlet::open(root, Options::new(node, "test")).unwrap();
        let emitter = outlet.emitter();
        for _ in 0..6 {
            emitter.emit(&Calls::new(1).call()).unwrap();
        }
        drop(emitter);
        outlet.close();
    }
    directories(root).unwrap().remove(0)
}

/// Of each process how many events are read as its; then the places that cannot be read.
fn read(directory: &Directory, from: Position) -> (Vec<(String, u32)>, Vec<Damage>) {
    let mut reader = Reader::new(directory, from);
    let mut found: Vec<(String, u32)> = Vec::new();
    let mut damages = Vec::new();
    loop {
        match reader.step().unwrap() {
            Step::Block(block) => match found.last_mut() {
                Some((name, count)) if name == reader.name() => *count += block.header.count,
                _ => found.push((reader.name().to_owned(), block.header.count)),
            },
            Step::Damage(damage) => damages.push(damage),
            Step::End => return (found, damages),
        }
    }
}

#[test]
fn a_damaged_head_is_told_and_the_ledger_says_whose_blocks_follow() {
    type Hurt = fn(&mut [u8]);
    let hurts: [(&str, Hurt); 7] = [
        ("magic", |head| head[0] ^= 1),
        ("sum", |head| head[8] ^= 0x80),
        ("length of the name", |head| head[12] ^= 0xff),
        ("ordinal", |head| head[16] ^= 1),
        ("name", |head| head[32] ^= 0x20),
        ("zeros", |head| head.fill(0)),
        ("padding", |head| head[511] = 1),
    ];
    // Which segments, whether the ledger is there, and whose events are read then.
    let cases: [(&[u64], bool, &[(&str, u32)]); 6] = [
        (&[1], true, &[("first/test-0", 7), ("second/test-0", 8)]),
        (&[2], true, &[("first/test-0", 7), ("second/test-0", 8)]),
        (&[1, 2], true, &[("first/test-0", 7), ("second/test-0", 8)]),
        (&[1], false, &[("?/test-0", 7), ("second/test-0", 8)]),
        (&[2], false, &[("first/test-0", 7), ("?/test-0", 8)]),
        (&[1, 2], false, &[("?/test-0", 15)]),
    ];
    for (what, hurt) in hurts {
        for (segments, ledger, expected) in cases {
            let root = tempfile::tempdir().unwrap();
            let directory = spooled(root.path());
            for ordinal in segments {
                let path = segment::path(&directory.segments(), *ordinal);
                let mut bytes = fs::read(&path).unwrap();
                hurt(&mut bytes[..segment::HEAD]);
                fs::write(&path, bytes).unwrap();
            }
            if !ledger {
                fs::remove_file(directory.path().join("ledger")).unwrap();
            }
            let about = format!("{what} of {segments:?}, ledger {ledger}");
            let expected: Vec<(String, u32)> = expected
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect();
            let damages: Vec<Damage> = segments
                .iter()
                .map(|ordinal| Damage {
                    at: Position {
                        segment: *ordinal,
                        offset: 0,
                    },
                    bytes: segment::HEAD as u64,
                    header: None,
                })
                .collect();
            let found = read(&directory, Position::default());
            assert_eq!(found, (expected.clone(), damages.clone()), "{about}");
            // Who goes on in the middle of a segment is told too, and still knows whose the rest is.
            let mut reader = Reader::new(&directory, Position::default());
            while !matches!(reader.step().unwrap(), Step::Block(_)) {}
            let (_, again) = read(&directory, reader.position());
            assert_eq!(again, damages, "{about}");
            assert!(oldest(&directory).is_some(), "{about}");
        }
    }
}

#[test]
fn a_segment_that_is_shorter_than_its_head_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let directory = spooled(root.path());
    let path = segment::path(&directory.segments(), 1);
    for length in [0, 1, 511] {
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length)
            .unwrap();
        let (found, damages) = read(&directory, Position::default());
        assert_eq!(found, [("second/test-0".to_owned(), 8)], "{length}");
        assert_eq!(damages, [], "{length}");
    }
}
