//! Where an archive is.

use std::path::PathBuf;
use std::str::FromStr;

/// The place of an archive, as `url` in the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder. It has to be there, with the file `hongbao-archive` in it: one that is made by us would hide that a disk
    /// is not mounted.
    Folder(PathBuf),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(url: &str) -> Result<Location, String> {
        let folder = url.strip_prefix("file://").filter(|path| path.starts_with('/') && path.len() > 1);
        let folder =
            folder.ok_or_else(|| format!("{url:?} is not the URL of an absolute folder, as file:///srv/hongbao"))?;
        Ok(Location::Folder(folder.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_an_absolute_one() {
        assert_eq!("file:///srv/a b".parse(), Ok(Location::Folder("/srv/a b".into())));
        for url in ["", "file://", "file:///", "file://srv", "/srv", "http://a/b", "FILE:///srv"] {
            assert!(url.parse::<Location>().unwrap_err().contains("absolute folder"), "{url}");
        }
    }
}
