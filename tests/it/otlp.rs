//! Metrics pushed to an OpenTelemetry collector: a small one of our own decodes what comes.

use crate::tool::pollscope;
use crate::watch::{PATIENCE, Watching, service, until};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point::Value};
use pollscope_metrics::TABLE;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use tempfile::tempdir;

/// A collector.
struct Collector {
    url: String,
    requests: Receiver<ExportMetricsServiceRequest>,
    /// Answers that there is no room.
    full: Arc<AtomicBool>,
}

fn collector() -> Collector {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = full.clone();
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let head: Vec<String> =
                stream.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            assert_eq!(head[0], "POST /v1/metrics HTTP/1.1");
            assert!(head.iter().any(|line| line == "Content-Type: application/x-protobuf"), "{head:?}");
            let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let full = is_full.load(Ordering::Relaxed);
            let answer = if full { "503 Service Unavailable" } else { "200 OK" };
            write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").unwrap();
            if !full && sender.send(ExportMetricsServiceRequest::decode(&*body).unwrap()).is_err() {
                break;
            }
        }
    });
    Collector { url, requests, full }
}

fn has(attributes: &[KeyValue], key: &str, wanted: &str) -> bool {
    attributes.iter().any(|one| {
        let value = one.value.as_ref().and_then(|value| value.value.clone());
        one.key == key && value == Some(any_value::Value::StringValue(wanted.to_owned()))
    })
}

/// The metrics of the resource whose `service.name` this is.
fn of(request: &ExportMetricsServiceRequest, service: &str) -> Vec<Metric> {
    let resources = request.resource_metrics.iter();
    let own = resources.filter(|one| has(&one.resource.as_ref().unwrap().attributes, "service.name", service));
    own.flat_map(|one| &one.scope_metrics).flat_map(|scope| scope.metrics.clone()).collect()
}

/// Attributes and values of a metric's points, and whether they only grow.
fn points<'a>(metrics: &'a [Metric], name: &str) -> (Vec<(&'a [KeyValue], f64)>, bool) {
    let data = metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.as_ref());
    let (points, grows) = match data {
        Some(Data::Gauge(gauge)) => (&gauge.data_points, false),
        Some(Data::Sum(sum)) => (&sum.data_points, sum.is_monotonic && sum.aggregation_temporality == 2),
        _ => return (Vec::new(), false),
    };
    let number = |value: &Option<Value>| match value {
        Some(Value::AsDouble(value)) => *value,
        other => panic!("{name} is {other:?}"),
    };
    (points.iter().map(|point| (&*point.attributes, number(&point.value))).collect(), grows)
}

#[test]
fn a_fault_in_a_running_service_is_pushed_to_a_collector() {
    let place = tempdir().unwrap();
    let collector = collector();
    let watch = Watching::start(place.path(), &["watch", ".", "--otlp", &collector.url]);
    let _service = service(place.path());
    until(&watch.stdout, "critical: thread-wait-in-task");
    let metrics = loop {
        let request = collector.requests.recv_timeout(PATIENCE).unwrap();
        let metrics = of(&request, "never_returns");
        let (active, grows) = points(&metrics, "pollscope_finding_active");
        if active.iter().any(|(labels, value)| has(labels, "kind", "thread-wait-in-task") && *value == 1.0) {
            assert!(!grows);
            assert_eq!(
                points(&of(&request, "pollscope"), "pollscope_watch_failures_total"),
                (vec![(&[][..], 0.0)], true)
            );
            break metrics;
        }
    };
    let (events, grows) = points(&metrics, "pollscope_events_total");
    assert!(grows && events.len() == 1 && events[0].1 > 0.0, "{events:?}");
    let (open, _) = points(&metrics, "pollscope_line_open_stalls");
    assert!(open.iter().any(|(labels, open)| has(labels, "file", "tests/programs/never_returns.rs") && *open == 1.0));
    let duration = metrics.iter().find(|metric| metric.name == "pollscope_poll_duration_seconds").unwrap();
    let Some(Data::Histogram(histogram)) = &duration.data else { panic!("{duration:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((duration.unit.as_str(), point.bucket_counts.len()), ("s", point.explicit_bounds.len() + 1));
    assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
    assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano <= point.time_unix_nano);
    for metric in &metrics {
        assert!(TABLE.iter().any(|known| known.name == metric.name && metric.description == known.help.trim()));
    }

    // One that has no room is told of once, and pushed to again.
    collector.full.store(true, Ordering::Relaxed);
    let told = until(&watch.stderr, "cannot push metrics");
    assert!(told.contains("503") && told.contains(&collector.url), "{told}");
    collector.full.store(false, Ordering::Relaxed);
    while collector.requests.try_recv().is_ok() {}
    collector.requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn what_is_no_collector_is_refused() {
    let place = tempdir().unwrap();
    for (url, part) in [
        ("https://127.0.0.1:4318", "is not plain HTTP"),
        ("127.0.0.1:4318", "is no address of a collector"),
        ("http://a b/", "is no address of a collector"),
    ] {
        let said = pollscope(place.path(), &["watch", ".", "--otlp", url]);
        assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.lines().count() == 1 && said.stderr.contains(part), "{said:?}");
    }
}
