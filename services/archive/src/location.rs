//! Where an archive is.

use std::path::PathBuf;
use std::str::FromStr;

use crate::bucket::Bucket;

/// The place of an archive, as `url` in the configuration says.
#[derive(Clone, Debug)]
pub enum Location {
    /// A folder. It has to be there, with the file `hongbao-archive` in it: one that is made by us would hide that a disk
    /// is not mounted.
    Folder(PathBuf),
    /// A bucket of S3, or what is below a prefix in it, with the same file.
    Bucket(Bucket),
}

impl FromStr for Location {
    type Err = String;

    /// A bucket is reached as the variables `AWS_…` of the environment say.
    fn from_str(url: &str) -> Result<Location, String> {
        if url.starts_with(Bucket::SCHEME) {
            // A variable that is no text is none of S3's.
            let variables = std::env::vars_os();
            let texts =
                variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            return Bucket::new(url, texts).map(Location::Bucket);
        }
        let folder = url.strip_prefix("file://").filter(|path| path.starts_with('/') && path.len() > 1);
        let folder = folder.ok_or_else(|| {
            format!(
                "{url:?} is not the URL of an absolute folder, as file:///srv/hongbao, or of a bucket, as s3://hongbao/archive"
            )
        })?;
        Ok(Location::Folder(folder.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_an_absolute_one() {
        let Ok(Location::Folder(folder)) = "file:///srv/a b".parse() else { panic!("it is a folder") };
        assert_eq!(folder, PathBuf::from("/srv/a b"));
        for url in ["", "file://", "file:///", "file://srv", "/srv", "http://a/b", "FILE:///srv", "S3://a/b"] {
            assert!(url.parse::<Location>().unwrap_err().contains("absolute folder"), "{url}");
        }
    }
}
