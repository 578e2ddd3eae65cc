use super::*;

#[test]
fn kinds_are_found_by_number() {
    let mut numbers: Vec<u16> = Kind::all().iter().map(|kind| kind.number()).collect();
    for number in &numbers {
        assert_eq!(Kind::from_number(*number).map(Kind::number), Some(*number));
    }
    numbers.sort_unstable();
    let contiguous: Vec<u16> = (1..=u16::try_from(numbers.len()).unwrap()).collect();
    assert_eq!(numbers, contiguous, "a number was left out or given twice");
    assert_eq!(Kind::from_number(0), None);
}

#[test]
fn traces_are_read_of_what_has_the_form() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (text, expected) in [
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            Some(id),
        ),
        (
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            None,
        ),
        (
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            None,
        ),
        (
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            None,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            None,
        ),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736", None),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            None,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            None,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7:01",
            None,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
            None,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e473/-00f067aa0ba902b7-01",
            None,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0F\u{e9}",
            Some(id),
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{e9}",
            None,
        ),
        ("secret", None),
    ] {
        assert_eq!(trace_id(Some(text)), expected, "{text}");
    }
    assert_eq!(trace_id(None), None);
}
