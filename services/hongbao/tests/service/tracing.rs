//! What happened to a request is found by its trace: in the logs of the processes that it
//! came through, and, where a collector is named, in the spans that they export.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::Value;

use crate::rehearsal_installation::Installation;
use crate::support::{Folder, Service, command_in, lucky, wait_until};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";
const SOON: Duration = Duration::from_secs(30);

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE_ID}-{CLIENT_SPAN}-{flags}")
}

/// The lines of a log in JSON that say this.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

/// A collector of traces on loopback, and what it was sent: the role of the process and a span.
struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<(String, Span)>>>,
    connections: Arc<Mutex<usize>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (spans, connections) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<usize>>::default());
        let (taken, counted) = (spans.clone(), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                *counted.lock().unwrap() += 1;
                let taken = taken.clone();
                std::thread::spawn(move || while take_request(stream.as_ref().unwrap(), &taken).is_some() {});
            }
        });
        Collector { address, spans, connections }
    }

    fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// The spans of a kind that it has of processes of a role.
    fn spans(&self, role: &str, name: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap();
        spans.iter().filter(|(of, span)| of == role && span.name == name).map(|(_, span)| span.clone()).collect()
    }
}

/// Reads one export and answers it; `None` at the end of the connection.
fn take_request(mut stream: &TcpStream, taken: &Mutex<Vec<(String, Span)>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| !line.is_empty()) {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let export = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    for resource in export.resource_spans {
        let role = text(&resource.resource.unwrap().attributes, "hongbao.role").unwrap();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        taken.lock().unwrap().extend(spans.map(|span| (role.clone(), span)));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_failed_opening_is_found_by_its_trace_from_the_client_through_gateway_and_lane() {
    let mut installation = Installation::new();
    let collector = Collector::start();
    assert_eq!(installation.run("migrate", &[]).0, Some(0));
    let endpoint = collector.endpoint();
    let environment =
        [("HONGBAO_LOG__FORMAT", "json"), ("HONGBAO_OTLP__ENDPOINT", endpoint.as_str()), ("HONGBAO_DEV_CALLS", "true")];
    let mut processes: Vec<_> =
        ["server", "worker", "gateway"].map(|role| installation.start_with(role, &environment)).into();
    let li = installation.user("li");
    wait_until(SOON, "the gateway to be ready", || li.get("/readyz").status == 200);
    li.top_up(1_000);
    let id = li.send(&lucky(100, 10));
    let ticket = li.ticket(&id);
    installation.kill_database();
    let traced = li.with_header("traceparent", &traceparent("01")).with_header("x-request-id", "r-traced");
    let answer = traced.open(&id, &ticket);
    assert!(answer.status >= 500, "{answer:?}");

    let of_the_server = || {
        let mut failed = lines(&installation.log(), "a request failed").into_iter();
        failed.find(|line| line["request_id"] == "r-traced" && line["batch_span_id"].is_string())
    };
    wait_until(SOON, "the server's line", || of_the_server().is_some());
    let failed = of_the_server().unwrap();
    assert_eq!((&failed["trace_id"], &failed["envelope_id"]), (&TRACE_ID.into(), &id.as_str().into()));
    assert_eq!((&failed["set"], &failed["call"]), (&"a".into(), &"POST /v1/envelopes/{id}/open".into()));
    assert!(failed["elapsed_ms"].as_f64().is_some_and(|elapsed_ms| elapsed_ms > 0.0), "{failed}");
    let batch = lines(&installation.log(), "a batch failed");
    let batch = batch.iter().find(|line| line["request_ids"] == "r-traced").expect("the lane logs its batch");
    assert_eq!((&batch["span_id"], &batch["openings"]), (&failed["batch_span_id"], &1.into()));
    assert_eq!(batch["envelope_id"], id);

    for process in &mut processes {
        process.end(Signal::TERM);
    }
    let of_trace = |role, name| {
        let spans = collector.spans(role, name);
        spans.into_iter().find(|span| hex(&span.trace_id) == TRACE_ID).unwrap_or_else(|| panic!("no {name} of {role}"))
    };
    let (gateway, server) = (of_trace("gateway", "request"), of_trace("server", "request"));
    assert_eq!(hex(&gateway.parent_span_id), CLIENT_SPAN);
    assert_eq!(server.parent_span_id, gateway.span_id);
    assert_eq!(failed["span_id"], hex(&server.span_id));
    assert_eq!(text(&gateway.attributes, "set").as_deref(), Some("a"));
    assert_eq!(text(&server.attributes, "request_id").as_deref(), Some("r-traced"));
    assert!(server.start_time_unix_nano < server.end_time_unix_nano);
    assert!(server.status.is_some_and(|status| status.code == 2), "an error");
    let batches = collector.spans("server", "batch");
    let batch = batches.iter().find(|span| batch["span_id"] == hex(&span.span_id)).expect("the batch is exported");
    let links: Vec<_> = batch.links.iter().map(|link| (hex(&link.trace_id), link.span_id.clone())).collect();
    assert_eq!(links, [(TRACE_ID.to_owned(), server.span_id.clone())]);
}

#[test]
fn a_bad_traceparent_begins_a_new_trace_and_is_never_refused() {
    let service = Service::start("[log]\nformat = 'json'\nlevel = 'debug'\n");
    let uppercase = traceparent("01").to_uppercase();
    for (number, bad) in
        ["", "00-0-0-0", &uppercase, "ff-a", "\t", &format!("{}-x", traceparent("00"))].iter().enumerate()
    {
        let request_id = format!("r-{number}");
        let user = service.user("li").with_header("traceparent", bad).with_header("x-request-id", &request_id);
        assert_eq!(user.get("/v1/wallet").status, 200, "{bad:?}");
        let answered = lines(&service.log(), "a request was answered");
        let line = answered.iter().find(|line| line["request_id"] == request_id).expect("details are logged");
        let trace_id = line["trace_id"].as_str().unwrap();
        assert!(trace_id.len() == 32 && trace_id != TRACE_ID, "{line}");
    }
}

#[test]
fn nothing_is_exported_unless_the_settings_name_a_collector() {
    let (folder, collector) = (Folder::new(), Collector::start());
    let mut command = command_in(&folder, "");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address));
    let mut service = Service::try_run(&folder, command).unwrap();
    let traced = service.user("li").with_header("traceparent", &traceparent("01"));
    assert_eq!(traced.get("/v1/wallet").status, 200);
    service.terminate();
    assert_eq!(service.wait().code(), Some(0));
    assert_eq!(*collector.connections.lock().unwrap(), 0);

    let mut command = command_in(&folder, "");
    command.env("HONGBAO_OTLP__ENDPOINT", collector.endpoint()).env("HONGBAO_OTLP__SAMPLED", "0.0");
    let mut service = Service::try_run(&folder, command).unwrap();
    let user = service.user("li");
    assert_eq!(user.get("/v1/wallet").status, 200, "its trace begins here, and none of these is recorded");
    assert_eq!(user.with_header("traceparent", &traceparent("01")).get("/v1/wallet").status, 200);
    service.terminate();
    assert_eq!(service.wait().code(), Some(0));
    assert_eq!(collector.spans("dev", "request").len(), 1);
}

#[test]
fn a_collector_that_never_answers_is_named_in_the_log_and_holds_up_no_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    let mut service =
        Service::start(&format!("[log]\nformat = 'json'\n[otlp]\nendpoint = '{endpoint}'\nsampled = 1.0\n"));
    assert_eq!(service.user("li").get("/v1/wallet").status, 200);
    service.terminate();
    assert_eq!(service.wait().code(), Some(0));
    let lost = lines(&service.log(), "spans are lost: the collector cannot be reached or does not take them");
    assert!(lost[0]["error"].as_str().is_some_and(|error| error.starts_with("no answer within")), "{lost:?}");
}
