//! The configuration's file, written whole or not at all, and the files that it replaced. Files only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// So many former files are kept: `levee.toml.1` is the latest.
pub(super) const FORMER_MAX: usize = 5;

/// The former file of a number, from 1.
pub(super) fn former(path: &Path, number: usize) -> PathBuf {
    beside(path, &format!(".{number}"))
}

/// What a rollback replaced.
pub(super) fn undone(path: &Path) -> PathBuf {
    beside(path, ".undone")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts a text in place of the file's, which becomes the latest former one.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = &fs::canonicalize(path)?;
    let new = prepare(path, text)?;
    for number in (1..FORMER_MAX).rev() {
        rename_if_there(&former(path, number), &former(path, number + 1))?;
    }
    fs::copy(path, former(path, 1))?;
    put(&new, path)
}

/// Puts the latest former file's text in place of the file's. What is replaced is set aside.
pub(super) fn go_back(path: &Path, text: &str) -> io::Result<()> {
    let path = &fs::canonicalize(path)?;
    let new = prepare(path, text)?;
    fs::copy(path, undone(path))?;
    put(&new, path)?;
    fs::remove_file(former(path, 1))?;
    for number in 1..FORMER_MAX {
        rename_if_there(&former(path, number + 1), &former(path, number))?;
    }
    Ok(())
}

/// Writes a new file beside the old one, as readable as that.
fn prepare(path: &Path, text: &str) -> io::Result<PathBuf> {
    let new = beside(path, ".new");
    let written = write(path, &new, text);
    if written.is_err() {
        // A full disk should not keep half of it.
        drop(fs::remove_file(&new));
    }
    written.map(|()| new)
}

fn write(path: &Path, new: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn put(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn former_files_are_kept_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.toml");
        fs::write(&path, "0").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        for text in 1..=7 {
            replace(&path, &text.to_string()).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let kept = |numbers: std::ops::RangeInclusive<usize>| -> Vec<String> {
            numbers.map(|number| read(&former(&path, number))).collect()
        };
        assert_eq!((read(&path), kept(1..=6)), ("7".into(), ["6", "5", "4", "3", "2", ""].map(String::from).to_vec()));
        go_back(&path, &read(&former(&path, 1))).unwrap();
        assert_eq!((read(&path), kept(1..=6)), ("6".into(), ["5", "4", "3", "2", "", ""].map(String::from).to_vec()));
        assert_eq!(read(&undone(&path)), "7");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6, "nothing half written stays");
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real.toml"), folder.path().join("levee.toml"));
        fs::write(&path, "0").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, "1").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&path), "1");
        assert_eq!(read(&former(&path, 1)), "0");
    }
}
