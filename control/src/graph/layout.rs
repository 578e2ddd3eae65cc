//! Where boxes and arrows go: the layered way of Sugiyama, from left to right, with room for a label on every arrow.
//!
//! Cycles are cut, boxes get ranks, arrows a point in every rank that they cross; orders within ranks are improved by barycentres as
//! long as fewer arrows cross; heights are the least-squares answer to "be level with your neighbours, keep your order and distance".
//! Nothing depends on time, chance or the order of a map: equal input makes an equal picture.
//!
//! | file | what it does |
//! |---|---|
//! | [`rank`] | cycles cut, ranks |
//! | [`order`] | the order within each rank |
//! | [`place`] | heights |

mod order;
mod place;
mod rank;

/// Width and height.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

/// A place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

/// An arrow between two boxes.
#[derive(Clone, Copy, Debug)]
pub struct Arrow {
    /// Index of the box that it leaves.
    pub from: usize,
    /// Index of the box that it points to.
    pub to: usize,
    /// Room that its label needs.
    pub label: Size,
}

/// Where everything is.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Of the whole.
    pub size: Size,
    /// Upper left corners of the boxes.
    pub boxes: Vec<Point>,
    /// Of each arrow.
    pub arrows: Vec<Course>,
}

/// The way of an arrow.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Points from the first box to the second; the way runs level at each.
    pub points: Vec<Point>,
    /// Middle of the left end of its label.
    pub label: Point,
}

/// Something in a rank: a box, or a point of an arrow.
#[derive(Clone, Copy, Debug)]
struct Item {
    rank: usize,
    size: Size,
    weight: f64,
}

/// Everything in ranks.
#[derive(Debug, Default)]
struct Layers {
    items: Vec<Item>,
    /// Items of each rank, from top to bottom.
    ranks: Vec<Vec<usize>>,
    /// Pairs of items in neighbouring ranks.
    links: Vec<(usize, usize)>,
    /// The same by item: neighbours before and behind.
    before: Vec<Vec<usize>>,
    behind: Vec<Vec<usize>>,
}

/// Lays out boxes and arrows.
#[must_use]
pub fn layout(boxes: &[Size], arrows: &[Arrow]) -> Layout {
    let linked: Vec<bool> = {
        let mut linked = vec![false; boxes.len()];
        for arrow in arrows.iter().filter(|arrow| arrow.from != arrow.to) {
            linked[arrow.from] = true;
            linked[arrow.to] = true;
        }
        linked
    };
    let ranks = rank::ranks(boxes.len(), arrows);
    let mut layers = Layers::default();
    let of_box: Vec<Option<usize>> = (0..boxes.len())
        .map(|index| linked[index].then(|| layers.add(ranks.of[index], boxes[index], 1.0)))
        .collect();
    let chains: Vec<Vec<usize>> = arrows
        .iter()
        .zip(&ranks.reversed)
        .map(|(arrow, reversed)| layers.chain(arrow, *reversed, &of_box))
        .collect();
    layers.index();
    order::order(&mut layers);
    let middles = place::heights(&layers);
    let columns = columns(&layers);
    let mut placed = Layout {
        boxes: vec![Point::default(); boxes.len()],
        ..Layout::default()
    };
    for (index, item) in of_box.iter().enumerate() {
        if let Some(item) = *item {
            let column = columns[layers.items[item].rank];
            placed.boxes[index] = Point {
                x: column.0 + (column.1 - boxes[index].width) / 2.0,
                y: middles[item] - boxes[index].height / 2.0,
            };
        }
    }
    let bottom = (0..boxes.len())
        .filter(|index| linked[*index])
        .map(|index| placed.boxes[index].y + boxes[index].height)
        .fold(0.0, f64::max);
    let right = columns.last().map_or(0.0, |(left, width)| left + width);
    shelve(boxes, &linked, bottom, right, &mut placed);
    let ports = ports(arrows, &chains, &ranks.reversed, &middles, boxes);
    for (index, arrow) in arrows.iter().enumerate() {
        let course = if arrow.from == arrow.to {
            own(placed.boxes[arrow.from], boxes[arrow.from])
        } else {
            course(
                arrow,
                &chains[index],
                ranks.reversed[index],
                ports[index],
                &placed.boxes,
                boxes,
                &middles,
                &columns,
                &layers,
            )
        };
        placed.arrows.push(course);
    }
    placed.measure(boxes, arrows);
    placed
}

impl Layers {
    fn add(&mut self, rank: usize, size: Size, weight: f64) -> usize {
        self.items.push(Item { rank, size, weight });
        self.items.len() - 1
    }

    /// Gives an arrow a point in each rank between its boxes; the middle one holds the label.
    fn chain(&mut self, arrow: &Arrow, reversed: bool, of_box: &[Option<usize>]) -> Vec<usize> {
        let (first, last) = if reversed {
            (arrow.to, arrow.from)
        } else {
            (arrow.from, arrow.to)
        };
        // A box with an arrow to itself only has no item.
        let (Some(first), Some(last)) = (of_box[first], of_box[last]) else {
            return Vec::new();
        };
        if first == last {
            return Vec::new();
        }
        let (start, end) = (self.items[first].rank, self.items[last].rank);
        let middle = label_rank(start, end);
        let mut chain = Vec::new();
        let mut previous = first;
        for rank in start + 1..end {
            let size = if rank == middle {
                Size {
                    width: arrow.label.width + 2.0 * LABEL_MARGIN,
                    height: arrow.label.height,
                }
            } else {
                Size {
                    width: 0.0,
                    height: 6.0,
                }
            };
            let item = self.add(rank, size, 2.0);
            self.links.push((previous, item));
            chain.push(item);
            previous = item;
        }
        self.links.push((previous, last));
        chain
    }

    fn index(&mut self) {
        let ranks = self
            .items
            .iter()
            .map(|item| item.rank + 1)
            .max()
            .unwrap_or(0);
        self.ranks = vec![Vec::new(); ranks];
        for (index, item) in self.items.iter().enumerate() {
            self.ranks[item.rank].push(index);
        }
        self.before = vec![Vec::new(); self.items.len()];
        self.behind = vec![Vec::new(); self.items.len()];
        for &(from, to) in &self.links {
            self.behind[from].push(to);
            self.before[to].push(from);
        }
    }
}

impl Layout {
    /// Shifts everything so that nothing is left of or above the margin, and measures it.
    fn measure(&mut self, boxes: &[Size], arrows: &[Arrow]) {
        let corners = self.boxes.iter().zip(boxes).flat_map(|(point, size)| {
            [
                *point,
                Point {
                    x: point.x + size.width,
                    y: point.y + size.height,
                },
            ]
        });
        let ways = self.arrows.iter().zip(arrows).flat_map(|(course, arrow)| {
            let label = [
                Point {
                    x: course.label.x,
                    y: course.label.y - arrow.label.height,
                },
                Point {
                    x: course.label.x + arrow.label.width,
                    y: course.label.y,
                },
            ];
            course.points.iter().copied().chain(label)
        });
        let all: Vec<Point> = corners.chain(ways).collect();
        let of = |pick: fn(&Point) -> f64, fold: fn(f64, f64) -> f64| {
            all.iter().map(pick).reduce(fold).unwrap_or(0.0)
        };
        let (left, top) = (of(|point| point.x, f64::min), of(|point| point.y, f64::min));
        let (right, bottom) = (of(|point| point.x, f64::max), of(|point| point.y, f64::max));
        let shift = |point: &mut Point| {
            point.x += MARGIN - left;
            point.y += MARGIN - top;
        };
        self.boxes.iter_mut().for_each(shift);
        for course in &mut self.arrows {
            course.points.iter_mut().for_each(shift);
            shift(&mut course.label);
        }
        self.size = Size {
            width: right - left + 2.0 * MARGIN,
            height: bottom - top + 2.0 * MARGIN,
        };
    }
}

/// The rank of an arrow's label: the middle of those that it crosses. Ranks of boxes are even, so that there is always one.
const fn label_rank(start: usize, end: usize) -> usize {
    let middle = usize::midpoint(start, end);
    // Odd ranks hold no boxes, which keeps columns of boxes narrow.
    if middle.is_multiple_of(2) {
        middle - 1
    } else {
        middle
    }
}

/// Left edge and width of each rank's column.
fn columns(layers: &Layers) -> Vec<(f64, f64)> {
    let mut left = 0.0;
    let mut columns = Vec::new();
    for rank in &layers.ranks {
        let widths = rank.iter().map(|item| layers.items[*item].size.width);
        let width = widths.fold(0.0, f64::max);
        columns.push((left, width));
        left += width + COLUMN_GAP;
    }
    columns
}

/// Boxes without arrows stand in rows below.
fn shelve(boxes: &[Size], linked: &[bool], bottom: f64, right: f64, placed: &mut Layout) {
    let alone: Vec<usize> = (0..boxes.len()).filter(|index| !linked[*index]).collect();
    let widest = alone
        .iter()
        .map(|index| boxes[*index].width)
        .fold(1.0, f64::max);
    let in_a_row =
        ((right.max(5.0 * (widest + SHELF_GAP)) + SHELF_GAP) / (widest + SHELF_GAP)).floor();
    let (mut column, mut y) = (
        0.0,
        if bottom > 0.0 {
            bottom + 2.0 * SHELF_GAP
        } else {
            0.0
        },
    );
    let mut tallest: f64 = 0.0;
    for index in alone {
        if column >= in_a_row {
            (column, y) = (0.0, y + tallest + SHELF_GAP);
            tallest = 0.0;
        }
        placed.boxes[index] = Point {
            x: column * (widest + SHELF_GAP),
            y,
        };
        tallest = tallest.max(boxes[index].height);
        column += 1.0;
    }
}

/// How far from the middle of its two boxes' sides each arrow leaves and arrives: spread in the order of where it goes to.
fn ports(
    arrows: &[Arrow],
    chains: &[Vec<usize>],
    reversed: &[bool],
    middles: &[f64],
    boxes: &[Size],
) -> Vec<[f64; 2]> {
    let mut shifts = vec![[0.0; 2]; arrows.len()];
    // Per box: arrows at its right side and at its left one, as (arrow, end of the arrow).
    let mut sides = vec![[Vec::new(), Vec::new()]; boxes.len()];
    for (index, arrow) in arrows.iter().enumerate() {
        if chains[index].is_empty() {
            continue;
        }
        let (right, left) = if reversed[index] { (1, 0) } else { (0, 1) };
        let ends = [arrow.from, arrow.to];
        sides[ends[right]][0].push((index, right));
        sides[ends[left]][1].push((index, left));
    }
    for (sides, size) in sides.iter_mut().zip(boxes) {
        for (side, list) in sides.iter_mut().enumerate() {
            let next = |(arrow, _): &(usize, usize)| {
                let chain = &chains[*arrow];
                let item = if side == 0 {
                    chain.first()
                } else {
                    chain.last()
                };
                item.map_or(0.0, |item| middles[*item])
            };
            list.sort_by(|a, b| next(a).total_cmp(&next(b)).then(a.cmp(b)));
            #[expect(clippy::cast_precision_loss, reason = "numbers of arrows are small")]
            let count = list.len() as f64;
            let step = ((size.height - 12.0) / count).clamp(0.0, 12.0);
            for (place, (arrow, end)) in (0_u32..).zip(list.iter()) {
                shifts[*arrow][*end] = (f64::from(place) - (count - 1.0) / 2.0) * step;
            }
        }
    }
    shifts
}

#[expect(clippy::too_many_arguments, reason = "everything that is known, once")]
fn course(
    arrow: &Arrow,
    chain: &[usize],
    reversed: bool,
    shifts: [f64; 2],
    corners: &[Point],
    boxes: &[Size],
    middles: &[f64],
    columns: &[(f64, f64)],
    layers: &Layers,
) -> Course {
    let side = |index: usize, right: bool, shift: f64| Point {
        x: corners[index].x + if right { boxes[index].width } else { 0.0 },
        y: corners[index].y + boxes[index].height / 2.0 + shift,
    };
    let (start, end) = if reversed {
        (
            side(arrow.to, true, shifts[1]),
            side(arrow.from, false, shifts[0]),
        )
    } else {
        (
            side(arrow.from, true, shifts[0]),
            side(arrow.to, false, shifts[1]),
        )
    };
    let mut points = vec![start];
    let mut label = start;
    for item in chain {
        let (left, width) = columns[layers.items[*item].rank];
        let size = layers.items[*item].size;
        // A label stands on its line.
        let y = if size.width > 0.0 {
            middles[*item] + size.height / 2.0 - 2.0
        } else {
            middles[*item]
        };
        if size.width > 0.0 {
            label = Point {
                x: left + (width - arrow.label.width) / 2.0,
                y: y - 4.0,
            };
        }
        points.push(Point { x: left, y });
        if width > 0.0 {
            points.push(Point { x: left + width, y });
        }
    }
    points.push(end);
    if reversed {
        points.reverse();
    }
    Course { points, label }
}

/// An arrow from a box to itself: a loop above it.
fn own(corner: Point, size: Size) -> Course {
    let at = |x: f64, y: f64| Point {
        x: corner.x + x,
        y: corner.y + y,
    };
    Course {
        points: vec![
            at(size.width, size.height / 2.0),
            at(size.width + 14.0, 0.0),
            at(size.width / 2.0 + 14.0, -14.0),
            at(size.width / 2.0, 0.0),
        ],
        label: at(0.0, -18.0),
    }
}

const MARGIN: f64 = 24.0;
const COLUMN_GAP: f64 = 34.0;
const LABEL_MARGIN: f64 = 4.0;
const SHELF_GAP: f64 = 16.0;

#[cfg(test)]
mod tests;
