//! What is asked of the service, and how it is written.

use hongbao_core::calls as contract;
use hongbao_load::Request;

use super::plan::PlannedEnvelope;
use crate::outcome::{SLOW_CLIENTS, call_name};

/// What is asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
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

impl Call {
    /// Its name in reports.
    pub fn text(self) -> &'static str {
        if self == Call::Slow { SLOW_CLIENTS } else { call_name(self.contract()).expect("users ask for it") }
    }

    fn contract(self) -> contract::Call {
        match self {
            Call::Create => contract::Call::Create,
            Call::Pay => contract::Call::Pay,
            Call::Grab => contract::Call::Grab,
            Call::Open => contract::Call::Open,
            Call::View | Call::Slow => contract::Call::Detail,
        }
    }
}

/// A call with all that is said in it.
pub struct Ask<'a> {
    pub call: Call,
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
        let Ask { call, id, ticket, token, header, .. } = self;
        let body = match call {
            Call::Create => self.create_body(),
            Call::Open => format!(r#"{{"ticket":"{ticket}"}}"#),
            _ => String::new(),
        };
        let info = call.contract().info();
        let (before, after) = info.path.split_once("{id}").unwrap_or((info.path, ""));
        let path = format_args!("{before}{id}{after}");
        Request { method: info.method.as_str(), path, token, header, body: &body }.write(out);
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

    fn written(call: Call, id: &str) -> String {
        let envelope = PlannedEnvelope {
            sender: 0,
            shares: 3,
            total_fen: 30,
            group: Some(4),
            expires_in_s: 60,
            sent_ahead: false,
        };
        let mut out = Vec::new();
        Ask { call, envelope: &envelope, id, ticket: "a-ticket", token: "t", header: "" }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_call_goes_where_the_contract_says() {
        for (call, id, line) in [
            (Call::Create, "", "POST /v1/envelopes HTTP/1.1\r\n"),
            (Call::Pay, "e", "POST /v1/envelopes/e/pay HTTP/1.1\r\n"),
            (Call::Grab, "e", "POST /v1/envelopes/e/grab HTTP/1.1\r\n"),
            (Call::Open, "e", "POST /v1/envelopes/e/open HTTP/1.1\r\n"),
            (Call::View, "e", "GET /v1/envelopes/e HTTP/1.1\r\n"),
        ] {
            let text = written(call, id);
            assert!(text.starts_with(line), "{text}");
        }
        assert!(written(Call::Open, "e").ends_with("\r\n\r\n{\"ticket\":\"a-ticket\"}"));
        assert!(written(Call::Create, "").ends_with(
            r#"{"kind":"lucky","total_fen":30,"shares":3,"expires_in_s":60,"audience":{"type":"group","id":"g4"}}"#
        ));
    }
}
