//! The schemas on the page.

use maud::{Markup, html};
use serde_json::Value;

use super::text::{marked, text_of};

/// Every schema that has a name.
pub(super) fn section(document: &Value) -> Markup {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    html! {
        h2 id="schemas" { "Schemas" }
        @for (name, schema) in schemas {
            section id={ "schema-" (name) } {
                h3 { a href={ "#schema-" (name) } { (name) } }
                p { (marked(&schema["description"])) }
                @if let Some(fields) = schema["properties"].as_object() {
                    @for (field, of_field) in fields { (one(field, of_field, &schema["required"])) }
                } @else {
                    p { (type_of(schema)) }
                }
            }
        }
    }
}

fn one(name: &str, schema: &Value, required: &Value) -> Markup {
    let is_required = required.as_array().is_some_and(|names| names.iter().any(|needed| needed == name));
    html! {
        div.field {
            code { (name) }
            " " span.type { (type_of(schema)) @if !is_required { ", may be absent" } }
            p { (marked(&schema["description"])) }
        }
    }
}

/// What a value may be, in words.
pub(super) fn type_of(schema: &Value) -> Markup {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    if let Some(forms) = schema["oneOf"].as_array() {
        return html! {
            @for (number, form) in forms.iter().enumerate() { @if number > 0 { " or " } (type_of(form)) }
        };
    }
    if let Some(constant) = schema["const"].as_str() {
        return html! { code { (constant) } };
    }
    if let Some(words) = schema["enum"].as_array() {
        return html! {
            @for (number, word) in words.iter().enumerate() { @if number > 0 { " or " } code { (text_of(word)) } }
        };
    }
    html! {
        @match &schema["type"] {
            Value::Array(types) => @for (number, one) in types.iter().enumerate() {
                @if number > 0 { " or " } (text_of(one))
            },
            one => (text_of(one)),
        }
        @if let Some(format) = schema["format"].as_str() { " (" (format) ")" }
        @if !schema["minimum"].is_null() { ", " (schema["minimum"]) " to " (schema["maximum"]) }
        @if !schema["maxLength"].is_null() { ", at most " (schema["maxLength"]) " characters" }
        @if !schema["items"].is_null() { " of " (type_of(&schema["items"])) }
        @if !schema["maxItems"].is_null() { ", at most " (schema["maxItems"]) }
        @if let Some(pattern) = schema["pattern"].as_str() { ", as " code { (pattern) } }
        @if !schema["default"].is_null() { ", by default " (schema["default"]) }
    }
}
