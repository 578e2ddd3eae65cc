//! Draws series as SVG: what a person wants to see of a panel without a Grafana.

use std::fmt::Write;

/// A panel to draw.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// Heading.
    pub title: String,
    /// Grafana's unit.
    pub unit: String,
    /// What is drawn.
    pub series: Vec<Series>,
    /// First and last second of the time that is shown.
    pub span: (f64, f64),
    /// Whether series stand on each other.
    pub stacked: bool,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Legend.
    pub name: String,
    /// Second and value.
    pub points: Vec<(f64, f64)>,
}

impl Plot {
    /// The SVG of the panel at a place of a larger one.
    #[must_use]
    pub fn draw(&self, x: f64, y: f64, width: f64, height: f64) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail, here and below.
        _ = writeln!(
            out,
            "<g transform=\"translate({x},{y})\"><rect width=\"{width}\" height=\"{height}\" rx=\"3\" class=\"panel\"/>\
             <text x=\"10\" y=\"18\" class=\"title\">{}</text>",
            escaped(&self.title)
        );
        let lines = self.lines();
        if lines.iter().all(|line| line.points.is_empty()) {
            _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" class=\"none\">no data</text></g>",
                width / 2.0,
                height / 2.0
            );
            return out;
        }
        let legend = 14.0 * self.series.len().min(LEGENDS) as f64;
        let (left, top, right) = (62.0, 30.0, width - 12.0);
        let bottom = (height - 26.0 - legend).max(top + 20.0);
        let highest = lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.1))
            .filter(|value| value.is_finite())
            .fold(0.0, f64::max);
        let ceiling = nice(highest);
        let (from, to) = self.span;
        let across = |at: f64| left + (at - from) / (to - from).max(1.0) * (right - left);
        let up = |value: f64| bottom - value.clamp(0.0, ceiling) / ceiling * (bottom - top);
        for step in 0..=4 {
            let value = ceiling * f64::from(step) / 4.0;
            _ = writeln!(
                out,
                "<line x1=\"{left}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" class=\"grid\"/><text x=\"{1}\" y=\"{2:.1}\" class=\"axis\">{3}</text>",
                up(value),
                left - 6.0,
                up(value) + 3.5,
                escaped(&worded(value, &self.unit))
            );
        }
        for (index, line) in lines.iter().enumerate() {
            let color = COLORS[index % COLORS.len()];
            for run in runs(&line.points) {
                let path: Vec<String> = run
                    .iter()
                    .map(|(at, value)| format!("{:.1},{:.1}", across(*at), up(*value)))
                    .collect();
                _ = writeln!(
                    out,
                    "<polyline points=\"{}\" stroke=\"{color}\" class=\"line\"/>",
                    path.join(" ")
                );
            }
        }
        for (index, series) in self.series.iter().take(LEGENDS).enumerate() {
            let at = bottom + 24.0 + 14.0 * index as f64;
            let last = series.points.last().map_or(f64::NAN, |point| point.1);
            let room = ((width - 120.0) / 6.2) as usize;
            let name: String = series.name.chars().take(room).collect();
            _ = writeln!(
                out,
                "<rect x=\"{left}\" y=\"{:.1}\" width=\"10\" height=\"3\" fill=\"{}\"/><text x=\"{}\" y=\"{at:.1}\" class=\"legend\">{}</text>\
                 <text x=\"{right}\" y=\"{at:.1}\" class=\"value\">{}</text>",
                at - 5.0,
                COLORS[index % COLORS.len()],
                left + 16.0,
                escaped(&name),
                escaped(&worded(last, &self.unit))
            );
        }
        out.push_str("</g>\n");
        out
    }

    /// The lines as they are drawn: on each other where they are stacked.
    fn lines(&self) -> Vec<Series> {
        if !self.stacked {
            return self.series.clone();
        }
        let mut below: Vec<(f64, f64)> = Vec::new();
        let stack = self.series.iter().map(|series| {
            let points = series.points.iter().map(|(at, value)| {
                let under = below
                    .iter()
                    .find(|(other, _)| other == at)
                    .map_or(0.0, |(_, value)| *value);
                (*at, under + value)
            });
            let points: Vec<_> = points.collect();
            for point in &points {
                match below.iter_mut().find(|(at, _)| *at == point.0) {
                    Some(found) => *found = *point,
                    None => below.push(*point),
                }
            }
            Series {
                name: series.name.clone(),
                points,
            }
        });
        stack.collect()
    }
}

/// A page of such panels.
#[must_use]
pub fn page(title: &str, width: f64, height: f64, panels: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\">\n\
         <style>.panel{{fill:#fff;stroke:#d5d8dc}}.title{{font-size:13px;font-weight:600;fill:#24292e}}.row{{font-size:15px;font-weight:600;fill:#24292e}}\
         .axis{{font-size:10px;fill:#667;text-anchor:end}}.legend{{font-size:11px;fill:#334}}.value{{font-size:11px;fill:#334;text-anchor:end}}\
         .grid{{stroke:#e8eaed}}.line{{fill:none;stroke-width:1.5}}.none{{font-size:12px;fill:#99a;text-anchor:middle}}\
         .stat{{font-size:26px;font-weight:600;text-anchor:middle}}.cell{{font-size:11px;fill:#334}}.head{{font-size:11px;font-weight:600;fill:#667}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f4f5f7\"/><text x=\"12\" y=\"26\" font-size=\"18\" font-weight=\"600\" fill=\"#24292e\">{}</text>\n{panels}</svg>\n",
        escaped(title)
    )
}

/// A value with its unit, as Grafana words it.
#[must_use]
pub fn worded(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match unit {
        "percentunit" => format!("{} %", short(value * 100.0)),
        "percent" => format!("{} %", short(value)),
        "bytes" => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
        "Bps" => scaled(value, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s"]),
        "s" if value >= 172_800.0 => format!("{} d", short(value / 86_400.0)),
        "s" if value >= 7_200.0 => format!("{} h", short(value / 3_600.0)),
        "s" if value >= 120.0 => format!("{} min", short(value / 60.0)),
        "s" if value >= 1.0 || value == 0.0 => format!("{} s", short(value)),
        "s" => format!("{} ms", short(value * 1000.0)),
        "ms" if value >= 1000.0 => format!("{} s", short(value / 1000.0)),
        "ms" => format!("{} ms", short(value)),
        "reqps" => format!("{} req/s", short(value)),
        "ops" => format!("{} /s", short(value)),
        "cps" => format!("{} /s", short(value)),
        "bool_yes_no" => if value > 0.0 { "yes" } else { "no" }.to_owned(),
        _ => scaled(value, 1000.0, &["", "k", "M", "G"]),
    }
}

fn scaled(mut value: f64, base: f64, units: &[&str]) -> String {
    let mut index = 0;
    while value.abs() >= base && index + 1 < units.len() {
        value /= base;
        index += 1;
    }
    format!("{} {}", short(value), units[index])
        .trim_end()
        .to_owned()
}

/// Three digits that matter.
fn short(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The next larger of 1, 2, 4, 5, 8 times a power of ten.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value)
        .unwrap_or(10.0 * power)
}

/// Stretches without a gap: values that are no numbers break a line.
fn runs(points: &[(f64, f64)]) -> impl Iterator<Item = &[(f64, f64)]> {
    points
        .split(|(_, value)| !value.is_finite())
        .filter(|run| !run.is_empty())
}

/// For XML.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const LEGENDS: usize = 6;
/// A colour a series.
pub const COLORS: [&str; 10] = [
    "#3274d9", "#37872d", "#e0752d", "#a352cc", "#c4162a", "#0a8f8f", "#b58900", "#6e4bb5",
    "#5f6b7a", "#d63384",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_worded_as_people_read_them() {
        for (value, unit, wanted) in [
            (0.0, "reqps", "0 req/s"),
            (12.345, "reqps", "12.3 req/s"),
            (0.995, "percentunit", "99.5 %"),
            (1536.0, "bytes", "1.5 KiB"),
            (2_500_000.0, "Bps", "2.5 MB/s"),
            (0.25, "s", "250 ms"),
            (86_000.0, "s", "23.9 h"),
            (1_500.0, "ms", "1.5 s"),
            (1.0, "bool_yes_no", "yes"),
            (12_000.0, "short", "12 k"),
            (f64::NAN, "s", "–"),
        ] {
            assert_eq!(worded(value, unit), wanted, "{value} {unit}");
        }
    }

    #[test]
    fn lines_break_where_there_is_nothing() {
        let plot = Plot {
            title: "a < b".to_owned(),
            unit: "short".to_owned(),
            series: vec![Series {
                name: "x".to_owned(),
                points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)],
            }],
            span: (0.0, 2.0),
            stacked: false,
        };
        let drawn = plot.draw(0.0, 0.0, 300.0, 200.0);
        assert_eq!(drawn.matches("<polyline").count(), 2, "{drawn}");
        assert!(drawn.contains("a &lt; b"));
        let empty = Plot::default().draw(0.0, 0.0, 300.0, 200.0);
        assert!(empty.contains("no data"));
    }

    #[test]
    fn stacked_lines_stand_on_each_other() {
        let series = |value: f64| Series {
            name: String::new(),
            points: vec![(0.0, value), (1.0, value)],
        };
        let plot = Plot {
            series: vec![series(1.0), series(2.0)],
            stacked: true,
            ..Plot::default()
        };
        assert_eq!(plot.lines()[1].points, [(0.0, 3.0), (1.0, 3.0)]);
    }
}
