//! `GET /docs`: the OpenAPI document as a page, written by the server. It has no script and loads nothing, so it works
//! without a network beyond the service, and its policy forbids everything else.

mod calls;
mod schemas;
mod text;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hongbao_http::Code;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Offer;
use super::openapi::Copies;
use text::{marked, text_of};

const STYLE: &str = include_str!("page.css");

/// The page as it is sent.
#[derive(Clone)]
pub(super) struct Page {
    copies: Copies,
    headers: [(HeaderName, HeaderValue); 4],
}

impl Page {
    /// Of what is offered.
    pub(super) fn of(offer: Offer<'_>) -> Page {
        let style = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).expect("it is of visible characters")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        Page { copies: Copies::of(offer, |document| page(document).into_string()), headers }
    }

    /// The answer of `GET /docs`.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = Response::new(self.copies.for_request(headers).into());
        response.headers_mut().extend(self.headers.iter().cloned());
        response
    }
}

fn page(document: &Value) -> Markup {
    let info = &document["info"];
    let title = text_of(&info["title"]);
    let tags = || document["tags"].as_array().into_iter().flatten();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav {
                    h2 { a href="#top" { (title) } }
                    @for tag in tags() { (calls::contents(document, tag)) }
                    h3 { a href="#schemas" { "Schemas" } }
                    h3 { a href="#problems" { "Problems" } }
                }
                main id="top" {
                    h1 { (title) " API, version " (text_of(&info["version"])) }
                    p { (marked(&info["description"])) }
                    p {
                        "This page shows " a href="/openapi.json" { "the OpenAPI document" }
                        " of the service that serves it, with the bounds that are configured here."
                    }
                    p {
                        "What needs a token takes " code { "Authorization: Bearer" } " and the token. "
                        (marked(&document["components"]["securitySchemes"]["bearer"]["description"]))
                    }
                    @for tag in tags() { (calls::section(document, tag)) }
                    (schemas::section(document))
                    (problems())
                }
            }
        }
    }
}

/// Every code, with what a client does about it.
fn problems() -> Markup {
    html! {
        h2 id="problems" { "Problems" }
        p {
            "The " code { "code" } " says what a program decides by; " code { "type" } " is "
            code { "urn:hongbao:problem:" } " and the code. A code that a program does not know is like any other of "
            "its status, and " code { "retryable" } " says whether the same request may succeed later."
        }
        @for code in Code::ALL {
            section id=(format!("problem-{}", code.as_str())) {
                h3 {
                    a href=(format!("#problem-{}", code.as_str())) { code { (code.as_str()) } }
                    " " span.status { (code.status()) }
                }
                p { b { (code.title()) "." } " " @if code.is_retryable() { "May be repeated." } @else { "Not to be repeated as it is." } }
                p { (marked(&code.advice().into())) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hongbao_core::Limits;

    use super::super::openapi::document;
    use super::*;

    /// Of a service that offers everything.
    fn whole_page() -> String {
        let limits = Limits::default();
        let offer = Offer {
            limits: &limits,
            takes_rehearsals: true,
            issues_tokens: true,
            makes_money: true,
            has_provider: true,
            asked_directly: true,
        };
        page(&document(&offer)).into_string()
    }

    /// What stands in an attribute, wherever it is.
    fn values_of<'p>(page: &'p str, attribute: &str) -> Vec<&'p str> {
        let parts = page.split(attribute).skip(1);
        parts.map(|rest| rest.split('"').nth(1).expect("a value stands between quotes")).collect()
    }

    #[test]
    fn every_code_has_an_anchor_that_says_what_a_client_does_about_it() {
        let page = whole_page();
        for code in Code::ALL {
            let (_, rest) = page.split_once(&format!("<section id=\"problem-{}\">", code.as_str())).unwrap();
            let section = rest.split("</section>").next().unwrap();
            assert!(code.advice().ends_with('.') && code.advice().len() > 30, "{code:?}");
            assert!(section.contains(&marked(&code.advice().into()).into_string()), "{section}");
        }
    }

    #[test]
    fn every_link_of_the_page_leads_to_a_part_of_it_and_every_part_has_one_name() {
        let page = whole_page();
        let ids = values_of(&page, " id=");
        let known: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), known.len());
        let links = values_of(&page, " href=");
        assert!(links.len() > 200, "{}", links.len());
        for link in links.into_iter().filter(|link| *link != "/openapi.json") {
            assert!(link.strip_prefix('#').is_some_and(|id| known.contains(id)), "{link}");
        }
    }

    #[test]
    fn the_page_loads_and_runs_nothing() {
        // Where a payer goes on is an example, and no link.
        let page = whole_page().replace("https://provider.example/", "");
        for part in
            ["<script", "<link", "<img", "<iframe", "<form", " src=", " style=", " onclick=", "url(", "@import", "://"]
        {
            assert!(!page.contains(part), "{part}");
        }
    }
}
