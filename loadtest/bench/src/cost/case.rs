//! What is measured, and which way.

use clap::ValueEnum;
use serde::Serialize;

use crate::workload::{Expect, Name};

/// What the requests of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// Openings of one envelope, 256 connections
    Hot,
    /// Openings of many envelopes, 256 connections
    Spread,
    /// The same, 1,024 connections
    Crowd,
    /// The same, 16 connections
    Few,
    /// The first opening of each of many envelopes after the server was restarted
    Cold,
    /// Looks at an opened envelope
    View,
    /// Grabs that are answered with a ticket
    Ticket,
}

/// Where the requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// To the server
    Direct,
    /// To the gateway in front of it
    Gateway,
}

impl Via {
    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Via::Direct => "direct",
            Via::Gateway => "gateway",
        }
    }
}

impl Case {
    /// All runs of a round. What is read from memory is measured at the server alone.
    pub fn runs() -> Vec<(Case, Via)> {
        let both = [Case::Hot, Case::Spread, Case::Crowd, Case::Few];
        let mut runs: Vec<_> = both.iter().flat_map(|case| [(*case, Via::Direct), (*case, Via::Gateway)]).collect();
        runs.extend([Case::Cold, Case::View, Case::Ticket].map(|case| (case, Via::Direct)));
        runs
    }

    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Case::Hot => "hot",
            Case::Spread => "spread",
            Case::Crowd => "crowd",
            Case::Few => "few",
            Case::Cold => "cold",
            Case::View => "view",
            Case::Ticket => "ticket",
        }
    }

    /// The workload whose requests it sends; `None` where it has requests of its own.
    pub fn workload(self) -> Option<Name> {
        match self {
            Case::Hot => Some(Name::Hot),
            Case::Spread | Case::Crowd | Case::Few => Some(Name::Spread),
            Case::View => Some(Name::View),
            Case::Cold | Case::Ticket => None,
        }
    }

    /// Connections that are kept busy.
    pub fn connections(self) -> u32 {
        match self {
            Case::Crowd => 1_024,
            Case::Few => 16,
            _ => 256,
        }
    }

    /// What the service must answer.
    pub fn expect(self) -> Expect {
        match self {
            Case::View => Expect::Shown,
            Case::Ticket => Expect::Ready,
            _ => Expect::Opened,
        }
    }

    /// Whether it writes a row of a journal and one of the wallet for each request.
    pub fn writes(self) -> bool {
        !matches!(self, Case::View | Case::Ticket)
    }
}
