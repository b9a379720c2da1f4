//! Grab and open of live traffic, past the router: the same checks in the same order as in
//! [`super::envelopes`], and the same verbs.

use hongbao_core::calls::Call;
use hongbao_core::wire::OpenRequest;
use hongbao_http::hot::Answering;
use hongbao_http::{Caller, HotAnswer, HotCalls, HotRequest, Problem, parse};

use super::App;
use super::envelopes::caller_of;

/// Answers grabs and openings of live traffic.
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
            _ => self.grab(request, caller).await,
        };
        answered.unwrap_or_else(HotAnswer::from)
    }

    async fn open(&self, request: HotRequest<'_>, caller: Option<Caller>) -> Result<HotAnswer, Problem> {
        let (server, verifier) = (self.0.live(), self.0.verifier());
        server.check_room(request.id, || {
            caller.clone().or_else(|| verifier.remembered_of(request.token)).map(|caller| caller.user)
        })?;
        let caller = caller.map_or_else(|| verifier.verify(request.token), Ok)?;
        let OpenRequest { ticket } = parse(request.body)?;
        let opening = server.open(request.id, &caller_of(&caller), &ticket, request.time_left).await?;
        Ok(HotAnswer::json(&opening.outcome, opening.accepted.map(|accepted| accepted.to_string())))
    }

    async fn grab(&self, request: HotRequest<'_>, caller: Option<Caller>) -> Result<HotAnswer, Problem> {
        let caller = caller.map_or_else(|| self.0.verifier().verify(request.token), Ok)?;
        Ok(HotAnswer::json(&self.0.live().grab(request.id, &caller_of(&caller)).await?, None))
    }
}

impl HotCalls for LiveCalls {
    fn answer<'a>(&'a self, request: HotRequest<'a>) -> Answering<'a> {
        Box::pin(self.answer_for(request, None))
    }
}
