//! A board as Grafana provisions it: schema version 39, that of Grafana 10.4 and later.

use serde_json::{Value, json};

use super::{Board, Panel, View};

/// To be raised with every change that users should get: Grafana replaces a provisioned board by a newer one.
const VERSION: u32 = 1;
const SCHEMA_VERSION: u32 = 39;
const COLUMNS: u8 = 24;

/// The text of a board's file.
pub(super) fn json(board: &Board) -> String {
    let (mut panels, mut y) = (Vec::new(), 0);
    for row in board.rows {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y },
            "panels": [],
        }));
        y += 1;
        let (mut x, mut tallest) = (0, 0);
        for drawn in row.panels {
            for (suffix, filter) in board.filters() {
                let height = if drawn.view == View::Stat { 4 } else { 8 };
                if x + drawn.width > COLUMNS {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                let place = json!({ "h": height, "w": drawn.width, "x": x, "y": y });
                panels.push(panel(panels.len() + 1, drawn, suffix, filter, &place));
                x += drawn.width;
                tallest = tallest.max(height);
            }
        }
        y += tallest;
    }
    let whole = json!({
        "uid": board.uid,
        "title": board.title,
        "description": board.about,
        "version": VERSION,
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["pollscope", "tokio"],
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-15m", "to": "now" },
        "timezone": "browser",
        "links": [{
            "type": "dashboards",
            "title": "pollscope",
            "tags": ["pollscope"],
            "asDropdown": false,
            "icon": "external link",
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
            "tooltip": "",
            "url": "",
        }],
        "annotations": { "list": [annotation(board)] },
        "templating": { "list": variables(board) },
        "panels": panels,
    });
    // A value made of literals and strings always has a text.
    format!("{whole:#}\n")
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// When an alert began, drawn through every panel.
fn annotation(board: &Board) -> Value {
    let service = if board.lab { "$scenario(-cured)?" } else { "$service" };
    json!({
        "name": "Alerts",
        "enable": true,
        "datasource": source(),
        "expr": format!("ALERTS{{alertname=~\"Pollscope.+\",alertstate=\"firing\",service=~\"{service}\"}}"),
        "iconColor": "red",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{kind}} {{file}}:{{line}}",
    })
}

fn variables(board: &Board) -> Vec<Value> {
    let mut variables = vec![json!({
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "includeAll": false,
        "multi": false,
        "regex": "",
        "current": {},
        "options": [],
    })];
    let queried = |name: &str, label: &str, query: &str, regex: &str, many: bool| {
        let mut variable = json!({
            "type": "query",
            "name": name,
            "label": label,
            "datasource": source(),
            "definition": query,
            "query": { "query": query, "refId": "variable", "qryType": 1 },
            "refresh": 2,
            "sort": 1,
            "hide": 0,
            "includeAll": many,
            "multi": many,
            "regex": regex,
            "current": {},
            "options": [],
        });
        if many {
            variable["allValue"] = json!(".+");
            variable["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
        }
        variable
    };
    if board.lab {
        let query = "label_values(pollscope_process_info, service)";
        variables.push(queried("scenario", "Scenario", query, "/^(?!.*-cured$).+$/", false));
    } else {
        let process = "label_values(pollscope_process_info{service=~\"$service\"}, process)";
        variables.push(queried("service", "Service", "label_values(pollscope_process_info, service)", "", true));
        variables.push(queried("process", "Process", process, "", true));
    }
    variables
}

fn panel(id: usize, panel: &Panel, suffix: &str, filter: &str, place: &Value) -> Value {
    let now = matches!(panel.view, View::Table | View::Stat);
    let targets = panel.queries.iter().zip('A'..).map(|((query, legend), letter)| {
        json!({
            "refId": letter.to_string(),
            "datasource": source(),
            "editorMode": "code",
            "expr": query.replace("$who", filter),
            "legendFormat": if legend.is_empty() { "__auto" } else { legend },
            "range": !now,
            "instant": now,
            "format": match panel.view {
                View::Table => "table",
                View::Heatmap => "heatmap",
                View::Lines | View::Stat => "time_series",
            },
        })
    });
    let (kind, options, custom) = drawing(panel.view);
    let mut whole = json!({
        "id": id,
        "type": kind,
        "title": format!("{}{suffix}", panel.title),
        "description": panel.question,
        "datasource": source(),
        "gridPos": place,
        "targets": targets.collect::<Vec<_>>(),
        "options": options,
        "fieldConfig": {
            "defaults": { "unit": panel.unit, "min": 0, "custom": custom },
            "overrides": [],
        },
    });
    if panel.view == View::Table {
        // The time of an instant query and its 1 say nothing.
        let hidden = json!({ "Time": true, "Value": panel.unit == "none" && shows_one(panel) });
        let organize = json!({ "id": "organize", "options": { "excludeByName": hidden } });
        whole["transformations"] = json!([organize]);
    }
    whole
}

/// Whether a table's query gives nothing but ones.
fn shows_one(panel: &Panel) -> bool {
    panel.queries.iter().all(|(query, _)| query.ends_with("== 1"))
}

/// Type of the panel, its options, and how its fields are drawn.
fn drawing(view: View) -> (&'static str, Value, Value) {
    match view {
        View::Lines => (
            "timeseries",
            json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            json!({ "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "spanNulls": false }),
        ),
        View::Stat => (
            "stat",
            json!({
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            json!({}),
        ),
        View::Table => {
            ("table", json!({ "showHeader": true, "cellHeight": "sm" }), json!({ "cellOptions": { "type": "auto" } }))
        }
        View::Heatmap => (
            "heatmap",
            json!({
                "calculate": false,
                "cellGap": 1,
                "color": { "mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "fill": "dark-orange", "reverse": false, "steps": 64 },
                "exemplars": { "color": "rgba(255,0,255,0.7)" },
                "filterValues": { "le": 1e-9 },
                "legend": { "show": true },
                "rowsFrame": { "layout": "auto" },
                "tooltip": { "mode": "single", "yHistogram": false, "showColorScale": false },
                "yAxis": { "axisPlacement": "left", "reverse": false, "unit": "s" },
            }),
            json!({}),
        ),
    }
}
