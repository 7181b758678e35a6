//! A folder for the files of one test.

use std::path::PathBuf;

/// An empty folder that is removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// The name is the test's own.
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("igneous-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file in it, written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The text without the name of the folder.
    pub fn hide(&self, text: &str) -> String {
        text.replace(&*self.0.to_string_lossy(), "[dir]")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the system's folder for such files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
