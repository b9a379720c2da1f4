//! What is asked of the service, and how it is written.

use hongbao_core::calls as contract;
use hongbao_load::Request;

use super::plan::PlannedEnvelope;
use crate::outcome::{SLOW_CLIENTS, call_name};

/// What is asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserCall {
    /// Makes an envelope.
    Create,
    Pay,
    /// Asks whether there is something to open.
    Grab,
    Open,
    /// Looks who got what.
    View,
    /// Any of these by a client that sends slowly.
    Slow,
}

impl UserCall {
    /// Its name in reports.
    pub fn text(self) -> &'static str {
        if self == UserCall::Slow { SLOW_CLIENTS } else { call_name(self.contract()).expect("users ask for it") }
    }

    fn contract(self) -> contract::Call {
        match self {
            UserCall::Create => contract::Call::Create,
            UserCall::Pay => contract::Call::Pay,
            UserCall::Grab => contract::Call::Grab,
            UserCall::Open => contract::Call::Open,
            UserCall::View | UserCall::Slow => contract::Call::Detail,
        }
    }
}

/// A call with all that is said in it.
pub struct Ask<'a> {
    /// What stands in `Host`.
    pub host: &'a str,
    pub call: UserCall,
    pub envelope: &'a PlannedEnvelope,
    /// Its id; nothing while it has none.
    pub id: &'a str,
    pub ticket: &'a str,
    pub token: &'a str,
    /// A further header line with its line end, or nothing.
    pub header: &'a str,
}

impl Ask<'_> {
    /// Appends the request to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Ask { host, call, id, ticket, token, header, .. } = self;
        let body = match call {
            UserCall::Create => self.create_body(),
            UserCall::Open => format!(r#"{{"ticket":"{ticket}"}}"#),
            _ => String::new(),
        };
        let info = call.contract().info();
        let (before, after) = info.path.split_once("{id}").unwrap_or((info.path, ""));
        let path = format_args!("{before}{id}{after}");
        Request { host, method: info.method.as_str(), path, token, header, body: &body }.write(out);
    }

    fn create_body(&self) -> String {
        let PlannedEnvelope { total_fen, shares, expires_in_s, group, .. } = self.envelope;
        let audience =
            group.map_or(String::new(), |group| format!(r#","audience":{{"type":"group","id":"g{group}"}}"#));
        format!(
            r#"{{"kind":"lucky","total_fen":{total_fen},"shares":{shares},"expires_in_s":{expires_in_s}{audience}}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(call: UserCall, id: &str) -> String {
        let envelope = PlannedEnvelope {
            sender: 0,
            shares: 3,
            total_fen: 30,
            group: Some(4),
            expires_in_s: 60,
            sent_ahead: false,
        };
        let mut out = Vec::new();
        Ask { host: "h", call, envelope: &envelope, id, ticket: "a-ticket", token: "t", header: "" }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_call_goes_where_the_contract_says() {
        for (call, id, line) in [
            (UserCall::Create, "", "POST /v1/envelopes HTTP/1.1\r\n"),
            (UserCall::Pay, "e", "POST /v1/envelopes/e/pay HTTP/1.1\r\n"),
            (UserCall::Grab, "e", "POST /v1/envelopes/e/grab HTTP/1.1\r\n"),
            (UserCall::Open, "e", "POST /v1/envelopes/e/open HTTP/1.1\r\n"),
            (UserCall::View, "e", "GET /v1/envelopes/e HTTP/1.1\r\n"),
        ] {
            let text = written(call, id);
            assert!(text.starts_with(line), "{text}");
        }
        assert!(written(UserCall::Open, "e").ends_with("\r\n\r\n{\"ticket\":\"a-ticket\"}"));
        assert!(written(UserCall::Create, "").ends_with(
            r#"{"kind":"lucky","total_fen":30,"shares":3,"expires_in_s":60,"audience":{"type":"group","id":"g4"}}"#
        ));
    }
}
