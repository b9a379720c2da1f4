//! The calls of the contract, each once.
//!
//! The routes of a server, what a gateway passes on and where, the names in
//! metrics, the OpenAPI document and the load test read this table. A call that is
//! added here and has no handler fails the test of the document
//! (`envelope/src/http/openapi`); a handler without a call here has no path.

use crate::id::EnvelopeId;
use crate::order::OrderId;
use crate::problem::Code;

/// A call of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Makes an envelope.
    Create,
    /// Pays for it.
    Pay,
    /// Asks whether there is something to open.
    Grab,
    /// Takes the next share.
    Open,
    /// Shows an envelope with its openings.
    Detail,
    /// Shows the caller's balance.
    Balance,
    /// Lists the caller's transfers.
    Transfers,
    /// Lists the envelopes that the caller sent or opened.
    Envelopes,
    /// Has the caller pay at the provider.
    Charge,
    /// Lists the caller's charges.
    Charges,
    /// Shows one.
    ShowCharge,
    /// Pays the caller at the provider.
    Payout,
    /// Lists the caller's payouts.
    Payouts,
    /// Shows one.
    ShowPayout,
    /// The provider says that something has become of an order.
    ProviderNotification,
    /// Lists what happened to the caller's money.
    Events,
    /// Sends it as it happens.
    EventStream,
    /// Shows the entry permits of a server.
    Permits,
    /// Changes their cap.
    SetPermits,
    /// Lists the users whose money is frozen.
    FrozenUsers,
    /// Freezes a user, or sets one free.
    SetFrozenUser,
    /// Lists what operators have frozen and set free of a user.
    FreezeLog,
    /// Makes a token for anybody.
    DevToken,
    /// Makes money.
    DevTopUp,
    /// The document of the contract.
    Document,
    /// The same as a page, for people.
    Docs,
}

/// The methods of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads; a server answers `HEAD` wherever it answers this.
    Get,
    /// Does something.
    Post,
    /// Sets something.
    Put,
}

impl Method {
    /// As it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }

    /// As `Allow` names it.
    pub const fn allow(self) -> &'static str {
        match self {
            Method::Get => "GET,HEAD",
            other => other.as_str(),
        }
    }

    fn is(self, method: &str) -> bool {
        method == self.as_str() || (self == Method::Get && method == "HEAD")
    }
}

/// Where a gateway passes a call on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// The owner of the envelope that the path names.
    Owner,
    /// The owner of the envelope that the call makes, whose id the gateway mints.
    OwnerOfNew,
    /// Any server.
    AnyServer,
    /// Nowhere: it concerns one server, and is asked of that one.
    Nowhere,
}

/// What is known of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallInfo {
    /// Its method.
    pub method: Method,
    /// Its path; `{id}` stands for an envelope's id, `{order}` for an order's.
    pub path: &'static str,
    /// Whether it may have changed something once it was sent: then only the client may
    /// retry it. The refund that a grab writes into an expired envelope is none: it is due.
    pub changes: bool,
    /// Where a gateway passes it on to.
    pub routing: Routing,
    /// Whether a client may name it by an `Idempotency-Key`, and then repeat it.
    pub takes_key: bool,
    /// Whether it needs a token.
    pub needs_token: bool,
    /// Whether it exists in installations for development alone.
    pub is_dev: bool,
    /// Whether it exists where there is a payment provider alone.
    pub needs_provider: bool,
    /// The problems of its own, and what each means here; those that many calls have
    /// in common follow from the rest (`envelope/src/http/openapi`).
    pub problems: &'static [(Code, &'static str)],
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 26] = [
        Call::Grab,
        Call::Open,
        Call::Pay,
        Call::Detail,
        Call::Create,
        Call::Balance,
        Call::Transfers,
        Call::Envelopes,
        Call::Charge,
        Call::Charges,
        Call::ShowCharge,
        Call::Payout,
        Call::Payouts,
        Call::ShowPayout,
        Call::ProviderNotification,
        Call::Events,
        Call::EventStream,
        Call::Permits,
        Call::SetPermits,
        Call::FrozenUsers,
        Call::SetFrozenUser,
        Call::FreezeLog,
        Call::DevToken,
        Call::DevTopUp,
        Call::Document,
        Call::Docs,
    ];

    /// The table.
    pub const fn info(self) -> CallInfo {
        const ASK_AGAIN: &str = "ask again, the answer is then final";
        const ASK_UNDER_THE_KEY: &str = "ask again under the same key; without one look at the list, it may be there: asked again it is another one";
        const KEY_OF_ANOTHER: &str = "the key was used with another body";
        const ITSELF: &str = "only at a server itself";
        const NO_PROVIDER: &str = "where there is no payment provider";
        const BY_A_PAGE: &str = "not meant for this machine, or sent by a web page";
        match self {
            Call::Create => CallInfo {
                routing: Routing::OwnerOfNew,
                takes_key: true,
                problems: &[
                    (Code::IdConflict, "only at a server itself, if the request names an id that exists"),
                    (Code::Misdirected, ITSELF),
                    (Code::Frozen, ""),
                    (Code::LimitExceeded, ""),
                    (Code::IdempotencyConflict, KEY_OF_ANOTHER),
                    (Code::Cancelled, "the envelope of this key was not made or paid in time, and is gone"),
                    (
                        Code::OutcomeUnknown,
                        "ask again under the same key; without one that makes another unpaid envelope",
                    ),
                ],
                ..changing("/v1/envelopes")
            },
            Call::Pay => CallInfo {
                problems: &[
                    (Code::InsufficientFunds, ""),
                    (Code::Frozen, ""),
                    (Code::LimitExceeded, ""),
                    (Code::NotSender, ""),
                    (Code::NotFound, ""),
                    (Code::Cancelled, ""),
                    (Code::OutcomeUnknown, ASK_AGAIN),
                ],
                ..changing("/v1/envelopes/{id}/pay")
            },
            Call::Grab => CallInfo {
                changes: false,
                problems: &[
                    (Code::NotInvited, ""),
                    (Code::Frozen, ""),
                    (Code::LimitExceeded, ""),
                    (Code::NotFound, ""),
                ],
                ..changing("/v1/envelopes/{id}/grab")
            },
            Call::Open => CallInfo {
                problems: &[
                    (Code::TicketInvalid, ""),
                    (Code::Frozen, ""),
                    (Code::LimitExceeded, ""),
                    (Code::NotFound, ""),
                    (Code::OutcomeUnknown, ASK_AGAIN),
                ],
                ..changing("/v1/envelopes/{id}/open")
            },
            Call::Detail => CallInfo {
                routing: Routing::Owner,
                problems: &[(Code::NotInvited, ""), (Code::NotFound, "")],
                ..reading("/v1/envelopes/{id}")
            },
            Call::Balance => reading("/v1/wallet"),
            Call::Transfers => reading("/v1/wallet/transfers"),
            Call::Envelopes => reading("/v1/wallet/envelopes"),
            Call::Charge => CallInfo {
                takes_key: true,
                problems: &[
                    (Code::NotFound, NO_PROVIDER),
                    (Code::IdempotencyConflict, KEY_OF_ANOTHER),
                    (Code::OutcomeUnknown, ASK_UNDER_THE_KEY),
                ],
                ..ordering("/v1/charges")
            },
            Call::Charges => {
                CallInfo { needs_provider: true, problems: &[(Code::NotFound, NO_PROVIDER)], ..reading("/v1/charges") }
            }
            Call::ShowCharge => {
                CallInfo { needs_provider: true, problems: &[(Code::NotFound, "")], ..reading("/v1/charges/{order}") }
            }
            Call::Payout => CallInfo {
                takes_key: true,
                problems: &[
                    (Code::InsufficientFunds, ""),
                    (Code::NotFound, NO_PROVIDER),
                    (Code::Frozen, ""),
                    (Code::LimitExceeded, ""),
                    (Code::IdempotencyConflict, KEY_OF_ANOTHER),
                    (Code::OutcomeUnknown, ASK_UNDER_THE_KEY),
                ],
                ..ordering("/v1/payouts")
            },
            Call::Payouts => {
                CallInfo { needs_provider: true, problems: &[(Code::NotFound, NO_PROVIDER)], ..reading("/v1/payouts") }
            }
            Call::ShowPayout => {
                CallInfo { needs_provider: true, problems: &[(Code::NotFound, "")], ..reading("/v1/payouts/{order}") }
            }
            Call::ProviderNotification => CallInfo {
                changes: false,
                needs_token: false,
                problems: &[
                    (Code::Unauthorized, "its signature is not the provider's, or its time is not now"),
                    (Code::NotFound, NO_PROVIDER),
                ],
                ..ordering("/v1/provider/notifications")
            },
            Call::Events => reading("/v1/events"),
            Call::EventStream => reading("/v1/events/stream"),
            Call::Permits => CallInfo {
                routing: Routing::Nowhere,
                problems: &[(Code::Forbidden, "")],
                ..reading("/v1/operator/permits")
            },
            Call::SetPermits => CallInfo {
                method: Method::Put,
                routing: Routing::Nowhere,
                problems: &[(Code::Forbidden, "")],
                ..changing("/v1/operator/permits")
            },
            Call::FrozenUsers => CallInfo {
                routing: Routing::Nowhere,
                problems: &[(Code::Forbidden, "")],
                ..reading("/v1/operator/frozen-users")
            },
            Call::SetFrozenUser => CallInfo {
                method: Method::Put,
                routing: Routing::Nowhere,
                problems: &[(Code::Forbidden, ""), (Code::OutcomeUnknown, ASK_AGAIN)],
                ..changing("/v1/operator/frozen-users")
            },
            Call::FreezeLog => CallInfo {
                routing: Routing::Nowhere,
                problems: &[(Code::Forbidden, "")],
                ..reading("/v1/operator/freeze-log")
            },
            Call::DevToken => CallInfo {
                changes: false,
                routing: Routing::AnyServer,
                needs_token: false,
                is_dev: true,
                problems: &[(Code::Forbidden, BY_A_PAGE)],
                ..changing("/v1/dev/token")
            },
            Call::DevTopUp => CallInfo {
                routing: Routing::AnyServer,
                is_dev: true,
                problems: &[
                    (Code::Forbidden, BY_A_PAGE),
                    (Code::IdConflict, "the id was used for another top-up"),
                    (Code::OutcomeUnknown, "ask again with the same id, it is the same top-up"),
                ],
                ..changing("/v1/dev/top-up")
            },
            Call::Document => CallInfo { needs_token: false, ..reading("/openapi.json") },
            Call::Docs => CallInfo { needs_token: false, ..reading("/docs") },
        }
    }

    /// Its path, for the attributes of handlers.
    pub const fn path(self) -> &'static str {
        self.info().path
    }

    /// The call that a gateway passes on for a request, and the envelope that its path names.
    ///
    /// # Errors
    /// That there is none: operators ask servers themselves, what is no id names no
    /// envelope, and what no server knows costs no server anything.
    pub fn passed_on(method: &str, path: &str) -> Result<(Call, Option<EnvelopeId>), NoCall> {
        let mut methods = Vec::new();
        for call in Call::ALL {
            let info = call.info();
            let Some(id) = info.matches(path).filter(|_| info.routing != Routing::Nowhere) else { continue };
            let id = id.map(|id| EnvelopeId::parse(id).ok_or(NoCall::NoEnvelope)).transpose()?;
            if info.method.is(method) {
                return Ok((call, id));
            }
            methods.push(info.method);
        }
        Err(if methods.is_empty() { NoCall::NotFound } else { NoCall::Method(methods) })
    }
}

/// A call that changes something about an envelope, as most do that change anything.
const fn changing(path: &'static str) -> CallInfo {
    let routing = Routing::Owner;
    CallInfo {
        method: Method::Post,
        path,
        changes: true,
        routing,
        takes_key: false,
        needs_token: true,
        is_dev: false,
        needs_provider: false,
        problems: &[],
    }
}

/// A call that makes an order at the provider, at any server.
const fn ordering(path: &'static str) -> CallInfo {
    CallInfo { routing: Routing::AnyServer, needs_provider: true, ..changing(path) }
}

/// A call that reads, from any server.
const fn reading(path: &'static str) -> CallInfo {
    CallInfo { method: Method::Get, changes: false, routing: Routing::AnyServer, ..changing(path) }
}

impl CallInfo {
    /// As it is named in measures and in the log: `POST /v1/envelopes/{id}/open`.
    pub fn label(&self) -> String {
        format!("{} {}", self.method.as_str(), self.path)
    }

    /// What stands for the envelope's id in a path of this call; `None` inside where its path has none.
    pub fn matches<'a>(&self, path: &'a str) -> Option<Option<&'a str>> {
        if let Some(before) = self.path.strip_suffix("{order}") {
            return path.strip_prefix(before).and_then(OrderId::parse).map(|_| None);
        }
        let Some((before, after)) = self.path.split_once("{id}") else { return (path == self.path).then_some(None) };
        let id = path.strip_prefix(before)?.strip_suffix(after)?;
        (!id.is_empty() && !id.contains('/')).then_some(Some(id))
    }
}

/// Why a request is for no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// No call has this path.
    NotFound,
    /// What stands for the id is none.
    NoEnvelope,
    /// The calls of this path have other methods, these.
    Method(Vec<Method>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0199c0de-0000-7000-8000-000000000001";

    fn passed_on(method: &str, path: &str) -> Result<(Routing, bool, bool), NoCall> {
        let (call, id) = Call::passed_on(method, &path.replace("{id}", ID))?;
        Ok((call.info().routing, id.is_some(), call.info().changes))
    }

    #[test]
    fn a_call_goes_to_its_envelope_s_owner_or_anywhere() {
        use Routing::{AnyServer, Owner, OwnerOfNew};
        for (method, path, expected) in [
            ("POST", "/v1/envelopes", (OwnerOfNew, false, true)),
            ("POST", "/v1/envelopes/{id}/open", (Owner, true, true)),
            ("POST", "/v1/envelopes/{id}/pay", (Owner, true, true)),
            ("POST", "/v1/envelopes/{id}/grab", (Owner, true, false)),
            ("GET", "/v1/envelopes/{id}", (Owner, true, false)),
            ("GET", "/v1/wallet", (AnyServer, false, false)),
            ("GET", "/v1/wallet/transfers", (AnyServer, false, false)),
            ("POST", "/v1/charges", (AnyServer, false, true)),
            ("GET", "/v1/charges", (AnyServer, false, false)),
            ("GET", "/v1/payouts/0199c0de-0000-7000-8000-000000000001", (AnyServer, false, false)),
            ("POST", "/v1/provider/notifications", (AnyServer, false, false)),
            ("POST", "/v1/dev/token", (AnyServer, false, false)),
            ("POST", "/v1/dev/top-up", (AnyServer, false, true)),
            ("GET", "/v1/events", (AnyServer, false, false)),
            ("GET", "/openapi.json", (AnyServer, false, false)),
            ("GET", "/docs", (AnyServer, false, false)),
        ] {
            assert_eq!(passed_on(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_call_names_an_envelope_where_its_owner_is_asked() {
        for call in Call::ALL {
            let info = call.info();
            assert_eq!(info.path.contains("{id}"), info.routing == Routing::Owner, "{call:?}");
            assert!(info.method != Method::Get || !info.changes, "{call:?} reads");
        }
    }

    #[test]
    fn no_two_calls_have_the_same_method_and_path() {
        let all: std::collections::HashSet<_> =
            Call::ALL.iter().map(|call| (call.info().method.as_str(), call.path())).collect();
        assert_eq!(all.len(), Call::ALL.len());
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
            "/v1/charges/1",
            "/v1/charges/0199c0de-0000-7000-8000-000000000001/else",
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
            assert_eq!(passed_on("GET", path), Err(NoCall::NotFound), "{path}");
        }
        for path in ["/v1/envelopes/1", "/v1/envelopes/1/open", "/v1/envelopes/{id}0/grab"] {
            assert_eq!(passed_on("POST", path), Err(NoCall::NoEnvelope), "{path}");
        }
    }

    #[test]
    fn a_call_is_passed_on_with_its_own_method_alone() {
        for call in Call::ALL.into_iter().filter(|call| call.info().routing != Routing::Nowhere) {
            let CallInfo { path, .. } = call.info();
            let own_path = path;
            let path = path.replace("{order}", ID);
            let there: Vec<Method> = (Call::ALL.iter().map(|call| call.info()))
                .filter(|info| info.routing != Routing::Nowhere && info.path == own_path)
                .map(|info| info.method)
                .collect();
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"] {
                let found = passed_on(method, &path);
                match there.iter().any(|own| own.allow().split(',').any(|allowed| allowed == method)) {
                    true => assert!(found.is_ok(), "{method} {path}: {found:?}"),
                    false => assert_eq!(found, Err(NoCall::Method(there.clone())), "{method} {path}"),
                }
            }
        }
    }
}
