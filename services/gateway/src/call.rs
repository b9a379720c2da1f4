//! What a request asks for, as far as a gateway has to know.

use hongbao_core::EnvelopeId;
use hongbao_http::problem::{NO_SUCH_CALL, NO_SUCH_ENVELOPE};
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
    /// What is not there if no server answers this to a client: operators talk to
    /// servers themselves, and what is no id names no envelope.
    pub(crate) fn of(method: &Method, path: &str) -> Result<Call, &'static str> {
        if path == "/openapi.json" {
            return Ok(Call { place: Place::Anywhere, changes: false });
        }
        let path = path.strip_prefix("/v1/").ok_or(NO_SUCH_CALL)?;
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if path == "envelopes" {
            let place = if *method == Method::POST { Place::NewEnvelope } else { Place::Anywhere };
            return Ok(Call { place, changes: !reads });
        }
        if let Some(rest) = path.strip_prefix("envelopes/") {
            let (id, verb) = rest.split_once('/').map_or((rest, None), |(id, verb)| (id, Some(verb)));
            let Some(id) = EnvelopeId::parse(id) else {
                let is_call = !id.is_empty() && matches!(verb, None | Some("pay" | "grab" | "open"));
                return Err(if is_call { NO_SUCH_ENVELOPE } else { NO_SUCH_CALL });
            };
            return Ok(Call { place: Place::Envelope(id), changes: !reads && verb != Some("grab") });
        }
        if path == "wallet" || path.starts_with("wallet/") || path.starts_with("dev/") {
            return Ok(Call { place: Place::Anywhere, changes: !reads && path != "dev/token" });
        }
        Err(NO_SUCH_CALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0199c0de-0000-7000-8000-000000000001";

    fn call(method: Method, path: &str) -> Result<(Place, bool), &'static str> {
        Call::of(&method, &path.replace("{id}", ID)).map(|call| (call.place, call.changes))
    }

    #[test]
    fn a_call_goes_to_its_envelope_s_owner_or_anywhere() {
        let envelope = Place::Envelope(EnvelopeId::parse(ID).unwrap());
        assert_eq!(call(Method::POST, "/v1/envelopes"), Ok((Place::NewEnvelope, true)));
        assert_eq!(call(Method::POST, "/v1/envelopes/{id}/open"), Ok((envelope, true)));
        assert_eq!(call(Method::POST, "/v1/envelopes/{id}/pay"), Ok((envelope, true)));
        assert_eq!(call(Method::POST, "/v1/envelopes/{id}/grab"), Ok((envelope, false)));
        assert_eq!(call(Method::GET, "/v1/envelopes/{id}"), Ok((envelope, false)));
        assert_eq!(call(Method::GET, "/v1/wallet"), Ok((Place::Anywhere, false)));
        assert_eq!(call(Method::GET, "/v1/wallet/transfers"), Ok((Place::Anywhere, false)));
        assert_eq!(call(Method::POST, "/v1/dev/token"), Ok((Place::Anywhere, false)));
        assert_eq!(call(Method::POST, "/v1/dev/top-up"), Ok((Place::Anywhere, true)));
        assert_eq!(call(Method::GET, "/openapi.json"), Ok((Place::Anywhere, false)));
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
            "/v1/envelopes//open",
            "/v1/envelopes/1/close",
            "/v1/envelopes/1/",
            "/metrics",
        ] {
            assert_eq!(call(Method::GET, path), Err(NO_SUCH_CALL), "{path}");
        }
        for path in ["/v1/envelopes/1", "/v1/envelopes/1/open", "/v1/envelopes/{id}0/grab"] {
            assert_eq!(call(Method::POST, path), Err(NO_SUCH_ENVELOPE), "{path}");
        }
    }

    #[test]
    fn a_method_that_nobody_knows_is_taken_for_one_that_changes() {
        assert!(call(Method::DELETE, "/v1/envelopes/{id}").unwrap().1);
        assert!(call(Method::PUT, "/v1/wallet").unwrap().1);
    }
}
