//! Cycles are cut, and every box gets a rank: two more than the deepest of its callers.

use super::Arrow;

/// Ranks, and which arrows were turned round to have none lead back.
pub(super) struct Ranks {
    /// Of each box; even.
    pub(super) of: Vec<usize>,
    /// By arrow.
    pub(super) reversed: Vec<bool>,
}

pub(super) fn ranks(boxes: usize, arrows: &[Arrow]) -> Ranks {
    let reversed = cut(boxes, arrows);
    let links: Vec<(usize, usize)> = arrows
        .iter()
        .zip(&reversed)
        .filter(|(arrow, _)| arrow.from != arrow.to)
        .map(|(arrow, reversed)| {
            if *reversed {
                (arrow.to, arrow.from)
            } else {
                (arrow.from, arrow.to)
            }
        })
        .collect();
    let mut behind = vec![Vec::new(); boxes];
    let mut waiting = vec![0_usize; boxes];
    for &(from, to) in &links {
        behind[from].push(to);
        waiting[to] += 1;
    }
    let callers = waiting.clone();
    let mut of = vec![0; boxes];
    let mut ready: Vec<usize> = (0..boxes).filter(|index| waiting[*index] == 0).collect();
    let mut next = 0;
    while let Some(&from) = ready.get(next) {
        next += 1;
        for &to in &behind[from] {
            of[to] = of[to].max(of[from] + 2);
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.push(to);
            }
        }
    }
    // Whoever nobody calls stands right before what it calls, not far away at the edge.
    for index in (0..boxes).filter(|index| callers[*index] == 0) {
        let nearest: Option<usize> = behind[index].iter().map(|to| of[*to]).min();
        if let Some(nearest) = nearest {
            of[index] = nearest.saturating_sub(2);
        }
    }
    Ranks { of, reversed }
}

/// Depth first from those that nobody calls; arrows back to a box on the way are turned round.
fn cut(boxes: usize, arrows: &[Arrow]) -> Vec<bool> {
    let mut out = vec![Vec::new(); boxes];
    let mut called = vec![false; boxes];
    for (index, arrow) in arrows
        .iter()
        .enumerate()
        .filter(|(_, arrow)| arrow.from != arrow.to)
    {
        out[arrow.from].push(index);
        called[arrow.to] = true;
    }
    let mut state = vec![State::New; boxes];
    let mut reversed = vec![false; arrows.len()];
    let starts = (0..boxes)
        .filter(|index| !called[*index])
        .chain((0..boxes).filter(|index| called[*index]));
    for start in starts {
        if state[start] != State::New {
            continue;
        }
        state[start] = State::OnTheWay;
        // (box, how many of its arrows were followed); not by recursion: a chain may be as long as a mesh is large.
        let mut way = vec![(start, 0)];
        while let Some((at, followed)) = way.last_mut() {
            let Some(&index) = out[*at].get(*followed) else {
                state[*at] = State::Done;
                way.pop();
                continue;
            };
            *followed += 1;
            let to = arrows[index].to;
            match state[to] {
                State::New => {
                    state[to] = State::OnTheWay;
                    way.push((to, 0));
                }
                State::OnTheWay => reversed[index] = true,
                State::Done => {}
            }
        }
    }
    reversed
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    OnTheWay,
    Done,
}
