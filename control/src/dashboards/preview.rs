//! `carbyne dashboards preview`: asks a Prometheus what the panels ask, and draws the answers.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::Request;
use http_body_util::Empty;
use serde::Serialize;
use serde_json::Value;

use super::{
    PROMETHEUS, all,
    grafana::{Dashboard, GridPos, Panel, Target},
    plot::{self, Plot, Series, escaped, worded},
};
use crate::{
    fetch::{FetchError, fetch},
    output::{Finding, Options, Outcome, Text, Verdict, code},
    runtime,
};

/// Arguments of `carbyne dashboards preview`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where Prometheus is
    #[arg(long, value_name = "ADDRESS", default_value_t = PROMETHEUS)]
    pub prometheus: SocketAddr,
    /// How far back to look
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub seconds: u32,
    /// The interval of rates; four scrapes at least
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub rate_interval: u32,
    /// Where the drawings go
    #[arg(long, value_name = "FOLDER", default_value = "previews")]
    pub to: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// Nothing that answers.
    #[error("no Prometheus: {0}")]
    Fetch(#[from] FetchError),
    /// It refuses the query.
    #[error("`{query}`: {what}")]
    Refused {
        /// The query.
        query: String,
        /// What it says.
        what: String,
    },
}

/// A Prometheus.
#[derive(Clone, Copy, Debug)]
pub struct Prometheus(pub SocketAddr);

/// A series of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Second and value.
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// What a query says now.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn now(self, query: &str) -> Result<Vec<Found>, PreviewError> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        Ok(series(&self.ask(&path, query).await?["result"]))
    }

    /// What a query said over time.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn over(
        self,
        query: &str,
        span: (f64, f64),
        step: f64,
    ) -> Result<Vec<Found>, PreviewError> {
        let (from, to) = span;
        let path = format!(
            "/api/v1/query_range?query={}&start={from}&end={to}&step={step}",
            encoded(query)
        );
        Ok(series(&self.ask(&path, query).await?["result"]))
    }

    /// The values of a label.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn label_values(
        self,
        selector: &str,
        label: &str,
    ) -> Result<Vec<String>, PreviewError> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encoded(selector));
        let values = self.ask(&path, selector).await?;
        let values = values.as_array().cloned().unwrap_or_default();
        let text = |value: Value| value.as_str().map(ToOwned::to_owned);
        Ok(values.into_iter().filter_map(text).collect())
    }

    async fn ask(self, path: &str, query: &str) -> Result<Value, PreviewError> {
        let path = path.replace('[', "%5B").replace(']', "%5D");
        let request = Request::get(&path).header("host", self.0.to_string());
        let request = request
            .body(Empty::new())
            .map_err(|error| FetchError::Url {
                url: format!("{}{path}", self.0),
                message: error.to_string(),
            })?;
        // A refusal says why in its body.
        let answer = fetch(self.0, request, PATIENCE).await?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if said["status"] == "success" {
            return Ok(said["data"].clone());
        }
        Err(PreviewError::Refused {
            query: query.to_owned(),
            what: match said["error"].as_str() {
                Some(error) => error.to_owned(),
                None => "this is not Prometheus' answer".to_owned(),
            },
        })
    }
}

/// A panel's query as Grafana sends it: every choice is all, and the interval is given.
#[must_use]
pub fn resolved(query: &str, rate_interval: &str) -> String {
    let mut text = query.replace("$__rate_interval", rate_interval);
    while let Some(at) = text.find('$') {
        let rest = &text[at + 1..];
        let length = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(rest.len());
        text.replace_range(at..=at + length, ANY);
    }
    text
}

/// Pictures that were drawn.
#[derive(Serialize)]
struct Drawn {
    pictures: Vec<Picture>,
}

#[derive(Serialize)]
struct Picture {
    file: PathBuf,
    panels: usize,
    without_data: usize,
}

impl Text for Drawn {
    fn text(&self, out: &mut dyn Write) -> fmt::Result {
        for picture in &self.pictures {
            let Picture {
                file,
                panels,
                without_data,
            } = picture;
            let file = file.display();
            writeln!(out, "{file}: {panels} panels, {without_data} without data")?;
        }
        Ok(())
    }
}

/// Draws all dashboards.
pub(super) fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let unwritten = |path: &Path, error: std::io::Error| {
        Finding::new(&code::NOT_WRITTEN, error.to_string()).in_file(path)
    };
    fs::create_dir_all(&arguments.to).map_err(|error| unwritten(&arguments.to, error))?;
    let mut pictures = Vec::new();
    for (name, dashboard) in all()? {
        let (drawn, panels, without_data) = runtime::run(draw(&dashboard, arguments))??;
        let file = arguments.to.join(name).with_extension("svg");
        fs::write(&file, drawn).map_err(|error| unwritten(&file, error))?;
        pictures.push(Picture {
            file,
            panels,
            without_data,
        });
    }
    options.show(&Drawn { pictures })?;
    Ok(Outcome::Well)
}

impl From<PreviewError> for Finding {
    fn from(error: PreviewError) -> Self {
        match error {
            PreviewError::Fetch(error) => error.into(),
            PreviewError::Refused { .. } => Self::new(&code::QUERY_REFUSED, error.to_string()),
        }
    }
}

/// Draws a dashboard; says how many panels there are and how many have nothing to show.
///
/// # Errors
/// When Prometheus does not answer a query.
pub async fn draw(
    dashboard: &Dashboard,
    arguments: &Arguments,
) -> Result<(String, usize, usize), PreviewError> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64().floor());
    let span = (now - f64::from(arguments.seconds), now);
    let rate_interval = format!("{}s", arguments.rate_interval);
    let prometheus = Prometheus(arguments.prometheus);
    let (mut drawn, mut bottom) = (String::new(), 0.0_f64);
    let (mut panels, mut empty) = (0, 0);
    for panel in &dashboard.panels {
        let place = Place::of(panel.grid_pos);
        bottom = bottom.max(place.y + place.height);
        if panel.kind == "row" {
            _ = writeln!(
                drawn,
                "<text x=\"12\" y=\"{}\" class=\"row\">{}</text>",
                place.y + 22.0,
                escaped(&panel.title)
            );
            continue;
        }
        panels += 1;
        let mut answers = Vec::new();
        for target in &panel.targets {
            let query = resolved(&target.expr, &rate_interval);
            let found = if panel.kind == "timeseries" {
                let step = (f64::from(arguments.seconds) / POINTS).max(1.0);
                prometheus.over(&query, span, step).await?
            } else {
                prometheus.now(&query).await?
            };
            answers.push((target, found));
        }
        empty += usize::from(answers.iter().all(|(_, found)| found.is_empty()));
        drawn.push_str(&match panel.kind.as_str() {
            "timeseries" => lines(panel, &answers, span, place),
            "stat" => stat(panel, &answers, place),
            _ => table(panel, &answers, place),
        });
    }
    let page = plot::page(&dashboard.title, WIDTH, bottom + 8.0, &drawn);
    Ok((page, panels, empty))
}

#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Place {
    fn of(grid: GridPos) -> Self {
        let column = WIDTH / 24.0;
        Self {
            x: f64::from(grid.x) * column + 4.0,
            y: f64::from(grid.y) * ROW + HEAD,
            width: f64::from(grid.w) * column - 8.0,
            height: f64::from(grid.h) * ROW - 8.0,
        }
    }
}

type Answers<'a> = [(&'a Target, Vec<Found>)];

fn lines(panel: &Panel, answers: &Answers<'_>, span: (f64, f64), place: Place) -> String {
    let series = answers.iter().flat_map(|(target, found)| {
        found.iter().map(|found| Series {
            name: legend(&target.legend_format, found),
            points: found.points.clone(),
        })
    });
    let config = panel.field_config.as_ref();
    let custom = config.map(|config| &config.defaults.custom["stacking"]["mode"]);
    Plot {
        title: panel.title.clone(),
        unit: unit(panel),
        series: series.collect(),
        span,
        stacked: custom.is_some_and(|mode| mode == "normal"),
    }
    .draw(place.x, place.y, place.width, place.height)
}

fn stat(panel: &Panel, answers: &Answers<'_>, place: Place) -> String {
    let Place {
        x,
        y,
        width,
        height,
    } = place;
    let found = answers.iter().find_map(|(_, found)| found.first());
    let value = found.and_then(|found| found.points.last().map(|point| point.1));
    let said = value.map_or_else(|| "no data".to_owned(), |value| worded(value, &unit(panel)));
    format!(
        "<g transform=\"translate({x},{y})\"><rect width=\"{width}\" height=\"{height}\" rx=\"3\" class=\"panel\"/><text x=\"10\" y=\"18\" class=\"title\">{}</text>\
         <text x=\"{}\" y=\"{}\" class=\"stat\" fill=\"{}\">{}</text></g>\n",
        escaped(&panel.title),
        width / 2.0,
        height / 2.0 + 18.0,
        color(panel, value),
        escaped(&said)
    )
}

/// The colour of the highest threshold that a value reaches.
fn color(panel: &Panel, value: Option<f64>) -> &'static str {
    let steps = panel
        .field_config
        .iter()
        .flat_map(|config| &config.defaults.thresholds.steps);
    let value = value.unwrap_or(f64::NAN);
    let mut reached = steps.filter(|step| step.value.is_none_or(|least| value >= least));
    match reached.next_back().map(|step| step.color.as_str()) {
        _ if value.is_nan() => "#99a",
        Some("red") => "#c4162a",
        Some("yellow") => "#b58900",
        _ => "#37872d",
    }
}

fn table(panel: &Panel, answers: &Answers<'_>, place: Place) -> String {
    let Place {
        x,
        y,
        width,
        height,
    } = place;
    let mut rows: BTreeMap<Vec<(String, String)>, Vec<Option<f64>>> = BTreeMap::new();
    for (index, (_, found)) in answers.iter().enumerate() {
        for found in found {
            let labels = found.labels.clone().into_iter().collect();
            let cells = rows
                .entry(labels)
                .or_insert_with(|| vec![None; answers.len()]);
            cells[index] = found.points.last().map(|point| point.1);
        }
    }
    let labels: Vec<String> = rows
        .keys()
        .next()
        .map(|labels| labels.iter().map(|(name, _)| name.clone()).collect())
        .unwrap_or_default();
    let columns = labels.len() + answers.len();
    let column = (width - 20.0) / columns.max(1) as f64;
    let fits = (column / 6.3) as usize;
    let cut = |text: &str| escaped(&text.chars().take(fits).collect::<String>());
    let mut out = format!(
        "<g transform=\"translate({x},{y})\"><rect width=\"{width}\" height=\"{height}\" rx=\"3\" class=\"panel\"/><text x=\"10\" y=\"18\" class=\"title\">{}</text>\n",
        escaped(&panel.title)
    );
    let titles = labels.iter().map(String::as_str).chain(
        answers
            .iter()
            .map(|(target, _)| target.legend_format.as_str()),
    );
    for (index, title) in titles.enumerate() {
        let at = 10.0 + column * index as f64;
        _ = writeln!(
            out,
            "<text x=\"{at:.0}\" y=\"38\" class=\"head\">{}</text>",
            cut(title)
        );
    }
    let most = ((height - 44.0) / 16.0) as usize;
    for (row, (labels, values)) in rows.iter().take(most).enumerate() {
        let values = values.iter().enumerate().map(|(index, value)| {
            let unit = column_unit(panel, index);
            value.map_or_else(String::new, |value| worded(value, &unit))
        });
        let cells = labels.iter().map(|(_, value)| value.clone()).chain(values);
        for (index, cell) in cells.enumerate() {
            let (across, down) = (10.0 + column * index as f64, 54.0 + 16.0 * row as f64);
            _ = writeln!(
                out,
                "<text x=\"{across:.0}\" y=\"{down:.0}\" class=\"cell\">{}</text>",
                cut(&cell)
            );
        }
    }
    if rows.is_empty() {
        _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" class=\"none\">no data</text>",
            width / 2.0,
            height / 2.0
        );
    }
    out.push_str("</g>\n");
    out
}

fn unit(panel: &Panel) -> String {
    let config = panel.field_config.as_ref();
    config.map_or_else(String::new, |config| config.defaults.unit.clone())
}

fn column_unit(panel: &Panel, index: usize) -> String {
    let config = panel.field_config.as_ref();
    let properties = config
        .and_then(|config| config.overrides.get(index))
        .and_then(|column| column["properties"].as_array());
    let own = properties
        .into_iter()
        .flatten()
        .find(|property| property["id"] == "unit");
    own.and_then(|property| property["value"].as_str())
        .map_or_else(|| unit(panel), ToOwned::to_owned)
}

/// The words for a series: `{{label}}` is its value.
fn legend(format: &str, found: &Found) -> String {
    let mut text = format.to_owned();
    for (label, value) in &found.labels {
        text = text.replace(&format!("{{{{{label}}}}}"), value);
    }
    // A label that a series has not is empty.
    while let Some((before, rest)) = text.split_once("{{") {
        let Some((_, after)) = rest.split_once("}}") else {
            break;
        };
        text = format!("{before}{after}");
    }
    text
}

/// The series of an answer, of either kind.
fn series(result: &Value) -> Vec<Found> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let point = |pair: &Value| Some((pair[0].as_f64()?, number(&pair[1])?));
    let results = result.as_array().into_iter().flatten();
    results
        .map(|result| {
            let labels = result["metric"].as_object().into_iter().flatten();
            let points = match result["values"].as_array() {
                Some(values) => values.iter().filter_map(point).collect(),
                None => point(&result["value"]).into_iter().collect(),
            };
            Found {
                labels: labels
                    .map(|(name, value)| {
                        (name.clone(), value.as_str().unwrap_or_default().to_owned())
                    })
                    .collect(),
                points,
            }
        })
        .collect()
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What stands for a choice of all.
const ANY: &str = ".+";
const PATIENCE: Duration = Duration::from_secs(10);
const POINTS: f64 = 200.0;
const WIDTH: f64 = 1440.0;
const ROW: f64 = 30.0;
const HEAD: f64 = 36.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn choices_are_all() {
        let query = r#"rate(a{job=~"$job", x=~"$service"}[$__rate_interval])"#;
        assert_eq!(resolved(query, "5s"), r#"rate(a{job=~".+", x=~".+"}[5s])"#);
    }

    #[test]
    fn answers_of_both_kinds_are_read() {
        let labels = json!({"a": "b"});
        let now = json!([{"metric": labels, "value": [1.5, "2"]}]);
        let over = json!([{"metric": labels, "values": [[1.5, "2"], [2.5, "NaN"]]}]);
        assert_eq!(series(&now)[0].points, [(1.5, 2.0)]);
        let over = series(&over);
        assert_eq!(over[0].labels["a"], "b");
        assert!(over[0].points[1].1.is_nan());
        assert_eq!(legend("x {{a}}{{c}}", &over[0]), "x b");
    }
}
