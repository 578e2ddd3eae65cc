//! Heights: each item wants to be level with its neighbours; those of one rank keep their order and distance. For one rank that is
//! isotonic regression, which pooling adjacent violators solves exactly; ranks take turns.

use super::Layers;

/// The middle of each item.
pub(super) fn heights(layers: &Layers) -> Vec<f64> {
    let mut middles = stacked(layers);
    let count = layers.ranks.len();
    for round in 0..ROUNDS {
        let turn: Vec<usize> = if round % 2 == 0 {
            (0..count).collect()
        } else {
            (0..count).rev().collect()
        };
        for rank in turn {
            settle(layers, rank, round, &mut middles);
        }
    }
    middles
}

fn stacked(layers: &Layers) -> Vec<f64> {
    let mut middles = vec![0.0; layers.items.len()];
    for rank in &layers.ranks {
        let mut previous: Option<usize> = None;
        for item in rank {
            if let Some(before) = previous {
                middles[*item] = middles[before] + distance(layers, before, *item);
            }
            previous = Some(*item);
        }
    }
    middles
}

/// Moves the items of one rank to where their neighbours are; the last rounds listen to both sides.
fn settle(layers: &Layers, rank: usize, round: usize, middles: &mut [f64]) {
    let items = &layers.ranks[rank];
    let both = round + 4 >= ROUNDS;
    let forth = round.is_multiple_of(2);
    let mut blocks: Vec<Block> = Vec::new();
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            offset += distance(layers, items[index - 1], *item);
        }
        offsets.push(offset);
        let sides: &[&Vec<usize>] = if both {
            &[&layers.before[*item], &layers.behind[*item]]
        } else if forth {
            &[&layers.before[*item]]
        } else {
            &[&layers.behind[*item]]
        };
        let (mut sum, mut weights) = (0.0, 0.0);
        for other in sides.iter().copied().flatten() {
            let weight = layers.items[*other].weight;
            sum += middles[*other] * weight;
            weights += weight;
        }
        let (wanted, weight) = if weights > 0.0 {
            (sum / weights, layers.items[*item].weight)
        } else {
            // Nobody to be level with: it stays if it can.
            (middles[*item], 0.01)
        };
        blocks.push(Block {
            sum: (wanted - offset) * weight,
            weight,
            count: 1,
        });
        while let [.., before, last] = blocks.as_slice()
            && before.mean() > last.mean()
        {
            let joined = Block {
                sum: before.sum + last.sum,
                weight: before.weight + last.weight,
                count: before.count + last.count,
            };
            blocks.truncate(blocks.len() - 2);
            blocks.push(joined);
        }
    }
    let mut index = 0;
    for block in blocks {
        for _ in 0..block.count {
            middles[items[index]] = block.mean() + offsets[index];
            index += 1;
        }
    }
}

struct Block {
    sum: f64,
    weight: f64,
    count: usize,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

fn distance(layers: &Layers, above: usize, below: usize) -> f64 {
    let (above, below) = (layers.items[above], layers.items[below]);
    let gap = if above.weight > 1.0 && below.weight > 1.0 {
        POINT_GAP
    } else {
        BOX_GAP
    };
    f64::midpoint(above.size.height, below.size.height) + gap
}

const ROUNDS: usize = 12;
const BOX_GAP: f64 = 22.0;
const POINT_GAP: f64 = 10.0;
