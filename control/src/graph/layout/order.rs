//! The order within each rank: barycentres, forth and back, the best of all rounds.

use super::Layers;

pub(super) fn order(layers: &mut Layers) {
    let mut best = layers.ranks.clone();
    let mut fewest = crossings(layers);
    let mut without_gain = 0;
    for round in 0..ROUNDS {
        if fewest == 0 || without_gain >= PATIENCE {
            break;
        }
        sweep(layers, round % 2 == 0);
        let now = crossings(layers);
        if now < fewest {
            fewest = now;
            best.clone_from(&layers.ranks);
            without_gain = 0;
        } else {
            without_gain += 1;
        }
    }
    layers.ranks = best;
}

/// Sorts each rank by the mean place of its neighbours in the rank before (forth) or behind (back).
fn sweep(layers: &mut Layers, forth: bool) {
    let count = layers.ranks.len();
    let mut places = places(layers);
    let turn: Vec<usize> = if forth {
        (1..count).collect()
    } else {
        (0..count.saturating_sub(1)).rev().collect()
    };
    for rank in turn {
        let neighbours = if forth {
            &layers.before
        } else {
            &layers.behind
        };
        let mut keyed: Vec<(f64, usize)> = layers.ranks[rank]
            .iter()
            .map(|item| {
                let near = &neighbours[*item];
                if near.is_empty() {
                    return (places[*item], *item);
                }
                let sum: f64 = near.iter().map(|other| places[*other]).sum();
                #[expect(clippy::cast_precision_loss, reason = "numbers of arrows are small")]
                let mean = sum / near.len() as f64;
                (mean, *item)
            })
            .collect();
        // Stable: equals keep their order.
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        layers.ranks[rank] = keyed.into_iter().map(|(_, item)| item).collect();
        for (place, item) in (0_u32..).zip(&layers.ranks[rank]) {
            places[*item] = f64::from(place);
        }
    }
}

fn places(layers: &Layers) -> Vec<f64> {
    let mut places = vec![0.0; layers.items.len()];
    for rank in &layers.ranks {
        for (place, item) in (0_u32..).zip(rank) {
            places[*item] = f64::from(place);
        }
    }
    places
}

/// How many pairs of links cross: between two ranks, pairs whose ends are in opposite order, counted in a binary indexed tree.
fn crossings(layers: &Layers) -> u64 {
    let mut place = vec![0_usize; layers.items.len()];
    for rank in &layers.ranks {
        for (index, item) in rank.iter().enumerate() {
            place[*item] = index;
        }
    }
    let mut total = 0;
    for pair in layers.ranks.windows(2) {
        let mut tree = vec![0_u64; pair[1].len() + 1];
        let mut seen = 0;
        for item in &pair[0] {
            let mut ends: Vec<usize> = layers.behind[*item].iter().map(|to| place[*to]).collect();
            ends.sort_unstable();
            for end in &ends {
                total += seen - up_to(&tree, *end);
            }
            for end in ends {
                add(&mut tree, end);
                seen += 1;
            }
        }
    }
    total
}

fn add(tree: &mut [u64], place: usize) {
    let mut index = place + 1;
    while let Some(cell) = tree.get_mut(index) {
        *cell += 1;
        index += index & index.wrapping_neg();
    }
}

fn up_to(tree: &[u64], place: usize) -> u64 {
    let (mut index, mut sum) = (place + 1, 0);
    while index > 0 {
        sum += tree[index];
        index -= index & index.wrapping_neg();
    }
    sum
}

const ROUNDS: usize = 24;
const PATIENCE: usize = 4;
