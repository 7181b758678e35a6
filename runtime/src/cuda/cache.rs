//! Machine code on disk, so that a kernel is compiled once on a machine. What is there is only believed if it was made from the very
//! same text; what cannot be read or written is compiled again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

/// A file of the cache.
pub(super) struct Place(PathBuf);

impl Place {
    /// Where the code of a text for an architecture lies: in the folder `IGNEOUS_CACHE` names, else in the user's. None if
    /// there is no such folder, or `IGNEOUS_CACHE` is empty.
    pub fn of(source: &str, architecture: &str) -> Option<Place> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = match std::env::var_os("IGNEOUS_CACHE") {
            Some(folder) if folder.is_empty() => return None,
            Some(folder) => PathBuf::from(folder),
            None => set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("igneous"),
        };
        let mut hasher = DefaultHasher::new();
        (env!("CARGO_PKG_VERSION"), source).hash(&mut hasher);
        Some(Place(folder.join("cuda").join(format!("{architecture}-{:016x}", hasher.finish()))))
    }
}

/// The code, if the file was made from this text: the text's length, the text, the code.
pub(super) fn read(place: &Place, source: &str) -> Option<Vec<u8>> {
    let bytes = std::fs::read(&place.0).ok()?;
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (text, code) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    (text == source.as_bytes() && !code.is_empty()).then(|| code.to_vec())
}

/// Writes a file of its own first, so that nobody reads half of it.
pub(super) fn write(place: &Place, source: &str, code: &[u8]) {
    let bytes = [&(source.len() as u64).to_le_bytes()[..], source.as_bytes(), code].concat();
    let part = place.0.with_extension(format!("part-{}-{:?}", std::process::id(), std::thread::current().id()));
    let written =
        place.0.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok()) && std::fs::write(&part, bytes).is_ok();
    if !written || std::fs::rename(&part, &place.0).is_err() {
        // The next process compiles again.
        let _ = std::fs::remove_file(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_read_back_for_the_same_text_only() {
        let folder = std::env::temp_dir().join(format!("igneous-cache-{}", std::process::id()));
        let place = Place(folder.join("cuda/sm_90a-0"));
        assert_eq!(read(&place, "text"), None);
        write(&place, "text", b"code");
        assert_eq!(read(&place, "text").as_deref(), Some(&b"code"[..]));
        assert_eq!(read(&place, "another"), None);
        std::fs::write(&place.0, [255; 8]).unwrap();
        assert_eq!(read(&place, "text"), None, "a broken file");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
