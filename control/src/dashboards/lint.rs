//! What a dashboard must be, without a Grafana: the rules of grafana/dashboard-linter by their names, and three of our own
//! (`metric-known`, `counter-rate` by the table's kinds, `panel-place`).

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::{
    generate::RATE_INTERVAL,
    metrics::{Kind, Table},
    promql::{self, Query, Ranges, Selector},
};

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// Panel or variable; empty for the dashboard itself.
    pub place: String,
    /// How it is broken.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, place, what } = self;
        if place.is_empty() {
            write!(f, "{what} ({rule})")
        } else {
            write!(f, "{place}: {what} ({rule})")
        }
    }
}

/// Everything that is wrong with a dashboard.
#[must_use]
pub fn dashboard(dashboard: &Value, table: &Table) -> Vec<Finding> {
    let mut lint = Lint {
        table,
        place: String::new(),
        found: Vec::new(),
    };
    if dashboard["editable"] != false {
        lint.find("uneditable-dashboard", "`editable` is not false");
    }
    for key in ["title", "uid", "description"] {
        if text(dashboard, key).is_empty() {
            let what = format!("it has no {key}");
            lint.find("dashboard-title-description", &what);
        }
    }
    lint.variables(dashboard);
    let panels = list(dashboard, "panels");
    lint.places(panels);
    for panel in panels {
        lint.panel(panel);
    }
    lint.found
}

/// How many panels and queries it has, those of variables among them.
#[must_use]
pub fn counts(dashboard: &Value) -> (usize, usize) {
    let panels = list(dashboard, "panels");
    let queries = panels.iter().map(|panel| list(panel, "targets").len());
    let variables = list(&dashboard["templating"], "list").iter();
    let variables = variables.filter(|variable| variable["type"] == "query");
    (
        panels.iter().filter(|panel| panel["type"] != "row").count(),
        queries.sum::<usize>() + variables.count(),
    )
}

/// What a query variable asks for: function, selector, label.
#[must_use]
pub fn label_values(query: &str) -> Option<(&str, &str)> {
    let inside = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    let (selector, label) = inside.rsplit_once(',')?;
    Some((selector.trim(), label.trim()))
}

struct Lint<'a> {
    table: &'a Table,
    place: String,
    found: Vec<Finding>,
}

impl Lint<'_> {
    fn find(&mut self, rule: &'static str, what: &str) {
        self.found.push(Finding {
            rule,
            place: self.place.clone(),
            what: what.to_owned(),
        });
    }

    fn variables(&mut self, dashboard: &Value) {
        let variables = list(&dashboard["templating"], "list");
        let named = |name: &str| variables.iter().find(|variable| variable["name"] == name);
        match named("datasource") {
            Some(source) if source["type"] == "datasource" && source["query"] == "prometheus" => {
                if source["label"] != "Data source" {
                    self.find("template-datasource-rule", "its label is not `Data source`");
                }
            }
            _ => self.find(
                "template-datasource-rule",
                "there is no choice `datasource` of a Prometheus",
            ),
        }
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let rule = if name == "job" {
                "template-job-rule"
            } else {
                "template-instance-rule"
            };
            let Some(variable) = named(name) else {
                self.find(rule, &format!("there is no choice `{name}`"));
                continue;
            };
            if variable["label"] != label {
                self.find(rule, &format!("the label of `{name}` is not `{label}`"));
            }
        }
        for variable in variables {
            if variable["type"] == "query" {
                self.place = format!("choice `{}`", text(variable, "name"));
                self.variable(variable);
            }
        }
        self.place.clear();
    }

    fn variable(&mut self, variable: &Value) {
        if variable["multi"] != true || variable["allValue"] != ".+" {
            self.find(
                "template-variable-rule",
                "several and all (`.+`) cannot be chosen",
            );
        }
        if variable["refresh"] != 2 {
            let rule = "template-on-time-change-reload-rule";
            self.find(rule, "it is not asked again when the time changes");
        }
        if variable["datasource"]["uid"] != CHOSEN {
            self.find(
                "template-datasource-rule",
                "it does not ask the chosen data source",
            );
        }
        let query = text(variable, "query");
        let Some((selector, _)) = label_values(query) else {
            let what = format!("`{query}` is not label_values(selector, label)");
            self.find("template-label-promql-rule", &what);
            return;
        };
        match promql::parse(selector, Ranges::Written) {
            Ok(query) => {
                for selector in &query.selectors {
                    self.known(selector);
                }
            }
            Err(error) => self.find("template-label-promql-rule", &error.to_string()),
        }
    }

    /// Panels have numbers of their own and do not lie on each other.
    fn places(&mut self, panels: &[Value]) {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels {
            self.place = format!("panel `{}`", text(panel, "title"));
            if !ids.insert(panel["id"].as_u64()) {
                self.find("panel-place", "another has its number");
            }
            let side = |name: &str| panel["gridPos"][name].as_u64().unwrap_or(0);
            let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
            if w == 0 || h == 0 || x + w > 24 {
                self.find("panel-place", "it is not within the 24 columns");
                continue;
            }
            let mut cells = (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row)));
            if !cells.all(|cell| taken.insert(cell)) {
                self.find("panel-place", "it lies on another");
            }
        }
        self.place.clear();
    }

    fn panel(&mut self, panel: &Value) {
        if panel["type"] == "row" {
            return;
        }
        self.place = format!("panel `{}`", text(panel, "title"));
        if text(panel, "title").is_empty() || text(panel, "description").is_empty() {
            self.find(
                "panel-title-description-rule",
                "title or description is missing",
            );
        }
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        if !UNITS.contains(&unit) {
            self.find("panel-units-rule", &format!("`{unit}` is no unit"));
        }
        if panel["datasource"]["uid"] != CHOSEN {
            self.find(
                "panel-datasource-rule",
                "it does not ask the chosen data source",
            );
        }
        let targets = list(panel, "targets");
        if targets.is_empty() {
            self.find("panel-no-targets-rule", "it asks nothing");
        }
        for target in targets {
            let expression = text(target, "expr");
            match promql::parse(expression, Ranges::Written) {
                Ok(query) => self.query(&query, expression),
                Err(error) => {
                    let what = format!("`{expression}`: {error}");
                    self.find("target-promql-rule", &what);
                }
            }
            if list(panel, "targets").len() > 1 && text(target, "legendFormat").is_empty() {
                self.find("target-legend-rule", "one of several queries has no legend");
            }
        }
        self.place.clear();
    }

    fn query(&mut self, query: &Query, expression: &str) {
        for selector in &query.selectors {
            for (label, rule) in [
                ("job", "target-job-rule"),
                ("instance", "target-instance-rule"),
            ] {
                if selector.matcher(label, "=~") != Some(&format!("${label}")) {
                    self.find(rule, &format!("{selector} has no {label}=~\"${label}\""));
                }
            }
            let rated = selector.is_directly_in(&RATES);
            if rated && selector.range.as_deref() != Some(RATE_INTERVAL) {
                let what = format!("the range of {selector} is not {RATE_INTERVAL}");
                self.find("target-rate-interval-rule", &what);
            }
            self.kind(selector, rated);
        }
        if expression.contains("histogram_quantile") {
            let buckets = query.selectors.iter().filter(|selector| {
                selector
                    .within
                    .iter()
                    .any(|name| name == "histogram_quantile")
            });
            for selector in buckets {
                if !selector.name.ends_with("_bucket") {
                    let what = format!("histogram_quantile of {selector}, which has no buckets");
                    self.find("target-histogram-rule", &what);
                }
            }
        }
    }

    fn kind(&mut self, selector: &Selector, rated: bool) {
        let Some((kind, part)) = self.known(selector) else {
            return;
        };
        let grows = kind == Kind::Counter || !part.is_empty();
        if grows && !rated {
            let what = format!("{selector} only grows: it must stand in rate or increase");
            self.find("target-counter-agg-rule", &what);
        }
        // nginx's totals are gauges in Kong.
        if rated && !grows && !selector.name.starts_with("kong_nginx_") {
            let what = format!("{selector} goes up and down: it has no rate");
            self.find("counter-rate", &what);
        }
        if kind == Kind::Histogram && part.is_empty() {
            let what = format!("{selector} is a histogram: one of its parts is meant");
            self.find("metric-known", &what);
        }
    }

    fn known(&mut self, selector: &Selector) -> Option<(Kind, &'static str)> {
        let Some((metric, part)) = self.table.selected(&selector.name) else {
            let what = format!("`{selector}` is not in the table of metrics");
            self.find("metric-known", &what);
            return None;
        };
        let kind = metric.kind;
        let strange: Vec<String> = selector
            .matchers
            .iter()
            .map(|matcher| matcher.label.clone())
            .filter(|label| !SCRAPED.contains(&label.as_str()) && !metric.labels.contains(label))
            .collect();
        for label in strange {
            self.find("metric-known", &format!("{selector} has no label {label}"));
        }
        Some((kind, part))
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

const CHOSEN: &str = "${datasource}";
const RATES: [&str; 3] = ["rate", "irate", "increase"];
/// Labels that a scrape adds.
const SCRAPED: [&str; 3] = ["job", "instance", "le"];
/// Those of Grafana's units that make sense for what we measure.
const UNITS: [&str; 33] = [
    "none",
    "short",
    "string",
    "percent",
    "percentunit",
    "bytes",
    "decbytes",
    "bits",
    "Bps",
    "binBps",
    "bps",
    "pps",
    "s",
    "ms",
    "µs",
    "ns",
    "m",
    "h",
    "d",
    "dtdurations",
    "dateTimeAsIso",
    "hertz",
    "ops",
    "reqps",
    "rps",
    "wps",
    "iops",
    "cps",
    "opm",
    "rpm",
    "bool",
    "bool_yes_no",
    "bool_on_off",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::all;
    use super::*;

    #[test]
    fn ours_have_no_findings() {
        let table = Table::built_in().unwrap();
        for (name, made) in all().unwrap() {
            let found = dashboard(&made.to_json(), &table);
            assert!(found.is_empty(), "{name}: {found:#?}");
        }
    }

    /// Each rule is broken by one change of a good dashboard, and says so.
    #[test]
    fn every_rule_can_be_broken() {
        let table = Table::built_in().unwrap();
        let good = all().unwrap()[0].1.to_json();
        type Change = fn(&mut Value);
        fn query(dashboard: &mut Value, text: &str) {
            dashboard["panels"][1]["targets"][0]["expr"] = json!(text);
        }
        let cases: &[(&str, Change)] = &[
            ("uneditable-dashboard", |it| it["editable"] = json!(true)),
            ("dashboard-title-description", |it| it["uid"] = json!("")),
            ("template-datasource-rule", |it| {
                it["templating"]["list"][0]["name"] = json!("prometheus");
            }),
            ("template-job-rule", |it| {
                it["templating"]["list"][1]["label"] = json!("job");
            }),
            ("template-instance-rule", |it| {
                it["templating"]["list"][2]["name"] = json!("pod");
            }),
            ("template-variable-rule", |it| {
                it["templating"]["list"][1]["allValue"] = json!(".*");
            }),
            ("template-on-time-change-reload-rule", |it| {
                it["templating"]["list"][1]["refresh"] = json!(1);
            }),
            ("template-label-promql-rule", |it| {
                it["templating"]["list"][1]["query"] = json!("label_values(sum(, job)");
            }),
            ("panel-place", |it| {
                it["panels"][2]["gridPos"] = it["panels"][1]["gridPos"].clone();
            }),
            ("panel-title-description-rule", |it| {
                it["panels"][1]["description"] = json!("");
            }),
            ("panel-units-rule", |it| {
                it["panels"][1]["fieldConfig"]["defaults"]["unit"] = json!("requests");
            }),
            ("panel-datasource-rule", |it| {
                it["panels"][1]["datasource"]["uid"] = json!("P1809F7CD0C75ACF3");
            }),
            ("panel-no-targets-rule", |it| {
                it["panels"][1]["targets"] = json!([]);
            }),
            ("target-promql-rule", |it| query(it, "sum(rate(")),
            ("target-job-rule", |it| {
                query(it, r#"kong_datastore_reachable{instance=~"$instance"}"#);
            }),
            ("target-instance-rule", |it| {
                query(
                    it,
                    r#"kong_datastore_reachable{job=~"$job", instance="$instance"}"#,
                );
            }),
            ("target-rate-interval-rule", |it| {
                query(
                    it,
                    r#"rate(kong_http_requests_total{job=~"$job", instance=~"$instance"}[1m])"#,
                );
            }),
            ("target-counter-agg-rule", |it| {
                query(
                    it,
                    r#"kong_http_requests_total{job=~"$job", instance=~"$instance"}"#,
                );
            }),
            ("counter-rate", |it| {
                query(
                    it,
                    r#"rate(kong_datastore_reachable{job=~"$job", instance=~"$instance"}[$__rate_interval])"#,
                );
            }),
            ("target-histogram-rule", |it| {
                query(
                    it,
                    r#"histogram_quantile(0.9, rate(kong_kong_latency_ms_sum{job=~"$job", instance=~"$instance"}[$__rate_interval]))"#,
                );
            }),
            ("metric-known", |it| {
                query(it, r#"kong_latency{job=~"$job", instance=~"$instance"}"#);
            }),
            ("metric-known", |it| {
                query(
                    it,
                    r#"kong_datastore_reachable{job=~"$job", instance=~"$instance", type="x"}"#,
                );
            }),
        ];
        for (rule, change) in cases {
            let mut bad = good.clone();
            change(&mut bad);
            let found = dashboard(&bad, &table);
            assert!(
                found.iter().any(|finding| finding.rule == *rule),
                "{rule}: {found:#?}"
            );
        }
    }
}
