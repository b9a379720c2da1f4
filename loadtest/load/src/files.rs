//! Files that the command line names: whatever is wrong with one is said with the
//! flag that named it.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use tempfile::TempDir;

use crate::error::{FAILED, Fallible, complain};

/// Reads the file that `flag` names.
pub fn read(flag: &str, path: &Path) -> Fallible<String> {
    fs::read_to_string(path).map_err(|error| complaint(flag, path, &error))
}

/// Reads a secret or a token: one line, whose ends do not count.
pub fn read_line(flag: &str, path: &Path) -> Fallible<String> {
    let text = read(flag, path)?;
    let line = text.trim();
    if line.is_empty() || line.contains(char::is_control) {
        return Err(complaint(flag, path, &"it must hold one line, and nothing else"));
    }
    Ok(line.to_owned())
}

/// Makes sure that the file can be written later. What is in it stays until there is something better.
pub fn check_writable(flag: &str, path: &Path) -> Fallible<()> {
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| complaint(flag, path, &error))
}

/// Writes the file that `flag` names, if it names one.
pub fn write(flag: &str, path: Option<&Path>, text: impl FnOnce() -> Fallible<String>) -> Fallible<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).map_err(|error| complaint(flag, path, &error))
}

/// Writes the file that `flag` names, if it names one, piece by piece: for what is too long to be held as a text.
pub fn write_pieces(
    flag: &str,
    path: Option<&Path>,
    pieces: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Fallible<()> {
    let Some(path) = path else { return Ok(()) };
    let written = fs::File::create(path).map(BufWriter::new).and_then(|mut file| {
        pieces(&mut file)?;
        file.flush()
    });
    written.map_err(|error| complaint(flag, path, &error))
}

/// The exit code of a command that has printed its verdict, and then written these files:
/// one that could not be written makes a good verdict bad, and no bad one better.
pub fn exit_code(verdict: u8, written: impl IntoIterator<Item = Fallible<()>>) -> ExitCode {
    let failed: Vec<_> = written.into_iter().filter_map(Result::err).collect();
    failed.iter().for_each(complain);
    ExitCode::from(if verdict == 0 && !failed.is_empty() { FAILED } else { verdict })
}

/// A new folder in the one that `--data` names. It goes with its value.
pub fn data_dir(path: &Path) -> Fallible<TempDir> {
    let made = fs::create_dir_all(path).and_then(|()| tempfile::tempdir_in(path));
    made.map_err(|error| complaint("--data", path, &error))
}

fn complaint(flag: &str, path: &Path, what: &dyn std::fmt::Display) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{flag} {}: {what}", path.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_the_flag_that_named_it() {
        let nowhere = Path::new("/no/such/folder/file");
        let nothing = || Ok(String::new());
        for refused in [
            read("--flag", nowhere).map(drop),
            check_writable("--flag", nowhere),
            write("--flag", Some(nowhere), nothing),
            write_pieces("--flag", Some(nowhere), |_| Ok(())),
        ] {
            let message = refused.unwrap_err().to_string();
            assert!(message.starts_with("--flag /no/such/folder/file: No such file"), "{message}");
        }
        write("--flag", None, nothing).unwrap();
        let message = data_dir(Path::new("/proc/data")).unwrap_err().to_string();
        assert!(message.starts_with("--data /proc/data: "), "{message}");
    }

    #[test]
    fn a_secret_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, secret) in [(" a secret\n", Some("a secret")), ("", None), ("\n", None), ("one\r\nhost: two", None)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read_line("--secret-file", &path).ok().as_deref(), secret, "{text:?}");
        }
    }
}
