//! Pages for people: one HTML file that needs nothing else, not even a network. Its
//! policy forbids it to load anything, and it holds no script. It has a dark mode, and
//! fits a phone.

mod axis;
mod chart;
mod curves;
mod picture;
mod table;

pub use axis::Axis;
pub use chart::{Bound, Chart, ChartKind, Phase};
pub use curves::Curves;
pub use picture::{NARROW, SMALL, Series, Size, WIDE};
pub use table::{Table, bar, mark};

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

const STYLE: &str = include_str!("page.css");

/// The whole page, from its headings and what follows them.
pub fn page(title: &str, kicker: &str, heading: &str, below: &Markup, main: &Markup) -> String {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { p.kicker { (kicker) } h1 { (heading) } p.when { (below) } }
                main { (main) }
            }
        }
    };
    page.into_string()
}

/// What a verdict comes to; `None` where there is none.
pub fn card(name: &str, is_good: Option<bool>, text: &str) -> Markup {
    let (class, sign) = match is_good {
        Some(true) => ("good", "✓"),
        Some(false) => ("bad", "✗"),
        None => ("unknown", "–"),
    };
    html! {
        div class={ "card " (class) } { span.sign aria-hidden="true" { (sign) } h2 { (name) } p { (text) } }
    }
}

/// A list under a heading, if it has items.
pub fn list(name: &str, items: &[String], class: &str) -> Markup {
    html! {
        @if !items.is_empty() {
            section class={ "list " (class) } { h3 { (name) } ul { @for item in items { li { (item) } } } }
        }
    }
}

/// A name with its value, in a list of them.
pub fn fact(name: &str, value: impl Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// What stands above a picture: its title, its units, and the colour of each name.
pub fn caption<'a>(title: &str, hint: &str, legend: impl IntoIterator<Item = (&'a str, usize)>) -> Markup {
    let mut legend = legend.into_iter().peekable();
    html! {
        figcaption { h3 { (title) } p.hint { (hint) } }
        @if legend.peek().is_some() {
            ul.legend { @for (name, colour) in legend { li { i class={ "c" (colour) } {} (name) } } }
        }
    }
}
