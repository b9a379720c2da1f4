//! Who was told to come again later and comes at once costs nothing but a look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hongbao_core::limits::ADMISSION_ANSWERS_MIN;
use hongbao_http::{Code, HttpMetrics, Outer, Problem};
use http::{Request, StatusCode};

const OPEN: &str = "/v1/envelopes/0/open";

/// A service without room, and how often it was asked.
struct Full {
    outer: Outer,
    asked: Arc<AtomicU32>,
}

impl Full {
    fn new() -> Full {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        let router = Router::new().fallback(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Problem::new(Code::Busy, "full")
        });
        Full { outer: Outer::new(router, HttpMetrics::default()), asked }
    }

    /// Whether the service behind was asked for this request, which is refused either way.
    async fn is_asked(&self, method: &str, path: &str, user: &str, marked: bool) -> bool {
        let before = self.asked.load(Ordering::Relaxed);
        let mut request = Request::builder().method(method).uri(path).header("host", "x");
        request = request.header("authorization", format!("Bearer {user}"));
        if marked {
            request = request.header("x-hongbao-rehearsal", "1");
        }
        let answer: Response = self.outer.answer(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        self.asked.load(Ordering::Relaxed) > before
    }
}

#[tokio::test]
async fn while_many_are_refused_who_comes_again_too_early_is_refused_before_the_service_is_asked() {
    let full = Full::new();
    assert!(full.is_asked("POST", OPEN, "li", false).await);
    assert!(full.is_asked("POST", OPEN, "li", false).await, "one refusal is no storm");
    for number in 0..ADMISSION_ANSWERS_MIN {
        assert!(full.is_asked("POST", OPEN, &format!("user{number}"), false).await);
    }
    assert!(full.is_asked("POST", "/v1/envelopes", "li", false).await);
    assert!(!full.is_asked("POST", OPEN, "li", false).await);
    for (method, path, user, marked, why) in [
        ("POST", OPEN, "wang", false, "somebody else"),
        ("POST", OPEN, "li", true, "a rehearsal"),
        ("POST", "/v1/envelopes/1/open", "li", false, "another envelope"),
        ("POST", "/v1/envelopes", "li", false, "each that is made is another one"),
        ("GET", "/v1/operator/permits", "li", false, "an operator"),
        ("GET", "/v1/operator/permits", "li", false, "also again"),
    ] {
        assert!(full.is_asked(method, path, user, marked).await, "{why}");
    }
}
