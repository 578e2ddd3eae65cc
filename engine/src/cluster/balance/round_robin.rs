//! Hosts of equal weight in turn.

/// Whose turn it is among `count` hosts (at least one), and moves on.
pub fn pick(turn: &mut usize, count: usize) -> usize {
    let index = *turn % count.max(1);
    *turn = turn.wrapping_add(1);
    index
}
