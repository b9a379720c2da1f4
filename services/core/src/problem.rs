//! The codes of problems: what a client's program decides by.

use utoipa::ToSchema;

/// What a program decides by. Its text is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ToSchema)]
#[schema(as = ProblemCode, rename_all = "snake_case")]
pub enum Code {
    /// The request makes no sense, independent of its sender.
    InvalidRequest,
    /// The request is not HTTP as RFC 9112 wants it.
    BadRequest,
    /// The path and the query are over the limit.
    UriTooLong,
    /// The head of the request is over the limit.
    HeadTooLarge,
    /// No token, or one that is not good.
    Unauthorized,
    /// The caller's role does not allow it.
    Forbidden,
    /// No such thing, or no such call.
    NotFound,
    /// Only the sender may pay.
    NotSender,
    /// The caller is not in the envelope's audience.
    NotInvited,
    /// Marked as a rehearsal where none is taken.
    RehearsalOff,
    /// Marked as a rehearsal by a caller who is no operator.
    RehearsalRefused,
    /// The ticket is another's, of another envelope, expired or made up.
    TicketInvalid,
    /// An operator has frozen the caller.
    Frozen,
    /// The balance does not suffice.
    InsufficientFunds,
    /// The envelope was never paid, and never will be.
    Cancelled,
    /// A limit of the caller would be exceeded.
    LimitExceeded,
    /// The id was used for something else.
    IdConflict,
    /// The key was used for another request.
    IdempotencyConflict,
    /// The body is over the limit.
    BodyTooLarge,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// This server's SET does not hold the envelope's slot.
    Misdirected,
    /// The caller asks too often.
    RateLimited,
    /// A queue is full: refused at once, nothing was done.
    Busy,
    /// Something that is needed does not answer; nothing was done.
    Unavailable,
    /// This server is going away.
    Draining,
    /// It may have happened or not: asking again settles it.
    OutcomeUnknown,
    /// A defect.
    Internal,
    /// The client took too long to send the request.
    RequestTimeout,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 28] = [
        Code::InvalidRequest,
        Code::BadRequest,
        Code::UriTooLong,
        Code::HeadTooLarge,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::NotSender,
        Code::NotInvited,
        Code::RehearsalOff,
        Code::RehearsalRefused,
        Code::TicketInvalid,
        Code::Frozen,
        Code::InsufficientFunds,
        Code::Cancelled,
        Code::LimitExceeded,
        Code::IdConflict,
        Code::IdempotencyConflict,
        Code::BodyTooLarge,
        Code::MethodNotAllowed,
        Code::Misdirected,
        Code::RateLimited,
        Code::Busy,
        Code::Unavailable,
        Code::Draining,
        Code::OutcomeUnknown,
        Code::Internal,
        Code::RequestTimeout,
    ];

    /// Text, status, title, and whether the same request may succeed later.
    const fn row(self) -> (&'static str, u16, &'static str, bool) {
        match self {
            Code::InvalidRequest => ("invalid_request", 422, "The request is invalid", false),
            Code::BadRequest => ("bad_request", 400, "The request is not proper HTTP", false),
            Code::UriTooLong => ("uri_too_long", 414, "The address is too long", false),
            Code::HeadTooLarge => ("head_too_large", 431, "The head of the request is too large", false),
            Code::Unauthorized => ("unauthorized", 401, "A valid token is needed", false),
            Code::Forbidden => ("forbidden", 403, "The caller may not do this", false),
            Code::NotFound => ("not_found", 404, "There is no such thing", false),
            Code::NotSender => ("not_sender", 403, "Only its sender may do this", false),
            Code::NotInvited => ("not_invited", 403, "The envelope is for others", false),
            Code::RehearsalOff => ("rehearsal_off", 403, "Rehearsals are not taken here", false),
            Code::RehearsalRefused => ("rehearsal_refused", 403, "An operator's mark is needed", false),
            Code::TicketInvalid => ("ticket_invalid", 403, "The ticket is not valid", false),
            Code::Frozen => ("frozen", 403, "The caller's money is frozen", false),
            Code::InsufficientFunds => ("insufficient_funds", 402, "The balance does not suffice", false),
            Code::Cancelled => ("cancelled", 409, "The envelope was cancelled", false),
            Code::LimitExceeded => ("limit_exceeded", 409, "A limit of the caller is reached", false),
            Code::IdConflict => ("id_conflict", 409, "The id was used for something else", false),
            Code::IdempotencyConflict => ("idempotency_conflict", 409, "The key was used for another request", false),
            Code::BodyTooLarge => ("body_too_large", 413, "The body is too large", false),
            Code::MethodNotAllowed => ("method_not_allowed", 405, "Not with this method", false),
            Code::Misdirected => ("misdirected", 421, "Another server holds this envelope", true),
            Code::RateLimited => ("rate_limited", 429, "Too many requests", true),
            Code::Busy => ("busy", 503, "Too much to do just now", true),
            Code::Unavailable => ("unavailable", 503, "The service cannot do this now", true),
            Code::Draining => ("draining", 503, "This server is going away", true),
            Code::OutcomeUnknown => ("outcome_unknown", 504, "It may have happened or not", true),
            Code::Internal => ("internal", 500, "The server failed", true),
            Code::RequestTimeout => ("request_timeout", 408, "The request came too slowly", true),
        }
    }

    /// What a client should do about it, in sentences; code stands between backticks.
    pub const fn advice(self) -> &'static str {
        match self {
            Code::InvalidRequest => {
                "Correct the request: `field` names what is wrong and `detail` says what is wanted. Repeated as it is, \
                 it is refused again."
            }
            Code::BadRequest => {
                "Correct the program that writes the request, or what stands between it and the service: the head is \
                 not HTTP. The connection is closed."
            }
            Code::UriTooLong => "Shorten the path and the query: those of every call fit.",
            Code::HeadTooLarge => "Send fewer or shorter headers, cookies among them: the largest good token fits.",
            Code::Unauthorized => "Get a new token from the party that issues them, and repeat the request with it.",
            Code::Forbidden => {
                "Do not repeat it: the call is for operators, or for programs on the machine of the service itself."
            }
            Code::NotFound => {
                "Check the path and the id. An envelope that is not paid or was cancelled exists for its sender alone."
            }
            Code::NotSender => "Do not repeat it: only the user who made the envelope can pay for it.",
            Code::NotInvited => {
                "Show that the envelope is for others. A user who joins the group gets a new token, which names it in \
                 `groups`."
            }
            Code::RehearsalOff => {
                "Leave the header `x-hongbao-rehearsal` out, or have the operator of the service switch rehearsals on."
            }
            Code::RehearsalRefused => "Put one good token of an operator into the header `x-hongbao-rehearsal`.",
            Code::TicketInvalid => {
                "Grab again, and open with the new ticket. If the opening had happened, that grab answers `opened`."
            }
            Code::Frozen => {
                "Have the user turn to the operator of the service, who has frozen the balance and can set it free. The \
                 money stays where it is."
            }
            Code::InsufficientFunds => {
                "Have the user put money into the balance, then repeat the request. No money was moved."
            }
            Code::Cancelled => {
                "Make another envelope: this one was not paid in time and never will be. No money was moved."
            }
            Code::LimitExceeded => {
                "Wait until `resets_at`, where the answer has it, or ask for less: `limit` names the limit. No money was \
                 moved."
            }
            Code::IdConflict => {
                "Use a new id for what is new; repeat what is old with the same content as the first time."
            }
            Code::IdempotencyConflict => {
                "Use a new `Idempotency-Key` for what is new; repeat what is old with the body of the first time. Nothing \
                 was done."
            }
            Code::BodyTooLarge => "Send a smaller body: every good one fits. The connection is closed.",
            Code::MethodNotAllowed => "Use a method that the header `Allow` names.",
            Code::Misdirected => "Ask a gateway, which knows the server of each envelope.",
            Code::RateLimited => {
                "Wait as many seconds as `Retry-After` says, then repeat the request. Nothing was done."
            }
            Code::Busy => {
                "Wait as many seconds as `Retry-After` says, then repeat the request. Nothing was done: the queue was \
                 full."
            }
            Code::Unavailable => {
                "Wait as many seconds as `Retry-After` says, then repeat the request. Nothing was done."
            }
            Code::Draining => {
                "Wait as many seconds as `Retry-After` says, then repeat the request over a new connection. Nothing \
                 was done."
            }
            Code::OutcomeUnknown => {
                "Repeat the same request, with pauses that grow, until it is answered: that answer is final. A payment \
                 or an opening happens once however often it is asked for. So does a `createEnvelope`, `createCharge` or \
                 `createPayout` with an `Idempotency-Key`. Without one an unpaid envelope may have been made, and the \
                 repeat makes another, which moves no money; of charges and payouts look at the list before you repeat \
                 one."
            }
            Code::Internal => {
                "Repeat the same request, with pauses that grow; if it stays so, report `request_id` to the operator \
                 of the service."
            }
            Code::RequestTimeout => "Repeat the request over a new connection, and send all of it at once.",
        }
    }

    /// The stable text: `insufficient_funds`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of HTTP that it comes with.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// The code as a sentence.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// Whether the same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        self.row().3
    }

    /// Whether we failed, as against refusing by design: what an operator's log is for.
    pub const fn is_fault(self) -> bool {
        matches!(self, Code::Internal | Code::Unavailable | Code::OutcomeUnknown)
    }
}
