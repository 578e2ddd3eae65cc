//! Texts that begin alike, as a radix tree in flat lists; read backward, texts that end alike.

use super::NONE;

/// Several trees in one place.
#[derive(Debug)]
pub(super) struct Trie<P> {
    nodes: Vec<Node>,
    /// The first byte of each node's label, to find a child at a glance.
    first: Vec<u8>,
    labels: Vec<u8>,
    items: Vec<P>,
}

/// What has a place in the order of routes.
pub(super) trait Ranked {
    fn rank(&self) -> u32;
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Behind its first byte.
    label: Span,
    children: Span,
    /// Lowest rank first.
    items: Span,
    /// The lowest rank here and below.
    best: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u32,
}

/// How many nodes with items are kept in mind while the tree is descended. Deeper ones make the
/// ones above be asked at once.
const REMEMBERED: usize = 32;

impl Span {
    fn of<T>(self, list: &[T]) -> &[T] {
        let start = self.start as usize;
        // Spans are made of what is in the list.
        list.get(start..start + self.len as usize)
            .unwrap_or_default()
    }
}

impl<P> Default for Trie<P> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            first: Vec::new(),
            labels: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl<P: Ranked> Trie<P> {
    /// Adds a tree of sorted, distinct texts with their items, lowest ranks first; what it returns
    /// is its root.
    pub(super) fn add(&mut self, lists: Vec<(Vec<u8>, Vec<P>)>) -> u32 {
        let root = self.nodes.len();
        self.push(&[]);
        let (texts, mut items): (Vec<_>, Vec<_>) = lists.into_iter().unzip();
        // A node, the texts below it, and how much of each is spelled out.
        let mut work = vec![(root, 0..texts.len(), 0)];
        while let Some((node, mut below, depth)) = work.pop() {
            if let Some(text) = texts[below.clone()].first()
                && text.len() == depth
            {
                let list = std::mem::take(&mut items[below.start]);
                self.nodes[node].items = span(self.items.len(), list.len());
                self.items.extend(list);
                below.start += 1;
            }
            let children = self.nodes.len();
            while !below.is_empty() {
                let head = &texts[below.start];
                let same = texts[below.clone()].partition_point(|text| text[depth] <= head[depth]);
                let tail = &texts[below.start + same - 1];
                // Sorted: what the first and the last share, all share.
                let shared = head[depth..].iter().zip(&tail[depth..]);
                let shared = shared.take_while(|(a, b)| a == b).count();
                let child = self.nodes.len();
                self.push(&head[depth..depth + shared]);
                work.push((child, below.start..below.start + same, depth + shared));
                below.start += same;
            }
            self.nodes[node].children = span(children, self.nodes.len() - children);
        }
        // Children stand behind their parents.
        for node in (root..self.nodes.len()).rev() {
            let own = self.nodes[node].items.of(&self.items).first();
            let below = self.nodes[node].children.of(&self.nodes).iter();
            let below = below.map(|child| child.best).min();
            self.nodes[node].best = own.map_or(NONE, P::rank).min(below.unwrap_or(NONE));
        }
        u32::try_from(root).unwrap_or_default()
    }

    fn push(&mut self, label: &[u8]) {
        let first = label.first().copied();
        let label = label.get(1..).unwrap_or_default();
        self.nodes.push(Node {
            label: span(self.labels.len(), label.len()),
            children: Span::default(),
            items: Span::default(),
            best: NONE,
        });
        self.first.push(first.unwrap_or_default());
        self.labels.extend_from_slice(label);
    }

    /// The lowest rank in a tree.
    pub(super) fn best(&self, root: u32) -> u32 {
        self.nodes.get(root as usize).map_or(NONE, |node| node.best)
    }

    /// Visits what belongs to texts that `text` begins with (backward: ends with), longest first,
    /// as long as there may be something better; a visit says what is best after it.
    pub(super) fn walk<const BACKWARD: bool>(
        &self,
        root: u32,
        text: &[u8],
        mut best: u32,
        mut visit: impl FnMut(&[P], u32) -> u32,
    ) -> u32 {
        let mut remembered = [Span::default(); REMEMBERED];
        let mut count = 0;
        let mut rest = text;
        let mut node = &self.nodes[root as usize];
        while node.best < best {
            if node.items.len > 0 {
                if count == REMEMBERED {
                    best = self.ask(&remembered, best, &mut visit);
                    count = 0;
                }
                remembered[count] = node.items;
                count += 1;
            }
            let next = if BACKWARD {
                rest.split_last()
            } else {
                rest.split_first()
            };
            let Some((next, left)) = next else { break };
            let Some(child) = position(*next, node.children.of(&self.first)) else {
                break;
            };
            node = &self.nodes[node.children.start as usize + child];
            rest = left;
            // Deep down in a large tree most labels are one byte.
            if node.label.len == 0 {
                continue;
            }
            let label = node.label.of(&self.labels);
            let left = if BACKWARD {
                strip_reversed(rest, label)
            } else {
                rest.strip_prefix(label)
            };
            let Some(left) = left else { break };
            rest = left;
        }
        self.ask(&remembered[..count], best, &mut visit)
    }

    fn ask(
        &self,
        remembered: &[Span],
        mut best: u32,
        visit: &mut impl FnMut(&[P], u32) -> u32,
    ) -> u32 {
        for span in remembered.iter().rev() {
            let items = span.of(&self.items);
            if items.first().is_some_and(|first| first.rank() < best) {
                best = visit(items, best);
            }
        }
        best
    }
}

/// The bytes are sorted. Where none is missing between them, as among digits, the place is known; else most nodes have
/// few children.
fn position(byte: u8, bytes: &[u8]) -> Option<usize> {
    let guess = usize::from(byte.wrapping_sub(*bytes.first()?));
    if bytes.get(guess) == Some(&byte) {
        return Some(guess);
    }
    match bytes.len() {
        ..=8 => bytes.iter().position(|known| *known == byte),
        _ => memchr::memchr(byte, bytes),
    }
}

/// Takes a label off the end, whose bytes are in the order in which they are read.
fn strip_reversed<'t>(text: &'t [u8], label: &[u8]) -> Option<&'t [u8]> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(label.len())?)?;
    end.iter().rev().eq(label).then_some(rest)
}

/// Lists have less than 2^32 entries: a configuration of that size does not fit into memory.
fn span(start: usize, len: usize) -> Span {
    Span {
        start: u32::try_from(start).unwrap_or_default(),
        len: u32::try_from(len).unwrap_or_default(),
    }
}
