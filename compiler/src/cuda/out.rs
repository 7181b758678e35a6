//! Indented text.

/// Lines of C++ under construction.
#[derive(Default)]
pub(super) struct Out {
    pub text: String,
    depth: usize,
}

impl Out {
    /// A line.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    /// A line that ends with an opening brace.
    pub fn open(&mut self, text: impl AsRef<str>) {
        self.line(text);
        self.depth += 1;
    }

    /// The closing brace.
    pub fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }

    /// A closing brace with what follows it.
    pub fn close_with(&mut self, text: &str) {
        self.depth -= 1;
        self.line(text);
    }

    /// Lines written elsewhere, indented as far as this text is.
    pub fn append(&mut self, other: Out) {
        other.text.lines().for_each(|l| self.line(l));
    }
}
