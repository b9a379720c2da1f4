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

/// What is told where nothing is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCall {
    /// Nothing is there, in these words.
    NotFound(&'static str),
    /// The call exists with these methods alone.
    Method(&'static str),
}

/// As a server answers `HEAD` wherever it answers `GET`.
const READ: &str = "GET,HEAD";
const WRITE: &str = "POST";

impl Call {
    /// The calls of the contract, and nothing beside them: operators talk to servers
    /// themselves, what is no id names no envelope, and what no server knows costs
    /// no server anything.
    pub(crate) fn of(method: &Method, path: &str) -> Result<Call, NoCall> {
        const NONE: NoCall = NoCall::NotFound(NO_SUCH_CALL);
        if path == "/openapi.json" {
            return Call::reading(method, Place::Anywhere);
        }
        let path = path.strip_prefix("/v1/").ok_or(NONE)?;
        if let Some(rest) = path.strip_prefix("envelopes/") {
            let (id, verb) = rest.split_once('/').map_or((rest, None), |(id, verb)| (id, Some(verb)));
            if id.is_empty() || !matches!(verb, None | Some("pay" | "grab" | "open")) {
                return Err(NONE);
            }
            let place = Place::Envelope(EnvelopeId::parse(id).ok_or(NoCall::NotFound(NO_SUCH_ENVELOPE))?);
            return match verb {
                None => Call::reading(method, place),
                Some(verb) => Call::writing(method, place, verb != "grab"),
            };
        }
        match path {
            "envelopes" => Call::writing(method, Place::NewEnvelope, true),
            "wallet" | "wallet/transfers" | "wallet/envelopes" => Call::reading(method, Place::Anywhere),
            "dev/token" => Call::writing(method, Place::Anywhere, false),
            "dev/top-up" => Call::writing(method, Place::Anywhere, true),
            _ => Err(NONE),
        }
    }

    fn reading(method: &Method, place: Place) -> Result<Call, NoCall> {
        match *method {
            Method::GET | Method::HEAD => Ok(Call { place, changes: false }),
            _ => Err(NoCall::Method(READ)),
        }
    }

    fn writing(method: &Method, place: Place, changes: bool) -> Result<Call, NoCall> {
        match *method {
            Method::POST => Ok(Call { place, changes }),
            _ => Err(NoCall::Method(WRITE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0199c0de-0000-7000-8000-000000000001";

    fn call(method: Method, path: &str) -> Result<(Place, bool), NoCall> {
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
            "/v1/wallet/",
            "/v1/wallet/else",
            "/v1/dev/",
            "/v1/dev/token/",
            "/v1/dev/else",
            "*",
            "/v1//operator/permits",
            "/v1/envelopes/",
            "/v1/envelopes//open",
            "/v1/envelopes/1/close",
            "/v1/envelopes/1/",
            "/metrics",
        ] {
            assert_eq!(call(Method::GET, path), Err(NoCall::NotFound(NO_SUCH_CALL)), "{path}");
        }
        for path in ["/v1/envelopes/1", "/v1/envelopes/1/open", "/v1/envelopes/{id}0/grab"] {
            assert_eq!(call(Method::POST, path), Err(NoCall::NotFound(NO_SUCH_ENVELOPE)), "{path}");
        }
    }

    #[test]
    fn a_call_is_passed_on_with_its_own_method_alone() {
        let reads =
            ["/openapi.json", "/v1/envelopes/{id}", "/v1/wallet", "/v1/wallet/transfers", "/v1/wallet/envelopes"];
        let writes = ["", "/{id}/pay", "/{id}/grab", "/{id}/open"].map(|end| format!("/v1/envelopes{end}"));
        let writes = writes.iter().map(String::as_str).chain(["/v1/dev/token", "/v1/dev/top-up"]);
        let paths = reads.map(|path| (path, READ)).into_iter().chain(writes.map(|path| (path, WRITE)));
        for (path, good) in paths {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"] {
                let told = call(method.parse().unwrap(), path);
                match good.split(',').any(|known| known == method) {
                    true => assert!(told.is_ok(), "{method} {path}: {told:?}"),
                    false => assert_eq!(told, Err(NoCall::Method(good)), "{method} {path}"),
                }
            }
        }
    }
}
