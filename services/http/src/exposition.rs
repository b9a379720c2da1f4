//! `GET /metrics`: what a registry holds, as text for Prometheus.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::problem::{Code, Problem};

/// `GET /metrics` of a registry to which everything has been added.
pub fn metrics_router<S: Clone + Send + Sync + 'static>(registry: Registry) -> Router<S> {
    let registry = Arc::new(registry);
    Router::new().route("/metrics", get(move |headers: HeaderMap| std::future::ready(expose(&registry, &headers))))
}

fn expose(registry: &Registry, headers: &HeaderMap) -> impl IntoResponse + use<> {
    let form = Form::asked_for(headers);
    let mut text = String::new();
    match form.write(&mut text, registry) {
        Ok(()) => Ok(([(CONTENT_TYPE, form.content_type())], text)),
        Err(error) => Err(Problem::new(Code::Internal, format!("the metrics cannot be written: {error}"))),
    }
}

/// The two texts that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The older one, which every tool reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// The one that `Accept` prefers, as the libraries of Prometheus decide it: of those with the highest quality
    /// the first, and the older text where none of the two is named. Versions that we do not write are passed over.
    fn asked_for(headers: &HeaderMap) -> Form {
        let ranges = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        let asked = ranges.flat_map(|accept| accept.split(',')).filter_map(Form::of_range);
        let best = asked.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map_or(Form::Prometheus, |(_, form)| form)
    }

    /// What one range of `Accept` asks for, and with which quality: `text/plain;version=0.0.4;q=0.5`.
    fn of_range(range: &str) -> Option<(f32, Form)> {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut version, mut quality) = ("", 1.0);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = value.trim().trim_matches('"'),
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                _ => {}
            }
        }
        let form = match (kind.as_str(), version) {
            ("text/plain", "" | "0.0.4") => Form::Prometheus,
            ("application/openmetrics-text", "" | "1.0.0") => Form::OpenMetrics,
            _ => return None,
        };
        (quality > 0.0).then_some((quality, form))
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => prometheus_text::CONTENT_TYPE,
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn write(self, to: &mut String, registry: &Registry) -> fmt::Result {
        match self {
            Form::Prometheus => prometheus_text::encode(to, registry),
            Form::OpenMetrics => text::encode(to, registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_accept_prefers() {
        // What Prometheus 2.42 sends, and what 2.28 sent.
        let usual = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let older = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                        application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.8,text/plain;q=0.7";
        for (accept, form) in [
            (usual, Form::OpenMetrics),
            (older, Form::Prometheus),
            (protobuf, Form::OpenMetrics),
            ("", Form::Prometheus),
            ("*/*", Form::Prometheus),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Prometheus),
            ("Application/OpenMetrics-Text", Form::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", Form::OpenMetrics),
            ("application/openmetrics-text;q=0", Form::Prometheus),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Form::Prometheus),
            ("text/plain,application/openmetrics-text", Form::Prometheus),
            ("text/plain;version=1.0.0,application/openmetrics-text;q=0.1", Form::OpenMetrics),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(Form::asked_for(&headers), form, "{accept}");
        }
        assert_eq!(Form::asked_for(&HeaderMap::new()), Form::Prometheus);
    }
}
