//! Functions, aggregations and operators of PromQL.

pub(super) fn is_set_operator(word: &str) -> bool {
    ["and", "or", "unless", "atan2"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

pub(super) fn is_grouping(word: &str) -> bool {
    ["by", "without"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

pub(super) fn takes_range(name: &str) -> bool {
    FUNCTIONS
        .iter()
        .any(|(known, .., range)| *known == name && *range)
}

pub(super) const COMPARISONS: [&str; 6] = ["==", "!=", "<=", "<", ">=", ">"];
pub(super) const OPERATORS: [&str; 12] = [
    "+", "-", "*", "/", "%", "^", "==", "!=", "<=", "<", ">=", ">",
];
pub(super) const NUMBERS: [&str; 2] = ["inf", "nan"];
pub(super) const AGGREGATIONS: [&str; 12] = [
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
];
/// Those that take a parameter before the expression.
pub(super) const PARAMETERS: [&str; 4] = ["count_values", "bottomk", "topk", "quantile"];
/// Name, least and most arguments, whether one of them is a range.
pub(super) const FUNCTIONS: &[(&str, usize, usize, bool)] = &[
    ("abs", 1, 1, false),
    ("absent", 1, 1, false),
    ("absent_over_time", 1, 1, true),
    ("avg_over_time", 1, 1, true),
    ("ceil", 1, 1, false),
    ("changes", 1, 1, true),
    ("clamp", 3, 3, false),
    ("clamp_max", 2, 2, false),
    ("clamp_min", 2, 2, false),
    ("count_over_time", 1, 1, true),
    ("day_of_month", 0, 1, false),
    ("day_of_week", 0, 1, false),
    ("days_in_month", 0, 1, false),
    ("delta", 1, 1, true),
    ("deriv", 1, 1, true),
    ("exp", 1, 1, false),
    ("floor", 1, 1, false),
    ("histogram_quantile", 2, 2, false),
    ("holt_winters", 3, 3, true),
    ("hour", 0, 1, false),
    ("idelta", 1, 1, true),
    ("increase", 1, 1, true),
    ("irate", 1, 1, true),
    ("label_join", 3, 64, false),
    ("label_replace", 5, 5, false),
    ("last_over_time", 1, 1, true),
    ("ln", 1, 1, false),
    ("log10", 1, 1, false),
    ("log2", 1, 1, false),
    ("max_over_time", 1, 1, true),
    ("min_over_time", 1, 1, true),
    ("minute", 0, 1, false),
    ("month", 0, 1, false),
    ("pi", 0, 0, false),
    ("predict_linear", 2, 2, true),
    ("present_over_time", 1, 1, true),
    ("quantile_over_time", 2, 2, true),
    ("rate", 1, 1, true),
    ("resets", 1, 1, true),
    ("round", 1, 2, false),
    ("scalar", 1, 1, false),
    ("sgn", 1, 1, false),
    ("sort", 1, 1, false),
    ("sort_desc", 1, 1, false),
    ("sqrt", 1, 1, false),
    ("stddev_over_time", 1, 1, true),
    ("stdvar_over_time", 1, 1, true),
    ("sum_over_time", 1, 1, true),
    ("time", 0, 0, false),
    ("timestamp", 1, 1, false),
    ("vector", 1, 1, false),
    ("year", 0, 1, false),
];
