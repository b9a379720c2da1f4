//! Lines of a summary within the width that every terminal has.

use hongbao_load::number;

/// Columns that a line has at most.
pub const COLUMNS: usize = 80;

/// Appends `text` behind `head`, which begins the first line; further lines stand below the text. A word
/// that is longer than a line is divided.
pub fn paragraph(out: &mut String, head: &str, text: &str) {
    let indent = head.chars().count();
    let room = COLUMNS - indent;
    out.push_str(head);
    let mut column = 0;
    for word in number::plain(text).split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        let gap = usize::from(column > 0);
        if column > 0 && column + gap + rest.len() > room {
            new_line(out, indent);
            column = 0;
        } else if gap == 1 {
            out.push(' ');
            column += 1;
        }
        while rest.len() > room {
            out.extend(rest.drain(..room));
            new_line(out, indent);
        }
        column += rest.len();
        out.extend(rest);
    }
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

fn new_line(out: &mut String, indent: usize) {
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Appends a command behind `head`, in lines that a shell puts together again: a line is ended between two
/// words by a backslash, and inside of a word by one that ends the quotes before it and begins them anew.
pub fn command(out: &mut String, head: &str, text: &str) {
    // Room for a character that a line must not end before, and for what ends it.
    let room = COLUMNS - 3;
    let indent = head.chars().count();
    out.push_str(head);
    let (mut column, mut is_quoted) = (indent, false);
    let text: Vec<char> = number::plain(text).chars().collect();
    for (place, char) in text.iter().enumerate() {
        let is_gap = *char == ' ' && !is_quoted;
        let word = text[place..].iter().skip(1).take_while(|char| **char != ' ').count();
        if is_gap && column + 1 + word > room && column > indent {
            out.push_str(" \\");
            new_line(out, indent);
            column = indent;
            continue;
        }
        // It begins and ends nothing.
        let is_escaped = !is_quoted && place > 0 && text[place - 1] == '\\';
        let ends_quotes = is_quoted && *char == '\'';
        if column >= room && !is_gap && !is_escaped && !ends_quotes {
            out.push_str(if is_quoted { "'\\\n'" } else { "\\\n" });
            column = usize::from(is_quoted);
        }
        out.push(*char);
        column += 1;
        if *char == '\'' && !is_escaped {
            is_quoted = !is_quoted;
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn a_long_text_goes_on_below_where_it_began() {
        let mut out = String::new();
        paragraph(&mut out, "note        ", &["word"; 20].join(" "));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2, "{out}");
        assert!(lines[1].starts_with("            word") && widest(&out) <= COLUMNS, "{out}");
        let mut out = String::new();
        paragraph(&mut out, "note        ", &"x".repeat(200));
        assert_eq!((out.matches('x').count(), widest(&out)), (200, COLUMNS));
        let mut out = String::new();
        paragraph(&mut out, "head", "");
        assert_eq!(out, "head\n");
    }

    #[test]
    fn a_shell_takes_a_command_of_several_lines_for_the_same_words() {
        let long = ["short".to_owned(), "y".repeat(300), format!("p99<5ms {}", "z".repeat(200)), "it's".repeat(40)];
        let quoted = long.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
        let bare = ["a".repeat(170), "--flag".to_owned()];
        let words: Vec<String> = quoted.chain(bare.iter().cloned()).collect();
        let mut out = String::new();
        command(&mut out, "command     ", &format!("printf %s\\\\n {}", words.join(" ")));
        assert!(out.lines().count() > 8 && widest(&out) <= COLUMNS, "{out}");
        let script = out.strip_prefix("command     ").expect("it begins so");
        let said = Command::new("sh").args(["-c", script]).output().expect("there is a shell");
        let expected: Vec<&str> = long.iter().chain(&bare).map(String::as_str).collect();
        assert_eq!(String::from_utf8_lossy(&said.stdout).lines().collect::<Vec<_>>(), expected, "{out}");
    }
}
