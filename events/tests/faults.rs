//! The fault table: a real Kafka, real processes, and whatever may happen to them. Every test keeps a ledger of its own (what `emit`
//! confirmed), reads the topics back by itself, and prints both.

#[cfg(test)]
#[path = "faults/ledger.rs"]
mod ledger;
#[cfg(test)]
#[path = "faults/process.rs"]
mod process;
#[cfg(test)]
#[path = "faults/world.rs"]
mod world;

use std::time::Duration;

use carbyne_events::broker;
use carbyne_events::emit::{Options, Outlet};
use carbyne_events::event::{AuditApiCall, Event, Kind};
use carbyne_events::samples::{Calls, change, operation, refusal};
use carbyne_events::ship::{Problem, Settings, Shipper};
use carbyne_events::spool::{Position, Reader, Step, directories};
use carbyne_events::verify::{Missing, Tail, TopicReader, examine};

use ledger::Ledger;
use world::{Load, World, eventually, full, seeded};

#[test]
fn an_outage_in_the_middle_of_the_load_loses_nothing() {
    let world = World::one();
    let shipper = world.ship("outage");
    let load = Load::start(world.root("outage"), "outage");
    load.goes_on();
    world.cluster.terminate(0).unwrap();
    let outage = Duration::from_secs(if full() { 20 } else { 5 });
    // The load goes on meanwhile: that is what is tested, so time has to pass.
    std::thread::sleep(outage);
    eventually("the shipper says that no broker answers", || {
        let problems = shipper.status().problems;
        problems
            .iter()
            .any(|problem| matches!(problem, Problem::Unreachable(_)))
    });
    world.cluster.revive(0).unwrap();
    load.goes_on();
    let ledger = world.settle("outage", "outage of the broker", load.stop(), shipper);
    ledger.is_complete();
}

#[test]
fn a_broker_that_is_killed_loses_nothing() {
    let world = World::one();
    let shipper = world.ship("killed");
    let load = Load::start(world.root("killed"), "killed");
    for _ in 0..if full() { 5 } else { 1 } {
        load.goes_on();
        world.cluster.kill(0).unwrap();
        world.cluster.revive(0).unwrap();
    }
    load.goes_on();
    let ledger = world.settle("killed", "kill -9 of the broker", load.stop(), shipper);
    ledger.is_complete();
}

#[test]
fn a_process_that_is_killed_loses_nothing() {
    let world = World::quiet();
    let root = world.root("process");
    let mut random = seeded("process");
    let runs = if full() { 50 } else { 8 };
    let shipper = world.ship("process");
    let mut confirmed = Vec::new();
    for run in 0..runs {
        confirmed.extend(process::emit_until_killed(
            &root,
            "process",
            run,
            random.u64(0..if full() { 60_000 } else { 10_000 }),
        ));
        if run % 4 == 3 {
            // Sometimes the shipper drains the rings, mostly the next start does.
            eventually("the rings are drained", || {
                let mut directories = directories(&root).unwrap().into_iter();
                directories.all(|directory| directory.ring_files().unwrap().is_empty())
            });
        }
    }
    world::cases("kill -9 of the emitting process", runs, 50);
    let ledger = world.settle(
        "process",
        "kill -9 of the emitting process",
        confirmed,
        shipper,
    );
    ledger.is_complete();
    ledger.keeps_order();
}

#[test]
fn a_new_leader_loses_nothing_and_keeps_the_order() {
    let world = World::three();
    let shipper = world.ship("leader");
    let load = Load::start(world.root("leader"), "leader");
    for node in 0..if full() { 3 } else { 1 } {
        load.goes_on();
        world.cluster.kill(node).unwrap();
        load.goes_on();
        world.cluster.revive(node).unwrap();
    }
    let ledger = world.settle("leader", "leader change, three nodes", load.stop(), shipper);
    ledger.is_complete();
    ledger.keeps_order();
}

#[test]
fn a_full_disk_loses_only_what_it_declares() {
    let world = World::quiet();
    let disk = world::Disk::mount(24 << 20);
    let options = Options {
        ring_bytes: 1 << 20,
        spool_limit: 512 << 20,
        segment_bytes: 256 << 10,
        ..Options::new("fulldisk", "gateway")
    };
    let outlet = Outlet::open(disk.path(), options).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(11);
    let mut confirmed = Vec::new();
    let mut refused = 0_u64;
    let mut emit = || {
        let call = calls.call();
        match emitter.emit(&call) {
            Ok(()) => confirmed.push(call.request_id.to_owned()),
            Err(_) => {
                refused += 1;
                std::thread::yield_now();
            }
        }
        refused
    };
    // No shipper: the disk fills, then the ring does.
    let until_refused = |emit: &mut dyn FnMut() -> u64| {
        while !outlet.status().stuck {
            for _ in 0..100 {
                emit();
            }
        }
        let before = emit();
        while emit() < before + 500 {}
    };
    until_refused(&mut emit);
    let waited = world::block_on(emitter.emit_durably(&operation("while the disk is full")));
    assert!(waited.is_err(), "an operation was confirmed on a full disk");
    emitter.emit(&refusal("10.0.0.0/24")).unwrap();
    let shipper = world.ship_from(disk.path());
    eventually("the disk works again", || !outlet.status().stuck);

    eventually("calls are taken again", || {
        let before = emit();
        emit() == before
    });
    drop(emitter);
    outlet.close();
    let ledger = world.settle_from("disk full", "fulldisk", disk.path(), confirmed, shipper);
    ledger.has_all_confirmed();
    assert_eq!(ledger.report.lost, 0);
    assert_eq!(ledger.report.declared, refused);
}

#[test]
fn a_disk_that_turns_read_only_ends_nobody_and_what_it_has_is_shipped() {
    let world = World::quiet();
    let disk = world::Disk::that_breaks(64 << 20);
    let options = || Options {
        ring_bytes: 256 << 10,
        ..Options::new("readonly", "gateway")
    };
    let outlet = Outlet::open(disk.path(), options()).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(13);
    let mut confirmed = Vec::new();
    while confirmed.len() < 5000 {
        let call = calls.call();
        let id = call.request_id.to_owned();
        if emitter.emit(&call).is_ok() {
            confirmed.push(id);
        } else {
            std::thread::yield_now();
        }
    }
    world::block_on(emitter.emit_durably(&operation("while it works"))).unwrap();
    // A shipper that runs has what it needs open; the cursor is all that it writes.
    let shipper = world.ship_from(disk.path());
    eventually("it ships", || {
        shipper.status().acknowledged.iter().sum::<u64>() > 0
    });
    disk.breaks();
    let waited = world::block_on(emitter.emit_durably(&operation("while it is read-only")));
    assert!(
        waited.is_err(),
        "an operation was confirmed on a read-only disk"
    );
    // The ring is memory still: it takes what it has room for, and then says no, but nobody waits or dies.
    let (mut taken, mut refused) = (0, 0);
    while refused < 500 {
        match emitter.emit(&calls.call()) {
            Ok(()) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 0);
    let failure = outlet.status().failure.unwrap();
    assert!(failure.contains("Read-only"), "{failure}");
    drop(emitter);
    outlet.close();
    // Its directory is nobody's from now on, so that what its ring holds is looked at.
    drop(outlet);
    // What it had goes out, and that it cannot be noted down is said.
    let ledger = world.settle_from(
        "read-only disk",
        "readonly",
        disk.path(),
        confirmed,
        shipper,
    );
    ledger.has_all_confirmed();
    // Of what came later the ring knows: as long as the disk is there, it is not lost.
    assert_eq!(ledger.report.lost, 0, "{:?}", ledger.report.producers);
    assert!(ledger.report.declared >= refused);
    assert!(
        ledger.report.found >= 5000 + taken,
        "{}",
        ledger.report.found
    );
    // The next start has no place to emit to, and says why.
    let refused = Outlet::open(disk.path(), options())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("Read-only"), "{refused}");
}

#[test]
fn a_damaged_block_is_passed_over_and_declared() {
    let world = World::quiet();
    let root = world.root("damaged");
    let confirmed = world::emit(&root, "damaged", 20_000);
    let directory = directories(&root).unwrap().remove(0);
    // Two blocks in the middle: one in its body, one in its head.
    let mut reader = Reader::new(&directory, Position::default());
    let mut places = Vec::new();
    loop {
        let at = reader.position();
        match reader.step().unwrap() {
            Step::Block(block) => {
                let calls = block.records().filter(|record| {
                    // What every 500th is followed by is no call, and may be in any block.
                    Kind::from_number(record.kind) == Some(AuditApiCall::KIND)
                });
                places.push((at, block.header, calls.count() as u64));
            }
            Step::Damage(damage) => panic!("{damage:?}"),
            Step::End => break,
        }
    }
    assert!(places.len() >= 6, "{}", places.len());
    let (body, head) = (places[2], places[4]);
    world::flip(&directory, body.0, 100);
    world::flip(&directory, head.0, 20);
    let of_both = [body, head].map(|(_, header, _)| header.last - header.first + 1);
    let lost: u64 = of_both.iter().sum();
    let shipper = world.ship("damaged");
    eventually("it is seen", || shipper.status().gaps > 0);
    let ledger = world.settle("damaged", "corrupted blocks", confirmed, shipper);
    assert_eq!(ledger.report.lost, 0);
    assert_eq!(ledger.report.declared, lost);
    assert_eq!(
        ledger.missing(),
        body.2 + head.2,
        "what is missing is what was declared"
    );
}

#[test]
fn events_behind_a_damaged_head_are_shipped_as_their_producers() {
    let world = World::quiet();
    let root = world.root("headless");
    let confirmed = world::emit(&root, "headless", 5_000);
    let directory = directories(&root).unwrap().remove(0);
    let (first, _) = directory.segment_sizes().unwrap()[0];
    world::flip_head(&directory, first);
    let shipper = world.ship("headless");
    let ledger = world.settle("headless", "a segment's head", confirmed, shipper);
    ledger.is_complete();
    assert_eq!(
        (ledger.report.declared, ledger.report.damaged_heads),
        (0, 1)
    );
}

/// Who looks while events go on sees some of them on their way between two of its questions: they are no loss.
#[test]
fn what_is_on_its_way_while_it_is_verified_is_not_lost() {
    let world = World::quiet();
    let root = world.root("meanwhile");
    let shipper = world.ship("meanwhile");
    let load = Load::start(root.clone(), "meanwhile");
    for _ in 0..if full() { 20 } else { 2 } {
        load.goes_on();
        let topics = TopicReader::new(&world.cluster.bootstrap(), &[]);
        let report = examine(Some(&root), Some(topics)).unwrap();
        let mut of_load = report.producers.iter();
        let of_load = of_load.find(|of| of.producer.starts_with("meanwhile/"));
        let of_load = of_load.unwrap();
        assert!(of_load.found > 0 && of_load.tail == Tail::Open);
        assert_eq!(of_load.gaps, []);
        assert_eq!(of_load.found, of_load.last);
    }
    let ledger = world.settle("meanwhile", "a look in the middle", load.stop(), shipper);
    ledger.is_complete();
}

/// What Kafka's cleaner takes from the start of a partition is excused; what it cannot have taken is not.
#[test]
fn compaction_is_no_loss() {
    let mut options = broker::Options::nodes(1);
    let cleaner = [("log.cleaner.backoff.ms", "100")];
    options
        .settings
        .extend(cleaner.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let world = World::with(options);
    let settings = Settings::new(world.cluster.bootstrap());
    world.create_topics(&settings, &["config-changes"]);
    let compacted = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.ms", "100"),
    ];
    world.create_topic(&settings, "config-changes", &compacted);
    let root = world.root("compacted");
    let shipper = world.ship("compacted");
    let mut confirmed = Vec::new();
    let mut random = seeded("compacted");
    let mut expired = 0;
    // Each run's changes are of the key that the last one's had: these go once another segment has begun.
    eventually("the cleaner has been there", || {
        confirmed.extend(world::emit_from(&root, "compacted", 3_000, random.u64(..)));
        assert!(shipper.drain(Duration::from_secs(60)));
        let topics = TopicReader::new(&settings.bootstrap, &[]);
        let report = examine(Some(&root), Some(topics)).unwrap();
        assert_eq!((report.lost, report.declared), (0, 0), "{report:#?}");
        expired = report.expired;
        expired > 6
    });
    let ledger = world.settle("compacted", "compaction", confirmed, shipper);
    ledger.is_complete();
}

#[test]
fn a_clock_that_jumps_changes_neither_order_nor_ids_nor_retention() {
    let world = World::quiet();
    let root = world.root("clock");
    let clock = process::Clock::new(&world.root("clock.offset"));
    let shipper = world.ship("clock");
    let mut confirmed = Vec::new();
    // Each process is killed, starts by the clock that the one before ended with, and sees it jump in the middle.
    for (run, offset) in (0..).zip(["+3650d", "-9000d", "+3h", "-1h", "+0"]) {
        let jump = || clock.set(offset);
        confirmed.extend(process::emit_until_killed_by(
            &clock, &root, "clock", run, 3000, jump,
        ));
    }
    let ledger = world.settle("clock", "clock jumps", confirmed, shipper);
    ledger.is_complete();
    ledger.keeps_order();
    let epochs = ledger
        .report
        .producers
        .iter()
        .map(|producer| producer.epoch);
    let epochs: std::collections::BTreeSet<u64> = epochs.collect();
    assert_eq!(epochs.len(), 5, "a start has an epoch of its own");
    // What a broker counts retention from is never a time that the broker would not believe.
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let day = 24 * 60 * 60 * 1000;
    let (oldest, newest) = ledger.stamped();
    assert!(
        oldest >= now - day - 600_000 && newest <= now,
        "{oldest} to {newest}, and it is {now}"
    );
}

#[test]
fn a_wrong_password_a_missing_topic_and_too_large_an_event_are_said_and_made_good() {
    let world = World::with(broker::Options {
        user: Some(("carbyne".to_owned(), "right".to_owned())),
        ..broker::Options::default()
    });
    let root = world.root("refused");
    let mut confirmed = world::emit(&root, "refused", 2000);

    let wrong = world.settings_as("carbyne", "wrong");
    let shipper = Shipper::start(&root, wrong).unwrap();
    eventually("the password is refused", || {
        let problems = shipper.status().problems;
        problems
            .iter()
            .any(|problem| matches!(problem, Problem::Credentials(_)))
    });
    let status = shipper.stop();
    assert_eq!(status.acknowledged.iter().sum::<u64>(), 0);
    assert!(!status.is_idle);

    // The topics but one.
    let right = world.settings_as("carbyne", "right");
    world.create_topics(&right, &["audit-api-calls"]);
    let shipper = Shipper::start(&root, right.clone()).unwrap();
    eventually("the topic is missed", || {
        let problems = shipper.status().problems;
        problems.iter().any(|problem| matches!(problem, Problem::MissingTopic(topic) if topic.name() == "audit-api-calls"))
    });
    assert!(!shipper.drain(Duration::from_millis(100)));
    // Small enough for calls, one by one; not for what comes now.
    world.create_topic(&right, "audit-api-calls", &[("max.message.bytes", "20000")]);
    let outlet = Outlet::open(&root, Options::new("refused", "gateway")).unwrap();
    let emitter = outlet.emitter();
    // What LZ4 cannot make small.
    let mut random = seeded("large");
    let long: String = (0..80_000).map(|_| random.alphanumeric()).collect();
    let mut calls = Calls::new(991);
    for turn in 0..200 {
        let mut call = calls.call();
        let id = call.request_id.to_owned();
        if turn == 100 {
            call.consumer_name = Some(&long);
        } else {
            confirmed.push(id);
        }
        emitter.emit(&call).unwrap();
    }
    drop(emitter);
    outlet.close();
    eventually("the large one is set aside", || {
        shipper.status().dead_letters == 1
    });
    let ledger = world.settle_as(
        "wrong password, missing topic, too large",
        "refused",
        &right,
        &root,
        confirmed,
        shipper,
    );
    ledger.has_all_confirmed();
    assert_eq!((ledger.report.lost, ledger.report.declared), (0, 1));
    let dead = directories(&root)
        .unwrap()
        .remove(0)
        .dead_letters()
        .unwrap();
    let mut reader = Reader::new(&dead, Position::default());
    let Step::Block(block) = reader.step().unwrap() else {
        panic!("no dead letter");
    };
    assert!(block.records().next().unwrap().body.len() > 40_000);
}

#[test]
fn planted_losses_are_found_a_lost_tail_included() {
    let world = World::quiet();
    let root = world.root("planted");
    let options = || Options {
        segment_bytes: 64 << 10,
        ..Options::new("planted", "gateway")
    };
    let confirmed = world::emit_with(&root, options(), 10_000, 5);
    let directory = directories(&root).unwrap().remove(0);
    let sizes = directory.segment_sizes().unwrap();
    assert!(sizes.len() >= 6, "{sizes:?}");
    // Gone without a word: the middle, and from the tail everything but what says so.
    let mut gone = [0, 0];
    for (index, which) in [(sizes.len() / 2, 0), (sizes.len() - 1, 1)] {
        let (first, last) = world::held(&directory, sizes[index].0);
        gone[which] = last - first + 1;
        world::remove(&directory, sizes[index].0);
    }
    // The shipper would declare the hole in the middle; somebody else's pipeline would not.
    let settings = Settings::new(world.cluster.bootstrap());
    let middle = sizes[sizes.len() / 2].0;
    let shipper = world.ship_in_parts(&root, &settings, middle);
    let by_spool_and_topics = world.settle("planted", "planted loss", confirmed, shipper);
    let producer = &by_spool_and_topics.report.producers[0];
    assert_eq!(
        by_spool_and_topics.report.lost,
        gone[0] + gone[1],
        "{:?}",
        producer.gaps
    );
    let kinds: Vec<&Missing> = producer.gaps.iter().map(|gap| &gap.missing).collect();
    assert_eq!(kinds, [&Missing::Lost, &Missing::LostTail]);
    assert_eq!(producer.tail, Tail::Closed);

    // The topics alone do not know of the tail yet; the next start's first event tells.
    let alone = Ledger::read(&world.cluster.bootstrap(), &[], "planted", None, Vec::new());
    assert_eq!(alone.report.lost, gone[0]);
    let shipper = world.ship("planted");
    world::emit_with(&root, options(), 10, 6);
    assert!(shipper.drain(Duration::from_secs(60)));
    drop(shipper);
    let alone = Ledger::read(&world.cluster.bootstrap(), &[], "planted", None, Vec::new());
    assert_eq!(alone.report.lost, gone[0] + gone[1]);
}

#[test]
fn losses_planted_in_topics_and_spools_at_once_are_all_found_and_so_are_repeats() {
    let world = World::quiet();
    let root = world.root("both");
    let options = Options {
        segment_bytes: 64 << 10,
        ..Options::new("both", "gateway")
    };
    let confirmed = world::emit_with(&root, options, 20_000, 8);
    let directory = directories(&root).unwrap().remove(0);
    let sizes = directory.segment_sizes().unwrap();
    assert!(sizes.len() >= 12, "{sizes:?}");
    let quarter = |quarters: usize| sizes[sizes.len() * quarters / 4].0;
    let last = sizes[sizes.len() - 1].0;
    let mut gone = Vec::new();
    let mut lose = |ordinal: u64| {
        gone.push(world::held(&directory, ordinal));
        world::remove(&directory, ordinal);
    };
    // One that never came to the topics, though the cursor has passed it; then, of what still waits, one and the tail.
    let settings = Settings::new(world.cluster.bootstrap());
    lose(quarter(1));
    world.ship_up_to(&root, &settings, quarter(1));
    world.ship_up_to(&root, &settings, quarter(2));
    lose(quarter(3));
    lose(last);
    world.repeat("audit-api-calls", "both", 7);
    let bootstrap = world.cluster.bootstrap();
    let ledger = Ledger::read(&bootstrap, &[], "both", Some(&root), confirmed);
    ledger.print("loss planted in topics and spools at once", 0);
    let producer = &ledger.report.producers[0];
    let found: Vec<_> = producer
        .gaps
        .iter()
        .map(|gap| (gap.first, gap.last))
        .collect();
    // The tail goes on to what the ledger beside the spool says.
    assert_eq!(found[..2], gone[..2], "{:?}", producer.gaps);
    assert_eq!(found[2].0, gone[2].0, "{:?}", producer.gaps);
    let kinds: Vec<&Missing> = producer.gaps.iter().map(|gap| &gap.missing).collect();
    assert_eq!(kinds, [&Missing::Lost, &Missing::Lost, &Missing::LostTail]);
    assert_eq!(producer.duplicates, 7);
}

#[test]
fn the_order_by_key_is_kept_over_a_broken_client() {
    let world = World::one();
    let root = world.root("order");
    let outlet = Outlet::open(&root, Options::new("order", "gateway")).unwrap();
    let emitter = outlet.emitter();
    let shipper = world.ship("order");
    for version in 0..6000_u64 {
        let key = format!("routes/{}", version % 20);
        while emitter.emit(&change(&key, version)).is_err() {
            std::thread::yield_now();
        }
        if version == 3000 {
            world.cluster.kill(0).unwrap();
            world.cluster.revive(0).unwrap();
        }
    }
    drop(emitter);
    outlet.close();
    let ledger = world.settle("order", "order by key", Vec::new(), shipper);
    ledger.keeps_order();
    assert_eq!(ledger.changes(), 6000);
}

/// Not a test: what `emit_until_killed` runs.
#[test]
fn emitting_process() {
    process::main();
}
