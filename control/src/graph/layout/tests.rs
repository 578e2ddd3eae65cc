use super::*;

const BOX: Size = Size {
    width: 120.0,
    height: 40.0,
};

fn arrow(from: usize, to: usize) -> Arrow {
    Arrow {
        from,
        to,
        label: Size {
            width: 90.0,
            height: 14.0,
        },
    }
}

/// Pseudo-random, the same every time.
fn mesh(services: usize, calls: usize) -> (Vec<Size>, Vec<Arrow>) {
    let mut state = 42_u64;
    let mut next = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let arrows = (0..calls)
        .map(|_| arrow(next(services), next(services)))
        .collect();
    (vec![BOX; services], arrows)
}

/// No box on a box, no label on a label, no label on a box; whatever the graph.
#[test]
fn nothing_covers_anything() {
    for (services, calls) in [(1, 0), (3, 2), (5, 0), (12, 30), (60, 120)] {
        let (boxes, arrows) = mesh(services, calls);
        let placed = layout(&boxes, &arrows);
        let mut taken: Vec<(String, Point, Size)> = Vec::new();
        for (index, point) in placed.boxes.iter().enumerate() {
            taken.push((format!("box {index}"), *point, boxes[index]));
        }
        for (index, course) in placed.arrows.iter().enumerate() {
            if arrows[index].from != arrows[index].to {
                let size = arrows[index].label;
                let corner = Point {
                    x: course.label.x,
                    y: course.label.y - size.height + 4.0,
                };
                taken.push((format!("label {index}"), corner, size));
            }
        }
        for (index, (name, point, size)) in taken.iter().enumerate() {
            assert!(
                point.x >= 0.0
                    && point.y >= 0.0
                    && point.x + size.width <= placed.size.width
                    && point.y + size.height <= placed.size.height,
                "{name} is outside"
            );
            for (other, at, room) in &taken[..index] {
                let apart = point.x + size.width <= at.x + 0.01
                    || at.x + room.width <= point.x + 0.01
                    || point.y + size.height <= at.y + 0.01
                    || at.y + room.height <= point.y + 0.01;
                assert!(
                    apart,
                    "{services} services: {name} {point:?} covers {other} {at:?}"
                );
            }
        }
    }
}

#[test]
fn arrows_lead_from_box_to_box_and_to_the_right_unless_they_close_a_cycle() {
    // 0 → 1 → 2 → 0
    let arrows = [arrow(0, 1), arrow(1, 2), arrow(2, 0)];
    let placed = layout(&[BOX; 3], &arrows);
    let left = |index: usize| placed.boxes[index].x;
    assert!(left(0) < left(1) && left(1) < left(2));
    for (arrow, course) in arrows.iter().zip(&placed.arrows) {
        let touches = |index: usize, point: Point| {
            let corner = placed.boxes[index];
            (point.x - corner.x)
                .abs()
                .min((point.x - corner.x - BOX.width).abs())
                < 0.01
                && point.y >= corner.y
                && point.y <= corner.y + BOX.height
        };
        assert!(touches(arrow.from, course.points[0]), "{course:?}");
        assert!(
            touches(arrow.to, *course.points.last().unwrap()),
            "{course:?}"
        );
    }
    let back = &placed.arrows[2].points;
    assert!(back[0].x > back.last().unwrap().x);
}

#[test]
fn a_tree_has_no_crossings_and_its_root_stands_in_the_middle() {
    let placed = layout(&[BOX; 4], &[arrow(0, 3), arrow(0, 1), arrow(0, 2)]);
    let middle = placed.boxes[0].y;
    let mut ys: Vec<f64> = (1..4).map(|index| placed.boxes[index].y).collect();
    ys.sort_by(f64::total_cmp);
    assert!((middle - ys[1]).abs() < 1.0, "{middle} {ys:?}");
}

#[test]
fn equal_graphs_are_drawn_alike() {
    let (boxes, arrows) = mesh(40, 90);
    let (one, other) = (layout(&boxes, &arrows), layout(&boxes, &arrows));
    assert_eq!(one.boxes, other.boxes);
    let ways = |layout: &Layout| {
        layout
            .arrows
            .iter()
            .map(|course| course.points.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ways(&one), ways(&other));
}
