//! The calls on the page.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::schemas::type_of;
use super::text::{marked, pretty, text_of};

/// The calls of a tag: path, method, what is said of each.
fn of_tag<'d>(document: &'d Value, tag: &'d Value) -> impl Iterator<Item = (&'d str, &'d str, &'d Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let calls = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, call)| (path.as_str(), method.as_str(), call))
    });
    calls.filter(|(_, _, call)| call["tags"][0] == tag["name"])
}

/// The entry of a tag in the list of contents.
pub(super) fn contents(document: &Value, tag: &Value) -> Markup {
    html! {
        h3 { (text_of(&tag["name"])) }
        ul {
            @for (_, _, call) in of_tag(document, tag) {
                li { a href={ "#" (text_of(&call["operationId"])) } { (text_of(&call["operationId"])) } }
            }
        }
    }
}

/// The calls of a tag.
pub(super) fn section(document: &Value, tag: &Value) -> Markup {
    html! {
        h2 { (text_of(&tag["name"])) }
        p { (marked(&tag["description"])) }
        @for (path, method, call) in of_tag(document, tag) { (one(path, method, call)) }
    }
}

fn one(path: &str, method: &str, call: &Value) -> Markup {
    let id = text_of(&call["operationId"]);
    let needs_token = call["security"].as_array().is_some_and(|ways| !ways.is_empty());
    html! {
        section id=(id) {
            h3 {
                a href={ "#" (id) } { (id) }
                " " code.call { b { (method.to_uppercase()) } " " (path) }
            }
            p {
                (marked(&call["summary"])) " " (marked(&call["description"]))
                @if needs_token { " Needs a token." } @else { " Needs no token." }
            }
            @if let Some(parameters) = call["parameters"].as_array() {
                h4 { "Parameters" }
                @for parameter in parameters {
                    div.field {
                        code { (text_of(&parameter["name"])) }
                        " " span.type {
                            (type_of(&parameter["schema"])) ", in the " (text_of(&parameter["in"]))
                            @if parameter["required"] == true { ", required" }
                        }
                        p { (marked(&parameter["description"])) }
                    }
                }
            }
            @if let Some(content) = call.pointer("/requestBody/content/application~1json") {
                h4 { "Body" }
                p { (type_of(&content["schema"])) }
                pre { (pretty(&content["example"])) }
            }
            @if let Some(answers) = call["responses"].as_object() { (good(answers)) (problems(answers)) }
        }
    }
}

fn good(answers: &Map<String, Value>) -> Markup {
    let good = answers.iter().filter(|(status, _)| status.starts_with('2'));
    html! {
        h4 { "Answer" }
        @for (status, answer) in good {
            @let content = &answer["content"]["application/json"];
            p { span.status { (status) } " " (type_of(&content["schema"])) ". " (marked(&answer["description"])) }
            @for example in content["examples"].as_object().into_iter().flat_map(Map::values) {
                pre { (pretty(&example["value"])) }
            }
        }
    }
}

fn problems(answers: &Map<String, Value>) -> Markup {
    let problems = answers.iter().filter(|(status, _)| !status.starts_with('2'));
    html! {
        details {
            summary { "Problems" }
            @for (status, answer) in problems {
                p { span.status { (status) } " " (marked(&answer["description"])) }
            }
        }
    }
}
