//! Whether a file is what it should be.

use hongbao_core::manifest::{Manifest, Sealer};
use hongbao_store::{Archive, ArchivedFile, StoreError};
use sha2::{Digest as _, Sha256};

use crate::job::JobError;

/// Reads a file back, and compares all of it with what is known of it and its rows with the manifest.
pub async fn compare(archive: &dyn Archive, manifest: &Manifest, file: &ArchivedFile) -> Result<(), JobError> {
    let read = async {
        archive.check(file).await?;
        let opened = archive.open(file, manifest.hash()).await?;
        let mut sealer = Sealer::default();
        for part in 0..opened.parts().len() {
            for (envelope, journal) in opened.part(part).await? {
                sealer.add(&envelope, &journal);
            }
        }
        let found = sealer.content();
        match found == manifest.content {
            true => Ok(()),
            false => {
                let differences = manifest.content.differences(&found);
                Err(StoreError::Damaged(format!("the file {} does not have the rows: {differences}", file.path)))
            }
        }
    };
    read.await.map_err(JobError::Archive)
}

/// Whether these bytes are the file that is noted.
pub fn is_noted(bytes: &[u8], noted: &ArchivedFile) -> bool {
    *Sha256::digest(bytes) == noted.sha256
}
