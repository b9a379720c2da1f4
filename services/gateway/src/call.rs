//! What a request asks for, as far as a gateway has to know.

use hongbao_core::EnvelopeId;
use http::Method;

/// Where a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To the owner of this envelope.
    Envelope(EnvelopeId),
    /// To the owner of the envelope that it makes.
    NewEnvelope,
    /// To any server.
    Anywhere,
}

/// A request that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) place: Place,
    /// Whether it may have changed something once it was sent: then nobody but
    /// the client may send it again.
    pub(crate) changes: bool,
}

impl Call {
    /// `None` if no server answers this to a client: operators talk to servers
    /// themselves, and what is no id names no envelope.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Call> {
        if path == "/openapi.json" {
            return Some(Call { place: Place::Anywhere, changes: false });
        }
        let path = path.strip_prefix("/v1/")?;
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if path == "envelopes" {
            let place = if *method == Method::POST { Place::NewEnvelope } else { Place::Anywhere };
            return Some(Call { place, changes: !reads });
        }
        if let Some(rest) = path.strip_prefix("envelopes/") {
            let (id, verb) = rest.split_once('/').unwrap_or((rest, ""));
            let place = Place::Envelope(EnvelopeId::parse(id)?);
            return Some(Call { place, changes: !reads && verb != "grab" });
        }
        if path == "wallet" || path.starts_with("wallet/") || path.starts_with("dev/") {
            return Some(Call { place: Place::Anywhere, changes: !reads && path != "dev/token" });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0199c0de-0000-7000-8000-000000000001";

    fn call(method: Method, path: &str) -> Option<(Place, bool)> {
        Call::of(&method, &path.replace("{id}", ID)).map(|call| (call.place, call.changes))
    }

    #[test]
    fn a_call_goes_to_its_envelope_s_owner_or_anywhere() {
        let envelope = Place::Envelope(EnvelopeId::parse(ID).unwrap());
        assert_eq!(call(Method::POST, "/v1/envelopes"), Some((Place::NewEnvelope, true)));
        assert_eq!(call(Method::POST, "/v1/envelopes/{id}/open"), Some((envelope, true)));
        assert_eq!(call(Method::POST, "/v1/envelopes/{id}/pay"), Some((envelope, true)));
        assert_eq!(call(Method::POST, "/v1/envelopes/{id}/grab"), Some((envelope, false)));
        assert_eq!(call(Method::GET, "/v1/envelopes/{id}"), Some((envelope, false)));
        assert_eq!(call(Method::GET, "/v1/wallet"), Some((Place::Anywhere, false)));
        assert_eq!(call(Method::GET, "/v1/wallet/transfers"), Some((Place::Anywhere, false)));
        assert_eq!(call(Method::POST, "/v1/dev/token"), Some((Place::Anywhere, false)));
        assert_eq!(call(Method::POST, "/v1/dev/top-up"), Some((Place::Anywhere, true)));
        assert_eq!(call(Method::GET, "/openapi.json"), Some((Place::Anywhere, false)));
    }

    #[test]
    fn what_no_client_may_ask_or_nothing_is_named_by_goes_nowhere() {
        for path in [
            "/",
            "",
            "/v1",
            "/v1/",
            "/v2/wallet",
            "/v1/operator/permits",
            "/v1/walletx",
            "/v1//operator/permits",
            "/v1/envelopes/",
            "/v1/envelopes/1",
            "/v1/envelopes//open",
            "/metrics",
        ] {
            assert_eq!(call(Method::GET, path), None, "{path}");
        }
    }

    #[test]
    fn a_method_that_nobody_knows_is_taken_for_one_that_changes() {
        assert!(call(Method::DELETE, "/v1/envelopes/{id}").unwrap().1);
        assert!(call(Method::PUT, "/v1/wallet").unwrap().1);
    }
}
