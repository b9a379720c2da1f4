//! Tables of a page.

use maud::{Markup, Render, html};

/// A table with a heading, that scrolls by itself where it is too wide.
pub struct Table<'a> {
    caption: &'a str,
    columns: Vec<&'a str>,
    /// Columns from the left that hold text; the others hold figures.
    text_columns: usize,
    rows: Vec<Vec<Markup>>,
    is_stacked: bool,
}

impl<'a> Table<'a> {
    /// A table whose cells stand right but for the first ones, which hold text.
    pub fn new(caption: &'a str, columns: impl IntoIterator<Item = &'a str>, text_columns: usize) -> Table<'a> {
        Table { caption, columns: columns.into_iter().collect(), text_columns, rows: Vec::new(), is_stacked: false }
    }

    /// The same, whose rows are lists of named figures below their text where the screen is narrow: nothing of
    /// it has to be scrolled to.
    pub fn stacked(self) -> Table<'a> {
        Table { is_stacked: true, ..self }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[&dyn Render]) {
        self.rows.push(cells.iter().map(|cell| cell.render()).collect());
    }
}

impl Render for Table<'_> {
    /// Nothing, if it has no rows.
    fn render(&self) -> Markup {
        let class = |place: usize| (place < self.text_columns).then_some("text");
        let name = |place: usize| (self.is_stacked && place >= self.text_columns).then_some(self.columns[place]);
        html! {
            @if !self.rows.is_empty() {
                // It can be focused, so that the keyboard can scroll it too.
                div.table.stacked[self.is_stacked] tabindex="0" role="group" aria-label=(self.caption) {
                    table {
                        caption { (self.caption) }
                        thead {
                            tr {
                                @for (place, column) in self.columns.iter().enumerate() {
                                    @if column.is_empty() { td {} }
                                    @else { th scope="col" class=[class(place)] { (column) } }
                                }
                            }
                        }
                        tbody {
                            @for row in &self.rows {
                                tr {
                                    @for (place, cell) in row.iter().enumerate() {
                                        td class=[class(place)] data-name=[name(place)] { (cell) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A sign and a word for a verdict: never a colour alone.
pub fn mark(is_good: bool, good: &str, bad: &str) -> Markup {
    let (class, sign, word) = if is_good { ("good", "✓", good) } else { ("bad", "✗", bad) };
    html! { span class={ "mark " (class) } { (sign) " " (word) } }
}

/// A bar over this part of its cell, in percent.
pub fn bar(percent: f64) -> Markup {
    html! { i.bar style=(format!("width:{percent:.1}%")) {} }
}
