//! The client's ledger, with a real Kafka, a real gateway and a real shipper: every request that got an answer is found in the topics by
//! the id in its answer, exactly once when what came twice is dropped by `ce_id`, whatever was killed or gone meanwhile; `carbyne events
//! verify` finds no gap; what has a key keeps its order.
//!
//! Clients write down what they were answered and nothing else. Who reads it back is not of this project either: confluent-kafka in
//! Python, which decodes by the schemas (`events/tests/consumer.py`).
//!
//! The gateway is `CARBYNE_GATEWAY`, else in the folder `CARBYNE_BIN_DIR`, else beside `carbyne`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "ledger/gateway.rs"]
mod gateway;
#[path = "ledger/load.rs"]
mod load;
#[path = "ledger/service.rs"]
mod service;
#[path = "ledger/shipper.rs"]
mod shipper;
#[path = "ledger/trail.rs"]
mod trail;
#[path = "ledger/world.rs"]
mod world;

use std::time::Duration;

use load::Load;
use world::{World, cases, full, seeded};

#[test]
fn a_gateway_that_is_killed_has_told_every_answer() {
    let mut world = World::start("killed");
    let shipper = world.ship();
    let load = Load::start(&world.address);
    let mut random = seeded("killed");
    let kills = if full() { 50 } else { 8 };
    for _ in 0..kills {
        load.goes_on();
        // Anywhere in the life of a gateway under load: that is what is tested, so time has to pass.
        std::thread::sleep(Duration::from_micros(random.u64(0..400_000)));
        world.kill_gateway();
        world.start_gateway();
    }
    load.goes_on();
    cases("kill -9 of the gateway", kills, 50);
    let row = format!("kill -9 of the gateway at {kills} points");
    world.settle(&row, load, shipper).is_complete();
}

#[test]
fn an_outage_costs_no_answer() {
    let world = World::start("outage");
    let shipper = world.ship();
    let load = Load::start(&world.address);
    load.goes_on();
    world.cluster.terminate(0).unwrap();
    let seconds = if full() { 20 } else { 5 };
    std::thread::sleep(Duration::from_secs(seconds));
    load.goes_on();
    world.cluster.revive(0).unwrap();
    load.goes_on();
    let row = format!("outage of the broker for {seconds} s under full load");
    world.settle(&row, load, shipper).is_complete();
}

#[test]
fn a_broker_that_dies_costs_no_answer() {
    let world = World::start("broker");
    let shipper = world.ship();
    let load = Load::start(&world.address);
    for _ in 0..if full() { 5 } else { 2 } {
        load.goes_on();
        world.cluster.kill(0).unwrap();
        load.goes_on();
        world.cluster.revive(0).unwrap();
    }
    load.goes_on();
    world
        .settle("kill -9 of the broker", load, shipper)
        .is_complete();
}

#[test]
fn a_shipper_that_is_killed_repeats_and_loses_nothing() {
    let world = World::start("shipper");
    let mut shipper = world.ship();
    let load = Load::start(&world.address);
    let mut random = seeded("shipper");
    let kills = if full() { 50 } else { 8 };
    for _ in 0..kills {
        load.goes_on();
        std::thread::sleep(Duration::from_micros(random.u64(0..400_000)));
        shipper.kill();
        shipper = world.ship();
    }
    load.goes_on();
    cases("kill -9 of the shipper", kills, 50);
    let row = format!("kill -9 of the shipper at {kills} points");
    world.settle(&row, load, shipper).is_complete();
}
