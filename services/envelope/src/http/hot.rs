//! Grab, open and look of live traffic, past the router: the same checks in the same order as in
//! [`super::envelopes`], and the same verbs.

use hongbao_core::calls::Call;
use hongbao_core::limits::PAGE_DEFAULT;
use hongbao_core::wire::OpenRequest;
use hongbao_http::hot::Answering;
use hongbao_http::request_log::note_user;
use hongbao_http::{Caller, HotAnswer, HotCalls, HotRequest, Problem, parse};

use super::App;
use super::envelopes::caller_of;

/// Answers grabs, openings and looks of live traffic.
pub struct LiveCalls(App);

impl LiveCalls {
    /// Over the server of `app`.
    pub fn new(app: App) -> LiveCalls {
        LiveCalls(app)
    }

    /// Answers one of a caller who was checked already, or whose token is checked here.
    pub async fn answer_for(&self, request: HotRequest<'_>, caller: Option<Caller>) -> HotAnswer {
        let answered = match request.call {
            Call::Open => self.open(request, caller).await,
            Call::Detail => self.detail(request, caller).await,
            _ => self.grab(request, caller).await,
        };
        answered.unwrap_or_else(HotAnswer::from)
    }

    /// Who asks: whom the front door found, or else whom the token names.
    fn caller(&self, token: &str, found: Option<Caller>) -> Result<Caller, Problem> {
        let caller = found.map_or_else(|| self.0.verifier().verify(token), Ok)?;
        note_user(&caller.user);
        Ok(caller)
    }

    async fn open(&self, request: HotRequest<'_>, caller: Option<Caller>) -> Result<HotAnswer, Problem> {
        let (server, verifier) = (self.0.live(), self.0.verifier());
        server.check_room(request.id, || {
            caller.clone().or_else(|| verifier.remembered_of(request.token)).map(|caller| caller.user)
        })?;
        let caller = self.caller(request.token, caller)?;
        let OpenRequest { ticket } = parse(request.body)?;
        let opening = server.open(request.id, &caller_of(&caller), &ticket, request.time_left).await?;
        Ok(HotAnswer::json(&opening.outcome, opening.accepted.map(|accepted| accepted.to_string())))
    }

    async fn grab(&self, request: HotRequest<'_>, caller: Option<Caller>) -> Result<HotAnswer, Problem> {
        let caller = self.caller(request.token, caller)?;
        Ok(HotAnswer::json(&self.0.live().grab(request.id, &caller_of(&caller)).await?, None))
    }

    async fn detail(&self, request: HotRequest<'_>, caller: Option<Caller>) -> Result<HotAnswer, Problem> {
        let caller = self.caller(request.token, caller)?;
        let detail = self.0.live().detail(request.id, &caller_of(&caller), 0, PAGE_DEFAULT).await?;
        Ok(HotAnswer::json(&detail, None))
    }
}

impl HotCalls for LiveCalls {
    fn takes(&self, call: Call) -> bool {
        matches!(call, Call::Grab | Call::Open | Call::Detail)
    }

    fn answer<'a>(&'a self, request: HotRequest<'a>) -> Answering<'a> {
        Box::pin(self.answer_for(request, None))
    }
}
