//! The figures of a watch as OpenTelemetry has them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric as Told, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pollscope_metrics::{Exposition, Label, Metric, Series, Type};
use prost::Message;

/// Since the watch began: it begins to count there.
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Service and process: what is told of is one resource for each pair. Both are empty for the watch itself.
type Who = (String, String);

/// One request with every figure as of `now`, encoded. Counters count from `began` on.
pub fn request(exposition: &Exposition, began: SystemTime, now: SystemTime) -> Vec<u8> {
    let (began, now) = (unix_nanos(began), unix_nanos(now));
    let mut told: BTreeMap<Who, Vec<Told>> = BTreeMap::new();
    exposition.each(|metric, labels, value| {
        let pairs = || metric.labels.iter().zip(labels);
        let of = |wanted: Label| pairs().find(|(label, _)| **label == wanted).map(|(_, value)| value.clone());
        let who = (of(Label::Service).unwrap_or_default(), of(Label::Process).unwrap_or_default());
        let others = pairs().filter(|(label, value)| !is_resource(**label) && !value.is_empty());
        let attributes = others.map(|(label, value)| attribute(label.name(), value)).collect();
        let metrics = told.entry(who).or_default();
        // Series come metric by metric.
        if metrics.last().is_none_or(|last| last.name != metric.name) {
            metrics.push(named(metric));
        }
        let data = metrics.last_mut().and_then(|metric| metric.data.as_mut());
        match (data, value) {
            (
                Some(Data::Gauge(Gauge { data_points })) | Some(Data::Sum(Sum { data_points, .. })),
                Series::Single(value),
            ) => {
                data_points.push(NumberDataPoint {
                    attributes,
                    start_time_unix_nano: began,
                    time_unix_nano: now,
                    value: Some(Value::AsDouble(*value)),
                    ..NumberDataPoint::default()
                });
            }
            (Some(Data::Histogram(Histogram { data_points, .. })), Series::Buckets { upper, sum }) => {
                data_points.push(HistogramDataPoint {
                    attributes,
                    start_time_unix_nano: began,
                    time_unix_nano: now,
                    count: upper.iter().map(|(_, count)| count).sum(),
                    sum: Some(*sum),
                    bucket_counts: upper.iter().map(|(_, count)| *count).collect(),
                    // The last one has none.
                    explicit_bounds: upper.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
                    ..HistogramDataPoint::default()
                });
            }
            _ => {}
        }
    });
    let resource_metrics = told.into_iter().map(resource).collect();
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn is_resource(label: Label) -> bool {
    matches!(label, Label::Service | Label::Process)
}

fn resource(((service, process), metrics): (Who, Vec<Told>)) -> ResourceMetrics {
    let service = if service.is_empty() { "pollscope" } else { &service };
    let mut attributes = vec![attribute("service.name", service)];
    if !process.is_empty() {
        attributes.push(attribute("service.instance.id", &process));
    }
    let (name, version) = ("pollscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let scope = Some(InstrumentationScope { name, version, ..InstrumentationScope::default() });
    let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }
}

fn named(metric: &Metric) -> Told {
    let unit = match metric.unit {
        "seconds" => "s".to_owned(),
        "bytes" => "By".to_owned(),
        "boolean" => "1".to_owned(),
        // Annotations of UCUM: what is counted.
        other => format!("{{{other}}}"),
    };
    let data = match metric.kind {
        Type::Gauge => Data::Gauge(Gauge::default()),
        Type::Counter => Data::Sum(Sum { aggregation_temporality: CUMULATIVE, is_monotonic: true, ..Sum::default() }),
        Type::Histogram => Data::Histogram(Histogram { aggregation_temporality: CUMULATIVE, ..Histogram::default() }),
    };
    let (name, description) = (metric.name.to_owned(), metric.help.trim().to_owned());
    Told { name, description, unit, data: Some(data), ..Told::default() }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
