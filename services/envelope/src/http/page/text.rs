//! Texts of the document on the page.

use maud::{Markup, html};
use serde_json::Value;

/// A text, empty where there is none.
pub(super) fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A text of which what stands between backticks is code, and `[text](target)` a link. Other marks of Markdown are not
/// in the document.
pub(super) fn marked(value: &Value) -> Markup {
    spans(text_of(value))
}

fn spans(text: &str) -> Markup {
    html! {
        @if let Some((before, link, target, after)) = first_link(text) {
            (code_spans(before))
            a href=(target.trim_start_matches("/docs")) { (code_spans(link)) }
            (spans(after))
        } @else {
            (code_spans(text))
        }
    }
}

fn code_spans(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// What stands before the first link, its text, its target, and what stands after it.
fn first_link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (start, rest) = text.split_once("](")?;
    let (before, link) = start.rsplit_once('[')?;
    let (target, after) = rest.split_once(')')?;
    Some((before, link, target, after))
}

/// JSON with indentation.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value is made of strings and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_links_are_marked_and_all_else_is_text() {
        let marked = |text: &str| marked(&text.into()).into_string();
        assert_eq!(marked("a <b> `c <d>` e"), "a &lt;b&gt; <code>c &lt;d&gt;</code> e");
        let linked = marked("[`busy`](/docs#problem-busy): x; [`y`](#z)");
        assert_eq!(linked, "<a href=\"#problem-busy\"><code>busy</code></a>: x; <a href=\"#z\"><code>y</code></a>");
        assert_eq!(marked("[0] and (1)"), "[0] and (1)");
    }
}
