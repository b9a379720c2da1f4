//! A retry before its `Retry-After` is delayed until then, and does not reach the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hongbao_core::limits::ADMISSION_ANSWERS_MIN;
use hongbao_http::{Code, Outer, Problem, ServeOptions};
use http::{Request, StatusCode};

const OPEN: &str = "/v1/envelopes/0/open";
/// Far below every `Retry-After`.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A service without room, and how often it was asked.
struct Full {
    outer: Outer,
    asked: Arc<AtomicU32>,
}

/// A request to open.
#[derive(Clone, Copy)]
struct Ask {
    method: &'static str,
    path: &'static str,
    marked: bool,
}

const LI_OPENS: Ask = Ask { method: "POST", path: OPEN, marked: false };

impl Full {
    fn new(options: &ServeOptions) -> Full {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        let router = Router::new().fallback(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Problem::new(Code::Busy, "full")
        });
        Full { outer: Outer::over(router, options), asked }
    }

    /// Asks as this user, and is refused; gives the seconds of `Retry-After`.
    async fn ask(&self, user: &str, Ask { method, path, marked }: Ask) -> u64 {
        let mut request = Request::builder().method(method).uri(path).header("host", "x");
        request = request.header("authorization", format!("Bearer {user}"));
        if marked {
            request = request.header("x-hongbao-rehearsal", "1");
        }
        let answer: Response = self.outer.answer(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        answer.headers()["retry-after"].to_str().unwrap().parse().unwrap()
    }

    /// How often the service was asked while this went on, and how long it took.
    async fn while_doing<T>(&self, work: impl Future<Output = T>) -> (u32, Duration) {
        let (before, began) = (self.asked.load(Ordering::Relaxed), Instant::now());
        work.await;
        (self.asked.load(Ordering::Relaxed) - before, began.elapsed())
    }

    async fn refuse_many(&self) {
        for number in 0..ADMISSION_ANSWERS_MIN {
            self.ask(&format!("user{number}"), LI_OPENS).await;
        }
    }
}

#[tokio::test]
async fn a_retry_before_its_retry_after_is_delayed_until_then_and_other_requests_are_not() {
    let full = Full::new(&ServeOptions::default());
    full.ask("li", LI_OPENS).await;
    let (asked, took) = full.while_doing(full.ask("li", LI_OPENS)).await;
    assert!(asked == 1 && took < AT_ONCE, "one refusal is no storm");
    full.refuse_many().await;
    let retry_after_s = full.ask("zhao", LI_OPENS).await;

    // During its delay an equal request is refused at once, and other requests are not delayed.
    let first = full.while_doing(full.ask("zhao", LI_OPENS));
    let others = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (asked, took) = full.while_doing(full.ask("zhao", LI_OPENS)).await;
        assert!(asked == 0 && took < AT_ONCE, "one waits already: {asked}, {took:?}");
        for (ask, user, why) in [
            (LI_OPENS, "wang", "somebody else"),
            (Ask { marked: true, ..LI_OPENS }, "zhao", "a rehearsal"),
            (Ask { path: "/v1/envelopes/1/open", ..LI_OPENS }, "zhao", "another envelope"),
            (Ask { path: "/v1/envelopes", ..LI_OPENS }, "zhao", "a creation"),
            (Ask { path: "/v1/envelopes", ..LI_OPENS }, "zhao", "each that is made is another one"),
            (Ask { method: "GET", path: "/v1/operator/permits", ..LI_OPENS }, "zhao", "an operator"),
            (Ask { method: "GET", path: "/v1/operator/permits", ..LI_OPENS }, "zhao", "an operator again"),
        ] {
            let (asked, took) = full.while_doing(full.ask(user, ask)).await;
            assert!(asked == 1 && took < AT_ONCE, "{why}");
        }
    };
    let ((asked, took), ()) = tokio::join!(first, others);
    assert_eq!(asked, 7 + 1, "the others, and then itself");
    assert!(
        took > Duration::from_secs(retry_after_s) - AT_ONCE && took < Duration::from_secs(retry_after_s) + AT_ONCE,
        "{took:?}"
    );
}

#[tokio::test]
async fn what_a_gateway_passes_on_too_early_is_refused_at_once() {
    let full = Full::new(&ServeOptions::default().behind_a_gateway());
    full.refuse_many().await;
    full.ask("li", LI_OPENS).await;
    let (asked, took) = full.while_doing(full.ask("li", LI_OPENS)).await;
    assert!(asked == 0 && took < AT_ONCE, "{asked}, {took:?}");
}
