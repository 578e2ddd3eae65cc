//! Panels → Grafana's JSON.

use serde_json::{Value, json};

use super::{
    grafana::{
        Annotations, Dashboard, DataSource, Defaults, FieldConfig, GridPos, Link, Panel, Step,
        Target, Templating, Thresholds, TimeRange, Variable,
    },
    metrics::Table,
    panels::{self, Board, PanelKind},
    promql::{self, QueryError},
};

/// A source that makes no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum PanelError {
    /// A query is none.
    #[error("{title}: `{query}`: {error}")]
    Query {
        /// Panel.
        title: String,
        /// Its query.
        query: String,
        /// Why.
        error: QueryError,
    },
    /// A metric is not in the table.
    #[error("{title}: {name} is not in the table of metrics")]
    Metric {
        /// Panel or variable.
        title: String,
        /// What it names.
        name: String,
    },
}

/// Makes a dashboard.
///
/// # Errors
/// When a query is none, or names a metric that is not in the table.
pub fn dashboard(board: &Board, table: &Table) -> Result<Dashboard, PanelError> {
    Ok(Dashboard {
        annotations: Annotations::default(),
        description: board.description.trim_end().to_owned(),
        editable: false,
        fiscal_year_start_month: 0,
        graph_tooltip: SHARED_CROSSHAIR,
        links: vec![link()],
        panels: panels(board, table)?,
        refresh: "10s".to_owned(),
        schema_version: SCHEMA_VERSION,
        tags: vec![TAG.to_owned()],
        templating: Templating {
            list: variables(board, table)?,
        },
        time: TimeRange {
            from: "now-30m".to_owned(),
            to: "now".to_owned(),
        },
        timezone: "browser".to_owned(),
        title: board.title.clone(),
        uid: board.uid.clone(),
    })
}

fn link() -> Link {
    Link {
        as_dropdown: false,
        icon: "external link".to_owned(),
        include_vars: false,
        keep_time: true,
        tags: vec![TAG.to_owned()],
        target_blank: false,
        title: "Carbyne".to_owned(),
        tooltip: String::new(),
        kind: "dashboards".to_owned(),
        url: String::new(),
    }
}

fn variables(board: &Board, table: &Table) -> Result<Vec<Variable>, PanelError> {
    let jobs = &board.jobs;
    let mut list = vec![
        Variable::data_source(),
        Variable::values("job", "Job", format!("label_values({jobs}, job)")),
        Variable::values(
            "instance",
            "Instance",
            format!("label_values({jobs}{{job=~\"$job\"}}, instance)"),
        ),
    ];
    for variable in &board.variables {
        let panels::Variable {
            name,
            label,
            metric,
            value,
        } = variable;
        known(name, metric, table)?;
        let value = value.as_ref().unwrap_or(name);
        let query = format!("label_values({metric}{{{SCOPE}}}, {value})");
        list.push(Variable::values(name, label, query));
    }
    known("job", jobs, table)?;
    Ok(list)
}

fn known(title: &str, name: &str, table: &Table) -> Result<(), PanelError> {
    if table.selected(name).is_some() {
        return Ok(());
    }
    Err(PanelError::Metric {
        title: title.to_owned(),
        name: name.to_owned(),
    })
}

fn panels(board: &Board, table: &Table) -> Result<Vec<Panel>, PanelError> {
    let mut made = Vec::new();
    let mut below = 0;
    for row in &board.rows {
        made.push(heading(&row.row, next_id(&made), below));
        below += 1;
        let (mut right, mut tallest) = (0, 0);
        for panel in &row.panels {
            let height = match panel.kind {
                PanelKind::Stat => 4,
                PanelKind::TimeSeries => 8,
                PanelKind::Table => 9,
            };
            if right + panel.width > COLUMNS {
                below += tallest;
                (right, tallest) = (0, 0);
            }
            let place = GridPos {
                h: height,
                w: panel.width,
                x: right,
                y: below,
            };
            right += panel.width;
            tallest = tallest.max(height);
            made.push(self::panel(panel, next_id(&made), place, table)?);
        }
        below += tallest;
    }
    Ok(made)
}

fn next_id(made: &[Panel]) -> u32 {
    made.last().map_or(1, |last| last.id + 1)
}

fn heading(title: &str, id: u32, below: u32) -> Panel {
    Panel {
        collapsed: Some(false),
        datasource: None,
        description: String::new(),
        field_config: None,
        grid_pos: GridPos {
            h: 1,
            w: COLUMNS,
            x: 0,
            y: below,
        },
        id,
        options: Value::Null,
        panels: Some(Vec::new()),
        targets: Vec::new(),
        title: title.to_owned(),
        transformations: Vec::new(),
        kind: "row".to_owned(),
    }
}

fn panel(
    panel: &panels::Panel,
    id: u32,
    place: GridPos,
    table: &Table,
) -> Result<Panel, PanelError> {
    let is_table = panel.kind == PanelKind::Table;
    let targets = panel.queries.iter().zip('A'..).map(|(query, letter)| {
        let refuse = |error| PanelError::Query {
            title: panel.title.clone(),
            query: query.query.clone(),
            error,
        };
        let expr = promql::completed(query.query.trim(), SCOPE, RATE_INTERVAL).map_err(refuse)?;
        let read = promql::parse(&expr, promql::Ranges::Written).map_err(refuse)?;
        for selector in &read.selectors {
            known(&panel.title, &selector.name, table)?;
        }
        Ok(Target {
            datasource: DataSource::CHOSEN,
            editor_mode: "code",
            expr,
            format: is_table.then_some("table"),
            instant: is_table,
            legend_format: query.legend.clone(),
            range: !is_table,
            ref_id: letter.to_string(),
        })
    });
    Ok(Panel {
        collapsed: None,
        datasource: Some(DataSource::CHOSEN),
        description: panel.description.trim_end().to_owned(),
        field_config: Some(FieldConfig {
            defaults: Defaults {
                custom: custom(panel),
                max: panel.max,
                min: 0.0,
                thresholds: thresholds(&panel.thresholds),
                unit: panel.unit.clone(),
            },
            overrides: if is_table { columns(panel) } else { Vec::new() },
        }),
        grid_pos: place,
        id,
        options: options(panel.kind),
        panels: None,
        targets: targets.collect::<Result<_, _>>()?,
        title: panel.title.clone(),
        transformations: if is_table {
            vec![
                json!({"id": "merge", "options": {}}),
                json!({"id": "organize", "options": {"excludeByName": {"Time": true}}}),
            ]
        } else {
            Vec::new()
        },
        kind: match panel.kind {
            PanelKind::TimeSeries => "timeseries",
            PanelKind::Stat => "stat",
            PanelKind::Table => "table",
        }
        .to_owned(),
    })
}

fn custom(panel: &panels::Panel) -> Value {
    match panel.kind {
        PanelKind::TimeSeries => {
            let stacking = if panel.stacked { "normal" } else { "none" };
            json!({
                "drawStyle": "line",
                "fillOpacity": if panel.stacked { 40 } else { 8 },
                "lineWidth": 1,
                "showPoints": "never",
                "spanNulls": false,
                "stacking": {"group": "A", "mode": stacking},
                "thresholdsStyle": {"mode": if panel.thresholds.is_empty() { "off" } else { "dashed" }},
            })
        }
        PanelKind::Stat => json!({}),
        PanelKind::Table => json!({"align": "auto", "filterable": true}),
    }
}

fn options(kind: PanelKind) -> Value {
    match kind {
        PanelKind::TimeSeries => json!({
            "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": true},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        PanelKind::Stat => json!({
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "textMode": "auto",
        }),
        PanelKind::Table => json!({"cellHeight": "sm", "showHeader": true}),
    }
}

/// Values of a table are named `Value #A`; people read the legend.
fn columns(panel: &panels::Panel) -> Vec<Value> {
    let named = panel.queries.iter().zip('A'..).map(|(query, letter)| {
        let mut properties = vec![json!({"id": "displayName", "value": query.legend})];
        if let Some(unit) = &query.unit {
            properties.push(json!({"id": "unit", "value": unit}));
        }
        // A single query's values have no letter.
        let name = if panel.queries.len() == 1 {
            "Value".to_owned()
        } else {
            format!("Value #{letter}")
        };
        json!({"matcher": {"id": "byName", "options": name}, "properties": properties})
    });
    named.collect()
}

fn thresholds(given: &[(f64, String)]) -> Thresholds {
    // Where what is high is good, what is lowest is bad; and the other way round.
    let high_is_good = given.iter().any(|(_, color)| color == "green");
    let base = if high_is_good { "red" } else { "green" };
    let base = Step {
        color: base.to_owned(),
        value: None,
    };
    let given = given.iter().map(|(value, color)| Step {
        color: color.clone(),
        value: Some(*value),
    });
    Thresholds {
        mode: "absolute",
        steps: std::iter::once(base).chain(given).collect(),
    }
}

/// What every selector has.
pub const SCOPE: &str = "job=~\"$job\", instance=~\"$instance\"";
/// The interval of every rate: Grafana makes it four scrapes at least.
pub const RATE_INTERVAL: &str = "$__rate_interval";
const SCHEMA_VERSION: u32 = 39;
const SHARED_CROSSHAIR: u32 = 1;
const COLUMNS: u32 = 24;
const TAG: &str = "carbyne";
