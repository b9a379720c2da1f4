//! Text in pages.

/// Text as HTML: what others wrote can begin neither an element nor an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char if char.is_control() && char != '\n' && char != '\t' => out.push('\u{fffd}'),
            char => out.push(char),
        }
    }
    out
}
