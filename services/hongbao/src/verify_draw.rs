//! `hongbao verify-draw`: anyone can recompute every amount.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use hongbao_core::verify::verify_draw;
use hongbao_core::wire::Detail;

/// Exit 0 when every amount is what the seed draws, 1 when not, 2 (an error)
/// when the pages cannot be read.
pub fn run(files: &[PathBuf]) -> Result<ExitCode, String> {
    let mut pages = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        read_pages(&text, &mut pages).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
        read_pages(&text, &mut pages).map_err(|error| format!("standard input: {error}"))?;
    }
    if pages.is_empty() {
        return Err("there is nothing to check: no detail of an envelope was given".to_owned());
    }
    match verify_draw(&pages) {
        Ok(opens) => {
            println!("{} openings: every amount is what the committed seed draws", opens.len());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("not confirmed: {error}");
            Ok(ExitCode::from(1))
        }
    }
}

/// A file may hold several pages one after the other, as `curl` appends them.
fn read_pages(text: &str, pages: &mut Vec<Detail>) -> Result<(), String> {
    for page in serde_json::Deserializer::from_str(text).into_iter::<Detail>() {
        pages.push(page.map_err(|error| format!("not the detail of an envelope: {error}"))?);
    }
    Ok(())
}
